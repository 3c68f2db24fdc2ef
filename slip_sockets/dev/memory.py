"""The store in memory: what DynamoDB is on AWS."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ..gateway.ports import (
    CLAIM_TTL_S,
    PAGE_SIZE,
    ROW_TTL_S,
    ChannelState,
    Claim,
    Clock,
    Count,
    Page,
    StoredConnection,
)

SWEEP_PAUSE_S = 60.0
"""Between searches for marks that have expired."""


@dataclass(slots=True)
class _Row:
    stored: StoredConnection
    expires_at: float


@dataclass(slots=True)
class _Subscription:
    number: int
    expires_at: float


@dataclass(slots=True)
class _Claimed:
    claimant: str
    lease_until: float | None
    """None where it is confirmed."""
    expires_at: float


@dataclass(slots=True)
class _Channel:
    """Subscribers by the growing numbers that they got on joining: a number is a cursor which joins and leaves do not
    move. Who has left stays in `numbers` and `joined` until half of them have."""

    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)

    def add(self, connection_id: str, number: int, expires_at: float) -> None:
        """Number a newcomer; prolong what there is already."""
        if (subscription := self.subscriptions.get(connection_id)) is not None:
            subscription.expires_at = expires_at
            return
        self.subscriptions[connection_id] = _Subscription(number, expires_at)
        self.numbers.append(number)
        self.joined.append(connection_id)

    def discard(self, connection_id: str) -> None:
        self.subscriptions.pop(connection_id, None)
        if len(self.joined) > 2 * len(self.subscriptions):
            # In a dict too they stand as they joined: who comes again is removed first.
            self.numbers = [subscription.number for subscription in self.subscriptions.values()]
            self.joined = list(self.subscriptions)

    def page(self, after: str | None, size: int, now: float) -> Page:
        found: list[str] = []
        start = 0 if after is None else bisect_right(self.numbers, int(after))
        for index in range(start, len(self.joined)):
            if len(found) == size:
                return Page(found, str(self.numbers[index - 1]))
            whose = self.joined[index]
            subscription = self.subscriptions.get(whose)
            if subscription and subscription.number == self.numbers[index] and subscription.expires_at > now:
                found.append(whose)
        return Page(found, None)


class MemoryConnectionStore:
    """A ConnectionStore for one process. Nothing here suspends, so each method is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: dict[str, _Row] = {}
        self._subscriptions: dict[str, set[str]] = {}
        self._channels: dict[str, _Channel] = {}
        self._numbers = itertools.count()
        self._claims: dict[tuple[str, str], _Claimed] = {}
        self._marks: dict[str, dict[str | None, float]] = {}
        self._sweep_at = 0.0

    async def open(self, connection_id: str, metadata: bytes, channels: Sequence[str]) -> None:
        now = self._clock.now()
        self._connections[connection_id] = _Row(StoredConnection(metadata, now), now + ROW_TTL_S)
        for channel in channels:
            self._add(connection_id, channel)

    async def get(self, connection_id: str) -> StoredConnection | None:
        row = self._connections.get(connection_id)
        return row.stored if row and row.expires_at > self._clock.now() else None

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        stored = await self.get(connection_id)
        if stored is None:
            return False
        self._connections[connection_id].stored = StoredConnection(metadata, stored.accepted_at)
        return True

    async def subscribe(self, connection_id: str, channel: str) -> bool:
        if await self.get(connection_id) is None:
            return False
        self._add(connection_id, channel)
        return True

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        self._subscriptions.get(connection_id, set()).discard(channel)
        self._discard(connection_id, channel)

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[Page]:
        while True:
            page = self._page(channel, after, page_size)
            yield page
            after = page.cursor
            if after is None:
                return

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        found = 0
        while self._clock.now() < until:
            page = self._page(channel, after, PAGE_SIZE)
            found += len(page.connection_ids)
            after = page.cursor
            if after is None:
                return Count(found, more=False)
        return Count(found, more=True)

    async def unsubscribe_all(self, connection_id: str) -> None:
        for channel in self._subscriptions.pop(connection_id, ()):
            self._discard(connection_id, channel)

    async def forget(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        young: list[str] = []
        for whose in dict.fromkeys(connection_ids):
            stored = await self.get(whose)
            if stored is not None and stored.accepted_at >= accepted_before:
                young.append(whose)
            else:
                await self.unsubscribe_all(whose)
        return young

    async def remove(self, connection_id: str) -> StoredConnection | None:
        stored = await self.get(connection_id)
        self._connections.pop(connection_id, None)
        await self.unsubscribe_all(connection_id)
        return stored

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claim:
        now = self._clock.now()
        self._drop_old_claims(now)
        claimed = self._claims.get((channel, message_id))
        if claimed is not None and claimed.expires_at > now:
            if claimed.lease_until is None:
                return Claim.DONE
            if claimed.lease_until > now and claimed.claimant != claimant:
                return Claim.PENDING
        self._put_claim(channel, message_id, _Claimed(claimant, now + lease_s, now + max(lease_s, CLAIM_TTL_S)))
        return Claim.MINE

    async def confirm(self, channel: str, message_id: str, claimant: str) -> None:
        now = self._clock.now()
        claimed = self._claims.get((channel, message_id))
        if claimed is not None and claimed.claimant == claimant and claimed.expires_at > now:
            self._put_claim(channel, message_id, _Claimed(claimant, None, now + CLAIM_TTL_S))

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        claimed = self._claims.get((channel, message_id))
        if claimed is not None and claimed.claimant == claimant and claimed.lease_until is not None:
            del self._claims[channel, message_id]

    async def channel_state(self, channel: str) -> ChannelState:
        now = self._clock.now()
        marks = {whose for whose, expires_at in self._marks.get(channel, {}).items() if expires_at > now}
        return ChannelState(None in marks, frozenset(whose for whose in marks if whose is not None))

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        self._mark(channel, [None], for_s)

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        self._mark(channel, connection_ids, for_s)

    def look(self, connection_id: str) -> tuple[bytes | None, list[str]]:
        """Return a connection's metadata (JSON) and channels, expired or not."""
        row = self._connections.get(connection_id)
        return row.stored.metadata if row else None, sorted(self._subscriptions.get(connection_id, ()))

    def __len__(self) -> int:
        """Return how many connections and subscriptions there are, expired ones included."""
        return len(self._connections) + sum(len(channel.subscriptions) for channel in self._channels.values())

    def _add(self, connection_id: str, channel: str) -> None:
        self._subscriptions.setdefault(connection_id, set()).add(channel)
        listeners = self._channels.setdefault(channel, _Channel())
        listeners.add(connection_id, next(self._numbers), self._clock.now() + ROW_TTL_S)

    def _discard(self, connection_id: str, channel: str) -> None:
        listeners = self._channels.get(channel)
        if listeners is not None:
            listeners.discard(connection_id)
            if not listeners.subscriptions:
                del self._channels[channel]

    def _page(self, channel: str, after: str | None, size: int) -> Page:
        listeners = self._channels.get(channel)
        return Page([], None) if listeners is None else listeners.page(after, size, self._clock.now())

    def _put_claim(self, channel: str, message_id: str, claimed: _Claimed) -> None:
        """Put it last: so they stand by their expiry."""
        self._claims.pop((channel, message_id), None)
        self._claims[channel, message_id] = claimed

    def _drop_old_claims(self, now: float) -> None:
        while self._claims:
            oldest = next(iter(self._claims))
            if self._claims[oldest].expires_at > now:
                return
            del self._claims[oldest]

    def _mark(self, channel: str, marked: Sequence[str | None], for_s: float) -> None:
        """`None` marks the channel as queued, an id a slow connection."""
        now = self._clock.now()
        if now >= self._sweep_at:
            self._drop_old_marks(now)
            self._sweep_at = now + SWEEP_PAUSE_S
        if marked:
            marks = self._marks.setdefault(channel, {})
            for whose in marked:
                marks[whose] = max(marks.get(whose, 0.0), now + for_s)

    def _drop_old_marks(self, now: float) -> None:
        for channel, marks in list(self._marks.items()):
            left = {whose: expires_at for whose, expires_at in marks.items() if expires_at > now}
            if left:
                self._marks[channel] = left
            else:
                del self._marks[channel]
