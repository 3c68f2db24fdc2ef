"""What the gateway needs of the world, as Protocols. An engine (`aws`, `dev`) supplies them; the gateway knows neither.

One class of an engine may be several of them. Every async method may raise Unavailable unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..protocol.positions import Position
from .values import (
    ChannelState,
    Count,
    Form,
    HttpResponse,
    MemberConnection,
    Membership,
    Notified,
    Origin,
    Outcome,
    Page,
    Past,
    Publication,
    StoredConnection,
)

if TYPE_CHECKING:
    from .deferred import Deferred

Secrets = Callable[[], Awaitable[Sequence[str]]]
"""Returns at least one secret: the first signs, all are accepted. Raises Unavailable where they cannot be read."""


class Connections(Protocol):
    """Who is connected. A row expires some time after a connection of its age must have ended; expired is absent."""

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
        memberships: Mapping[str, Membership] = {},
    ) -> None:
        """Write a connection that is being accepted, and its subscriptions. `metadata` is JSON.

        `memberships` are those of some of the `channels`, by channel.
        """

    async def get(self, connection_id: str) -> StoredConnection | None:
        """Read consistently: earlier writes are seen."""

    async def metadata(self, connection_ids: Sequence[str]) -> Mapping[str, bytes]:
        """Return the metadata of those that there are, read consistently."""

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        """Return False where there is no such connection."""

    async def set_next_number(self, connection_id: str, number: int) -> bool:
        """Return False where there is no such connection."""

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """Delete a connection and its subscriptions, and return the connection as it was. Idempotent.

        Its memberships end.
        """


class Subscriptions(Protocol):
    """Who listens to what.

    A membership ends with its subscription. The port MemberChanges hears of each that begins or ends, before that.
    """

    @property
    def index_lag_s(self) -> float:
        """How long after a subscription was written `subscribers` may not show it; 0 where it always does."""

    @property
    def page_size(self) -> int:
        """How many subscribers are read at once."""

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        """Return the connection's form, None where there is no such connection; then nothing was written. Idempotent.

        `form` spares the engine to find it out. Without a `membership` one that there is stays as it is.
        """

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        """Read consistently."""

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        """Idempotent."""

    async def unsubscribe_all(self, connection_id: str) -> None:
        """Delete the subscriptions of a connection, and leave the connection. Idempotent."""

    def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        """Yield the subscribers by pages of at most `page_size`, lazily. `after` is the cursor of an earlier page.

        With `subscribed_before` (Unix seconds) those are left out that were subscribed later, or again.
        Eventually consistent. Order is not promised; a page may be empty.
        """

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        """Count the subscribers that come after a cursor; break off at `until` (Unix seconds)."""

    async def prune(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        """Delete the subscriptions of those accepted before that time (Unix seconds), or not known at all. Return the
        others."""


class MemberChanges(Protocol):
    """Hears of memberships that are about to begin or end, so that somebody looks afterwards who is there."""

    async def joining(self, channels: Sequence[str]) -> None: ...

    async def leaving(self, channels: Sequence[str]) -> None: ...


class Presence(Protocol):
    """Who is in a channel, and who has just left it; and what the members were notified of."""

    async def read(self, channel: str) -> tuple[Sequence[MemberConnection], Notified]:
        """Read consistently. Connections of one name stand together; those that have left stay until `forget`."""

    async def note(self, channel: str, notified: Notified) -> bool:
        """Replace what was noted before it, the version before. Return False where that is not what is stored."""

    async def forget(self, channel: str, left: Sequence[MemberConnection]) -> None:
        """Delete connections that have left, unless they have come again."""


class Occupancy(Protocol):
    """Has the backend hear of a channel's first member, and of its last one."""

    async def changed(self, channel: str, is_occupied: bool, who: MemberConnection, version: int) -> None:
        """The channel has its first member, or has lost its last one. Idempotent for each `version`, which grows."""


class Sweeps(Protocol):
    """Has somebody look at a channel far later."""

    async def look_at(self, channel: str, due_at: float) -> None:
        """Have a Look come at `due_at` (Unix seconds)."""


class Claim(enum.Enum):
    """The result of claiming a message id."""

    GRANTED = enum.auto()
    PENDING = enum.auto()
    """Another publisher holds it."""
    PUBLISHED = enum.auto()


class Claimed(msgspec.Struct, frozen=True):
    """`first_claimant` claimed a granted id first, and was broken off or failed unless it is the claimant.

    `position` is that of a message that was published and kept.
    """

    claim: Claim
    first_claimant: str | None = None
    position: str | None = None


CLAIM_LIFETIME_S = 5 * 60
"""How long the id of a published message is remembered, unless the dialect says otherwise."""


class Claims(Protocol):
    """Ids of messages, so that a message that is published twice is delivered once."""

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claimed:
        """Claim a message id for `lease_s` seconds: the claim lapses after that unless it is confirmed.

        The same claimant may claim again, until it is confirmed.
        """

    async def confirm(
        self,
        channel: str,
        message_id: str,
        claimant: str,
        *,
        position: str | None = None,
        for_s: float = CLAIM_LIFETIME_S,
    ) -> None:
        """Make a claim final: the message was sent, or is in the queue. Its id is remembered for `for_s` seconds."""

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        """Let a claim lapse: the message was not sent, or not to all. A confirmed claim stays."""


class History(Protocol):
    """What is kept of channels, and where each message has its place."""

    async def keep(self, publication: Publication, origin: Origin, state: ChannelState) -> Position:
        """Keep a message at the next position of its channel. `state` is the channel's, just read.

        A message that an earlier attempt has kept keeps its position.
        """

    async def newest(self, channel: str) -> Position:
        """Read consistently. Of a channel of which nothing is kept it is offset 0 of the epoch that its next message
        will have, which stays for as long as a connection may last."""

    async def past(self, channel: str, since: Position | None, *, limit: int) -> Past:
        """Return the first `limit` messages after `since`, without it the newest: at most MAX_PAST_BYTES of text."""


MAX_PAST_BYTES = 1024 * 1024


class ChannelMarks(Protocol):
    """What a publish must know of its channel: what came before it, and whether its content is filtered. And of the
    whole deployment, whether there are patterns."""

    async def channel_state(self, channel: str) -> ChannelState:
        """Read consistently."""

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        """Remember for `for_s` seconds that publishes to the channel may be in the queue. Never shortens a mark."""

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        """Remember for `for_s` seconds that publishes to these subscribers of the channel may be in the queue."""

    async def set_last_id(self, channel: str, last_id: str | None, *, for_s: float) -> None:
        """Remember for `for_s` seconds the id of the last publish; None forgets it."""

    async def mark_filtered(self, channel: str, *, for_s: float) -> None:
        """Remember for `for_s` seconds that subscriptions to the channel have filters of content. Never shortens a
        mark."""

    async def mark_patterns(self, *, for_s: float) -> None:
        """Remember for `for_s` seconds that connections are subscribed to patterns. Never shortens a mark."""

    async def has_patterns(self) -> bool:
        """Return whether connections may be subscribed to patterns. Read consistently."""


class Sender(Protocol):
    """Reaches open connections. What goes wrong with a single connection is in the Outcome, and raises nothing.

    It is patient: what may succeed shortly is tried again, for that connection alone, while others go on. It returns by
    `until` (Unix seconds, may be infinite).
    """

    @property
    def opening_window_s(self) -> float:
        """How long after it was accepted a connection may not be open yet, so that "gone" may mean "not yet"."""

    def is_connection_id(self, text: str) -> bool:
        """Tell whether `text` can be a connection id here. Calls nothing."""

    def looks_like_connection_id(self, text: str) -> bool:
        """Tell whether `text` looks as the connection ids here do. Calls nothing."""

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        """Send a text message to each."""

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        """Close each; the client sees code 1000."""

    async def is_open(self, connection_id: str) -> bool: ...

    async def last_active_at(self, connection_id: str) -> float | None:
        """Return when a text last went to or came from a connection (Unix seconds); None where it is not open."""


class DeliveryRate(Protocol):
    """How many calls a second the fan-outs of the queue make of the Sender, all functions together."""

    async def reserve(self, calls: int, *, wait_at_most_s: float) -> float:
        """Reserve `calls`, and return the seconds to wait before they are made, 0 for none.

        Where that would be more than `wait_at_most_s`, nothing is reserved; no place is free earlier than returned.
        """


class Queue(Protocol):
    """Messages for later. Those of one `group` are handled one after another, in order; groups side by side.

    Of two messages of a group that have the same `deduplication_id` within five minutes the second is dropped.
    """

    @property
    def shards(self) -> int:
        """Into how many groups a channel's subscribers are divided, to be worked on side by side."""

    async def put(self, messages: Sequence[Deferred]) -> None:
        """Hand over messages for later. All of them are in the queue for good when this returns."""


class Checkpoint(Protocol):
    """What is left to do of one deferred message, so that a crash does not begin it anew."""

    async def save(self, remaining: Deferred) -> None:
        """Replace the checkpoint that was saved before."""

    async def load(self) -> Deferred | None:
        """Return the checkpoint that was saved last; None where none was."""


class HttpClient(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        """POST and follow no redirect. The body of a 2xx response is read to `max_bytes`; of others, the status counts.

        Raises HttpError.
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
