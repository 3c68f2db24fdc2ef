"""The messages of the queue: work for later. Each knows its group, its subject, and how it may be divided.

A new kind is a class here or in `deferred_presence`, in the union at the end, and a handler in
`gateway.build_gateway`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Container, Iterable, Sequence
from typing import Annotated, Self

import msgspec

from ..protocol.events import Subscribe, Unsubscribe
from .deferred_base import OfChannel, OfConnection, Summary
from .deferred_presence import Look, OccupancyNotice, Sweep
from .effects import Effect
from .observer import EventType
from .values import Broadcast, Form, Publication

MAX_TEXTS = 100
MAX_TEXTS_BYTES = 200_000
"""What one POST to the backend has of a connection's texts. A single one may be larger."""


class Continuation(OfConnection, frozen=True, tag="continuation", omit_defaults=True):
    """Actions that had to wait: for the socket to open, or for a client that takes no more at the moment.

    `recent` was written just before them: until `recent_until` (Unix seconds) the index may not show it. `form` and
    `user` are those of the connection.
    """

    actions: Sequence[Effect]
    recent: list[Subscribe | Unsubscribe] = msgspec.field(default_factory=list)
    recent_until: float = 0
    form: Form = Form.RAW
    user: str | None = None

    @property
    def title(self) -> str:
        count = len(self.actions)
        return f"{count} events that had to wait" if count != 1 else "an event that had to wait"

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id, events=len(self.actions))

    def halves(self, *, is_over_limit: bool) -> tuple[Self, Self] | None:
        half = len(self.actions) // 2
        if not half:
            return None
        first = msgspec.structs.replace(self, actions=self.actions[:half])
        # By the time of the second half the index shows the rows that were recent at the first.
        return first, msgspec.structs.replace(self, actions=self.actions[half:], recent=[])


class CloseNotice(OfConnection, frozen=True, tag="close_notice", omit_defaults=True):
    """A CLOSE that the backend has not had yet. `metadata` is JSON, None while the rows are still to be read.

    `user` is who was at the connection, None where the backend did not say.
    """

    code: int | None
    reason: str | None
    metadata: bytes | None
    user: str | None = None

    @property
    def title(self) -> str:
        return f"CLOSE of {self.connection_id}, for the backend"


class ReceivedText(msgspec.Struct, frozen=True):
    """A text as it came from a client, in UTF-8, with an id of its own."""

    id: str
    data: bytes


class Texts(OfConnection, frozen=True, tag="texts", omit_defaults=True):
    """Texts that a client sent, in order: for one POST to the backend.

    `waits` is how often it was put behind what came later, because it had come before its forerunner.
    """

    event_type = EventType.TEXT
    texts: Annotated[list[ReceivedText], msgspec.Meta(min_length=1)]
    waits: int = 0

    @property
    def deduplication_id(self) -> str:
        """That of the first: a text is in one message only, but for one that waits."""
        return f"{self.texts[0].id}:{self.waits}" if self.waits else self.texts[0].id

    @property
    def title(self) -> str:
        count = len(self.texts)
        return f"{count} texts of {self.connection_id}" if count != 1 else f"a text of {self.connection_id}"

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id, events=len(self.texts))

    def halves(self, *, is_over_limit: bool) -> tuple[Self, Self] | None:
        half = len(self.texts) // 2
        if not half:
            return None
        return (
            msgspec.structs.replace(self, texts=self.texts[:half]),
            msgspec.structs.replace(self, texts=self.texts[half:]),
        )


class Disconnected(OfConnection, frozen=True, tag="disconnected"):
    """A client has left. `code` and `reason` (UTF-8) are those of the close frame, None where they are not known."""

    event_type = EventType.CLOSE
    code: int | None = None
    reason: bytes | None = None

    @property
    def deduplication_id(self) -> str:
        return "disconnected"

    @property
    def title(self) -> str:
        return f"the end of {self.connection_id}"


class _OfTimer(OfConnection, frozen=True, omit_defaults=True):
    """`number` is that of the tick: 1 for the first."""

    timer_id: str
    number: int = 1

    @property
    def deduplication_id(self) -> str:
        """Of a tick that is handled again after a crash the next one is there already."""
        return f"{self.timer_id}:{self.number}"


class Timer(_OfTimer, frozen=True, tag="timer", kw_only=True):
    """Waits until `due_at` (Unix seconds). Each timer is a group of its own, so that it waits for no other."""

    due_at: float

    @property
    def group(self) -> str:
        return f"timer:{self.timer_id}"

    @property
    def title(self) -> str:
        return f"a timer of {self.connection_id}"


class TimerDue(_OfTimer, frozen=True, tag="timer_due", omit_defaults=True):
    """A timer ticks. It is in the group of the connection's texts, one after another with these."""

    @property
    def title(self) -> str:
        return f"a tick of a timer of {self.connection_id}"


class _OfSubscription(OfConnection, frozen=True, omit_defaults=True):
    channel: str

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id, channel=self.channel)


class CatchUp(_OfSubscription, frozen=True, tag="catch_up", omit_defaults=True):
    """A subscriber is sent the rest of what it missed of a channel after the position `since`."""

    since: str | None = None

    @property
    def title(self) -> str:
        return f"what {self.connection_id} missed of {self.channel!r}"


class LateLook(_OfSubscription, frozen=True, tag="late_look"):
    """Looks at `due_at` (Unix seconds) whether something was kept after `since` that a new subscriber was not sent.

    Each is a group of its own, so that it waits for no other.
    """

    since: str
    due_at: float

    @property
    def group(self) -> str:
        digest = hashlib.sha256(msgspec.json.encode([self.connection_id, self.channel])).hexdigest()
        return f"late:{digest[:32]}"

    @property
    def title(self) -> str:
        return f"a late look for {self.connection_id} at {self.channel!r}"


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel or a pattern, to which connections are subscribed. `joined` and `left` have done so, or have left,
    just before: the index may not show it yet."""

    name: str
    joined: list[str] = msgspec.field(default_factory=list)
    left: list[str] = msgspec.field(default_factory=list)


class FanOut(OfChannel, frozen=True, tag="fan_out", omit_defaults=True):
    """A broadcast to all subscribers of its channel, and of patterns that match it, still to be split into chunks.

    `after` is the cursor behind the subscribers that have been split already. `joined` and `left` are connections that
    have subscribed and left just before: until `recent_until` (Unix seconds) the index may not show it. `framed` are
    those of the joined that take frames of slip.v1. `source` is the number of the source that is being split: 0 is the
    channel, then come the `patterns`. Before `known_from` (Unix seconds) subscriptions were written that any run reads
    alike.
    """

    after: str | None = None
    joined: list[str] = msgspec.field(default_factory=list)
    framed: list[str] = msgspec.field(default_factory=list)
    left: list[str] = msgspec.field(default_factory=list)
    recent_until: float = 0
    patterns: list[Source] = msgspec.field(default_factory=list)
    source: int = 0
    known_from: float = 0

    @property
    def sources(self) -> list[Source]:
        return [Source(self.broadcast.channel, self.joined, self.left), *self.patterns]

    def without_recent(self) -> Self:
        patterns = [Source(pattern.name) for pattern in self.patterns]
        return msgspec.structs.replace(self, joined=[], left=[], framed=[], patterns=patterns)

    @property
    def deduplication_id(self) -> str:
        """By the message's id, if it has one: a publisher may crash before it confirms its claim.

        Not where the same id may come again within the queue's five minutes.
        """
        match self.broadcast:
            case Publication(id=str(message_id), id_for_s=None):
                return hashlib.sha256(message_id.encode()).hexdigest()
        return self.publish_id

    @property
    def title(self) -> str:
        return f"a publish to all of {self.broadcast.channel!r}"


class FanOutChunk(OfChannel, frozen=True, tag="fan_out_chunk", omit_defaults=True):
    """A broadcast to some subscribers of its channel: all of one shard or, without `shard`, a single slow one.

    All of them have the same `form`.
    """

    connection_ids: list[str]
    shard: int | None = None
    form: Form = Form.RAW

    @property
    def group(self) -> str:
        lane = self.connection_ids[0] if self.shard is None else self.shard
        return f"{super().group}:{lane}"

    @property
    def deduplication_id(self) -> str:
        """By content: a page that is split again may have changed since, and a changed chunk must be sent."""
        digest = hashlib.sha256("\n".join(self.connection_ids).encode()).hexdigest()
        return f"{self.publish_id}:{digest[:32]}"

    @property
    def subject(self) -> str:
        if self.shard is None:
            return f"{super().subject}, connection {', '.join(self.connection_ids)}"
        return f"{super().subject}, shard {self.shard}"

    @property
    def title(self) -> str:
        return f"a publish to {len(self.connection_ids)} of {self.broadcast.channel!r}"

    @property
    def summary(self) -> Summary:
        return Summary(channel=self.broadcast.channel, connections=len(self.connection_ids))

    def halves(self, *, is_over_limit: bool) -> tuple[Self, Self] | None:
        half = len(self.connection_ids) // 2
        if not half or not is_over_limit:
            return None
        first, second = self.connection_ids[:half], self.connection_ids[half:]
        return (
            msgspec.structs.replace(self, connection_ids=first),
            msgspec.structs.replace(self, connection_ids=second),
        )


class Held(OfChannel, frozen=True, tag="held"):
    """A broadcast that waits for the one before it, until `until` (Unix seconds) at most.

    Each is a group of its own: those of a channel may come in any order.
    """

    until: float

    @property
    def group(self) -> str:
        return f"held:{self.publish_id}"

    @property
    def deduplication_id(self) -> str:
        return self.publish_id

    @property
    def title(self) -> str:
        return f"a publish to {self.broadcast.channel!r} that waits for the one before it"


Deferred = (
    Continuation
    | CloseNotice
    | Texts
    | Disconnected
    | Timer
    | TimerDue
    | CatchUp
    | LateLook
    | Look
    | Sweep
    | OccupancyNotice
    | FanOut
    | FanOutChunk
    | Held
)


def merged(messages: Sequence[Deferred]) -> tuple[Deferred, int]:
    """Return the first message, joined with the texts behind it that fit into the same POST, and how many it is of.

    `messages` are of one group, at least one.
    """
    first = messages[0]
    if not isinstance(first, Texts):
        return first, 1
    texts, count = list(first.texts), 1
    size = sum(len(text.data) for text in texts)
    for message in messages[1:]:
        if not isinstance(message, Texts):
            break
        size += sum(len(text.data) for text in message.texts)
        if len(texts) + len(message.texts) > MAX_TEXTS or size > MAX_TEXTS_BYTES:
            break
        texts += message.texts
        count += 1
    return (msgspec.structs.replace(first, texts=texts) if count > 1 else first), count


def plan_chunks(
    broadcast: Broadcast, publish_id: str, connection_ids: Iterable[str], framed: Container[str] = (), *, shards: int
) -> list[FanOutChunk]:
    """Divide some of the subscribers by shard and form.

    A connection is always in the same shard: its texts stay in order.
    """
    divided: dict[tuple[int, Form], list[str]] = {}
    for connection_id in connection_ids:
        shard = zlib.crc32(connection_id.encode()) % shards
        form = Form.SLIP_V1 if connection_id in framed else Form.RAW
        divided.setdefault((shard, form), []).append(connection_id)
    return [FanOutChunk(broadcast, publish_id, divided[key], *key) for key in sorted(divided)]
