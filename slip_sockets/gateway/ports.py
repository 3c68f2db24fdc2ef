"""What the gateway needs of the world, as Protocols. `aws` and `dev` supply them; the gateway knows neither.

All are async. On AWS a function handles one event at a time, so its ports may block there: nobody waits.
"""

from __future__ import annotations

import asyncio
import enum
import hashlib
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ..errors import SlipSocketsError
from ..events import AnswerEvent, CloseChannel, PublishText, Subscribe, Unsubscribe

ROW_TTL_S = 130 * 60
"""How long a row of the store lives: API Gateway ends a connection after 120 minutes.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
CLAIM_TTL_S = 5 * 60
"""How long a published message's id is remembered."""
PAGE_SIZE = 8_000
"""Subscribers read at once: a chunk of about a thousand for each shard."""


class Unavailable(SlipSocketsError):
    """A port could not do its work now, after its own retries: the store, the queue or the management API is away."""


Secrets = Callable[[], Sequence[str]]
"""Returns the JWT secrets: the first signs, all are accepted. Raises Unavailable where they cannot be read."""


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """A connection as the table knows it: `metadata` is JSON, `accepted_at` Unix seconds."""

    metadata: bytes
    accepted_at: float


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a channel's subscribers. `cursor` is where the next page begins, None after the last."""

    connection_ids: Sequence[str]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """How many subscribers a channel has; at least so many where the count was broken off (`more`)."""

    subscribers: int
    more: bool


@dataclass(frozen=True, slots=True)
class ChannelState:
    """What a publish to a channel must know to stay behind the earlier ones.

    `is_queued` says that some of them may wait in the queue, `slow` are connections for which some may wait there.
    """

    is_queued: bool = False
    slow: frozenset[str] = frozenset()


class Claim(enum.Enum):
    """The answer to who asks for a message id: it is his, or somebody is at it, or it is done."""

    MINE = enum.auto()
    PENDING = enum.auto()
    DONE = enum.auto()


class ConnectionStore(Protocol):
    """Who is connected, and who listens to what. Rows expire 130 minutes after they were written; expired is absent.

    Every method may raise Unavailable.
    """

    async def open(self, connection_id: str, metadata: bytes, channels: Sequence[str]) -> None:
        """Write the rows of a connection that is being accepted: its own, and its subscriptions."""

    async def get(self, connection_id: str) -> StoredConnection | None:
        """Read consistently: what was written before is seen."""

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        """Return False where there is no such connection."""

    async def subscribe(self, connection_id: str, channel: str) -> bool:
        """Return False where there is no such connection; then nothing was written. Idempotent."""

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        """Idempotent."""

    def subscribers(self, channel: str, *, after: str | None = None, page_size: int = PAGE_SIZE) -> AsyncIterator[Page]:
        """Yield the subscribers by pages of at most `page_size`, lazily. `after` is the cursor of an earlier page.

        Eventually consistent. Order is not promised; a page may be empty.
        """

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        """Count the subscribers that come after a cursor; break off at `until` (Unix seconds)."""

    async def unsubscribe_all(self, connection_id: str) -> None:
        """Delete the subscriptions and leave the connection's own row. Idempotent."""

    async def forget(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        """Do as `unsubscribe_all` does for those accepted before that time or not known, and return the others."""

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """Delete all rows of a connection and return what it was. Idempotent."""

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claim:
        """Ask for a message id. It is the claimant's for `lease_s`; without his confirmation it is free again then.

        Confirmed, it is remembered for CLAIM_TTL_S. The same claimant may ask again.
        """

    async def confirm(self, channel: str, message_id: str, claimant: str) -> None:
        """Make a claim final: the message was sent, or handed to the queue."""

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        """Take a claim back: the message was not sent."""

    async def channel_state(self, channel: str) -> ChannelState:
        """Read consistently."""

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        """Remember for so long that publishes to the channel may wait in the queue. It is never made shorter."""

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        """Remember for so long that publishes to these subscribers of the channel may wait in the queue."""


@dataclass(slots=True)
class Outcome:
    """What became of a call for several connections; each id asked for is in exactly one of these.

    `gone` are not open (any more, or yet), `refused` the management API will never take; `failed` failed again and
    again and may succeed later, each with its reason; for `unsent` no time was left, and a few of them may have been
    sent to all the same: their answers were outstanding.
    """

    done: int = 0
    gone: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)


class Management(Protocol):
    """API Gateway's management API, `@connections`. What goes wrong with a connection is in the Outcome.

    It is patient: what may succeed shortly is tried again, for that connection alone, while others go on. It returns by
    `until` (Unix seconds, may be infinite).
    """

    async def post(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        """Send a text frame to each."""

    async def delete(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        """Close each; the client sees code 1000."""

    async def is_open(self, connection_id: str) -> bool:
        """Raises Unavailable."""


class Continuation(msgspec.Struct, frozen=True, tag="continuation", omit_defaults=True):
    """Events that had to wait: for the socket to open, or for a client that takes no more at the moment.

    `recent` was written just before them: until `recent_until` (Unix seconds) the index may not show it.
    """

    connection_id: str
    events: list[AnswerEvent]
    recent: list[Subscribe | Unsubscribe] = []
    recent_until: float = 0

    @property
    def group(self) -> str:
        return self.connection_id

    @property
    def deduplication_id(self) -> str:
        return uuid.uuid4().hex


class CloseNotice(msgspec.Struct, frozen=True, tag="close_notice"):
    """A CLOSE that the backend could not be told. `metadata` is JSON, None while the rows are still to be read."""

    connection_id: str
    code: int | None
    reason: str | None
    metadata: bytes | None

    @property
    def group(self) -> str:
        return self.connection_id

    @property
    def deduplication_id(self) -> str:
        return uuid.uuid4().hex


class FanOut(msgspec.Struct, frozen=True, tag="fan_out", omit_defaults=True):
    """An event for all subscribers of its channel, still to be split into chunks. `publish_id` is its own alone.

    `after` is the cursor of what has been split already; `joined` and `left` are who has come and gone just before:
    until `recent_until` (Unix seconds) the index may not show it.
    """

    event: PublishText | CloseChannel
    publish_id: str
    after: str | None = None
    joined: list[str] = []
    left: list[str] = []
    recent_until: float = 0

    @property
    def group(self) -> str:
        return _fan_out_group(self.event.channel)

    @property
    def deduplication_id(self) -> str:
        """By the message's id, if it has one: whoever publishes may die before his claim is confirmed."""
        message_id = self.event.message_id if isinstance(self.event, PublishText) else None
        return self.publish_id if message_id is None else hashlib.sha256(message_id.encode()).hexdigest()


class FanOutChunk(msgspec.Struct, frozen=True, tag="fan_out_chunk", omit_defaults=True):
    """An event for some subscribers of its channel: all of one shard, or, without `shard`, a single slow one."""

    event: PublishText | CloseChannel
    publish_id: str
    connection_ids: list[str]
    shard: int | None = None

    @property
    def group(self) -> str:
        lane = self.connection_ids[0] if self.shard is None else self.shard
        return f"{_fan_out_group(self.event.channel)}:{lane}"

    @property
    def deduplication_id(self) -> str:
        """By content: a page that is split again may have changed since, and a chunk that has must be sent."""
        digest = hashlib.sha256(" ".join(self.connection_ids).encode()).hexdigest()
        return f"{self.publish_id}:{digest[:32]}"


SHARDS = 8
"""Groups of the queue that share a channel's subscribers. Each is worked on by one function at a time, which sends
some 1,250 a second where all of them together reach the account's quota of 10,000.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""


def shard_of(connection_id: str) -> int:
    """Always the same for a connection: its texts stay in order."""
    return zlib.crc32(connection_id.encode()) % SHARDS


def _fan_out_group(channel: str) -> str:
    return f"fan-out:{hashlib.sha256(channel.encode()).hexdigest()[:32]}"


Deferred = Continuation | CloseNotice | FanOut | FanOutChunk
"""A message of the queue. Those of one `group` are handled one after another, in order. Of two that have the same
`deduplication_id` within five minutes the queue may drop the second."""

Keep = Callable[[Deferred], Awaitable[None]]
"""Remembers what is left to do of the deferred message that is being handled, so that a crash does not begin it anew.
Raises Unavailable."""


class NotDone(SlipSocketsError):
    """A deferred message could not be done now. `rest` is what is left of it to do.

    `has_advanced` says that time was all it lacked: it goes on at once.
    """

    def __init__(self, rest: Deferred, reason: str, *, has_advanced: bool = False) -> None:
        super().__init__(reason)
        self.rest = rest
        self.has_advanced = has_advanced


class Queue(Protocol):
    async def put(self, messages: Sequence[Deferred]) -> None:
        """Hand over messages for later, all of them for good when this returns. Raises Unavailable."""


class HttpError(SlipSocketsError):
    """A POST brought no whole answer: no connection, or it broke off."""


class HttpTimeout(HttpError):
    """A POST brought no whole answer in time."""


class HttpAnswerTooLarge(HttpError):
    """The answer is larger than its limit; it was not read further."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


class HttpClient(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        """POST and follow no redirect. A 2xx's body is read to `max_bytes`; of others the status says all.

        Raises HttpError or one of its kinds.
        """


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real time."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
