"""Connections and subscriptions in memory, in the place of the table `Connections` on AWS."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import Clock, MemberChanges
from ..gateway.values import Count, Form, Membership, Page, StoredConnection
from .presence import MemoryPresence

PAGE_SIZE = 8_000


@dataclass(slots=True)
class _Row:
    stored: StoredConnection
    expires_at: float


@dataclass(slots=True)
class _Subscription:
    number: int
    expires_at: float


@dataclass(slots=True)
class _Channel:
    """The subscribers in the order of joining, each with a growing number: it is a cursor that stays valid while others
    join and leave. Subscribers that left stay in `numbers` and `joined` until they are half of the entries."""

    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)

    def add(self, connection_id: str, number: int, expires_at: float) -> None:
        """Number a new subscriber; prolong one that is there already."""
        if (subscription := self.subscriptions.get(connection_id)) is not None:
            subscription.expires_at = expires_at
            return
        self.subscriptions[connection_id] = _Subscription(number, expires_at)
        self.numbers.append(number)
        self.joined.append(connection_id)

    def discard(self, connection_id: str) -> None:
        self.subscriptions.pop(connection_id, None)
        if len(self.joined) > 2 * len(self.subscriptions):
            # The dict is in the order of joining too: a subscriber that comes again was removed before.
            self.numbers = [subscription.number for subscription in self.subscriptions.values()]
            self.joined = list(self.subscriptions)

    def page(self, after: str | None, size: int, now: float, subscribed_before: float | None) -> Page:
        until = math.inf if subscribed_before is None else subscribed_before + ROW_LIFETIME_S
        found: list[str] = []
        start = 0 if after is None else bisect_right(self.numbers, int(after))
        for index in range(start, len(self.joined)):
            if len(found) == size:
                return Page(found, str(self.numbers[index - 1]))
            connection_id = self.joined[index]
            subscription = self.subscriptions.get(connection_id)
            if subscription and subscription.number == self.numbers[index] and now < subscription.expires_at <= until:
                found.append(connection_id)
        return Page(found, None)


class MemoryConnections:
    """The ports Connections and Subscriptions, for one process.

    Nothing here suspends but what hears of `changes` of members, before they are made, so each method is atomic. The
    members are in `presence`; with `keeps_metadata` the metadata of those that have left, too.
    """

    index_lag_s = 0.0
    page_size = PAGE_SIZE

    def __init__(
        self,
        clock: Clock,
        changes: MemberChanges | None = None,
        presence: MemoryPresence | None = None,
        *,
        keeps_metadata: bool = False,
    ) -> None:
        self.presence = MemoryPresence(clock) if presence is None else presence
        self._clock = clock
        self._changes = changes
        self._keeps_metadata = keeps_metadata
        self._connections: dict[str, _Row] = {}
        self._subscriptions: dict[str, set[str]] = {}
        self._channels: dict[str, _Channel] = {}
        self._numbers = itertools.count()

    # Connections

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
        memberships: Mapping[str, Membership] = {},
    ) -> None:
        await self._joining(list(memberships))
        now = self._clock.now()
        self._connections[connection_id] = _Row(
            StoredConnection(metadata, now, form=form, user=user), now + ROW_LIFETIME_S
        )
        for channel in channels:
            self._add(connection_id, channel, form, memberships.get(channel))

    async def get(self, connection_id: str) -> StoredConnection | None:
        row = self._connections.get(connection_id)
        return row.stored if row and row.expires_at > self._clock.now() else None

    async def metadata(self, connection_ids: Sequence[str]) -> Mapping[str, bytes]:
        stored = {id_: await self.get(id_) for id_ in connection_ids}
        return {id_: connection.metadata for id_, connection in stored.items() if connection is not None}

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        stored = await self.get(connection_id)
        if stored is None:
            return False
        self._connections[connection_id].stored = msgspec.structs.replace(stored, metadata=metadata)
        return True

    async def set_next_number(self, connection_id: str, number: int) -> bool:
        stored = await self.get(connection_id)
        if stored is None:
            return False
        self._connections[connection_id].stored = msgspec.structs.replace(stored, next_number=number)
        return True

    async def remove(self, connection_id: str) -> StoredConnection | None:
        await self._leaving([connection_id])
        stored = await self.get(connection_id)
        self._discard_all(connection_id)
        self._connections.pop(connection_id, None)
        return stored

    # Subscriptions

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        await self._joining([] if membership is None else [channel])
        stored = await self.get(connection_id)
        if stored is None:
            return None
        self._add(connection_id, channel, stored.form, membership)
        return stored.form

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        listeners = self._channels.get(channel)
        subscription = listeners.subscriptions.get(connection_id) if listeners else None
        return subscription is not None and subscription.expires_at > self._clock.now()

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        await self._leaving([connection_id], [channel])
        self._subscriptions.get(connection_id, set()).discard(channel)
        self._discard(connection_id, channel)

    async def unsubscribe_all(self, connection_id: str) -> None:
        await self._leaving([connection_id])
        self._discard_all(connection_id)

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        while True:
            page = self._page(channel, after, page_size, subscribed_before)
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

    async def prune(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        young: list[str] = []
        pruned: list[str] = []
        for connection_id in dict.fromkeys(connection_ids):
            stored = await self.get(connection_id)
            is_young = stored is not None and stored.accepted_at >= accepted_before
            (young if is_young else pruned).append(connection_id)
        await self._leaving(pruned)
        for connection_id in pruned:
            self._discard_all(connection_id)
        return young

    # For the inspector and tests

    def user_of(self, connection_id: str) -> str | None:
        """Return who is at a connection, expired or not."""
        row = self._connections.get(connection_id)
        return row.stored.user if row else None

    def peek(self, connection_id: str) -> tuple[bytes | None, list[str]]:
        """Return a connection's metadata (JSON) and channels, expired or not."""
        row = self._connections.get(connection_id)
        return row.stored.metadata if row else None, sorted(self._subscriptions.get(connection_id, ()))

    def __len__(self) -> int:
        """The number of connections and subscriptions, expired ones included."""
        return len(self._connections) + sum(len(channel.subscriptions) for channel in self._channels.values())

    async def _joining(self, channels: Sequence[str]) -> None:
        if channels and self._changes is not None:
            await self._changes.joining(channels)

    async def _leaving(self, connection_ids: Sequence[str], channels: Sequence[str] | None = None) -> None:
        """Report the memberships that connections have in `channels`, in any without these, as about to end."""
        ending = {
            channel: None
            for connection_id in connection_ids
            for channel in (self._subscriptions.get(connection_id, ()) if channels is None else channels)
            if self.presence.is_member(channel, connection_id)
        }
        if ending and self._changes is not None:
            await self._changes.leaving(list(ending))

    def _add(self, connection_id: str, channel: str, form: Form, membership: Membership | None) -> None:
        self._subscriptions.setdefault(connection_id, set()).add(channel)
        listeners = self._channels.setdefault(channel, _Channel())
        listeners.add(connection_id, next(self._numbers), self._clock.now() + ROW_LIFETIME_S)
        if membership is not None:
            self.presence.join(channel, connection_id, membership, form)

    def _discard_all(self, connection_id: str) -> None:
        for channel in self._subscriptions.pop(connection_id, ()):
            self._discard(connection_id, channel)

    def _discard(self, connection_id: str, channel: str) -> None:
        row = self._connections.get(connection_id) if self._keeps_metadata else None
        self.presence.leave(channel, connection_id, row.stored.metadata if row else None)
        listeners = self._channels.get(channel)
        if listeners is not None:
            listeners.discard(connection_id)
            if not listeners.subscriptions:
                del self._channels[channel]

    def _page(self, channel: str, after: str | None, size: int, subscribed_before: float | None = None) -> Page:
        listeners = self._channels.get(channel)
        if listeners is None:
            return Page([], None)
        page = listeners.page(after, size, self._clock.now(), subscribed_before)
        framed = frozenset(id_ for id_ in page.connection_ids if self._is_framed(id_))
        return msgspec.structs.replace(page, framed=framed) if framed else page

    def _is_framed(self, connection_id: str) -> bool:
        row = self._connections.get(connection_id)
        return row is not None and row.stored.form is Form.SLIP_V1
