"""The store and the queue in memory: what DynamoDB and SQS are on AWS."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..gateway.plan import RETRY_FOR_S, retry_pause_s
from ..gateway.ports import CLAIM_TTL_S, ROW_TTL_S, Clock, Deferred, NotDone, StoredConnection

log = logging.getLogger("slip_sockets.dev")

PAGE_SIZE = 1_000


@dataclass(slots=True)
class _Row:
    stored: StoredConnection
    expires_at: float


class MemoryConnectionStore:
    """A ConnectionStore for one process. Nothing here suspends, so each method is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: dict[str, _Row] = {}
        self._subscriptions: dict[str, set[str]] = {}
        self._channels: dict[str, dict[str, float]] = {}
        self._claims: dict[tuple[str, str], float] = {}

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

    async def subscribers(self, channel: str) -> AsyncIterator[Sequence[str]]:
        now = self._clock.now()
        found = [whose for whose, expires_at in self._channels.get(channel, {}).items() if expires_at > now]
        for start in range(0, len(found), PAGE_SIZE):
            yield found[start : start + PAGE_SIZE]

    async def unsubscribe_all(self, connection_id: str) -> None:
        for channel in self._subscriptions.pop(connection_id, ()):
            self._discard(connection_id, channel)

    async def remove(self, connection_id: str) -> StoredConnection | None:
        stored = await self.get(connection_id)
        self._connections.pop(connection_id, None)
        await self.unsubscribe_all(connection_id)
        return stored

    async def claim(self, channel: str, message_id: str) -> bool:
        now = self._clock.now()
        self._forget_claims(now)
        if (channel, message_id) in self._claims:
            return False
        self._claims[channel, message_id] = now + CLAIM_TTL_S
        return True

    async def release(self, channel: str, message_id: str) -> None:
        self._claims.pop((channel, message_id), None)

    def __len__(self) -> int:
        """Return how many rows there are, expired ones included."""
        return len(self._connections) + sum(map(len, self._channels.values()))

    def _add(self, connection_id: str, channel: str) -> None:
        self._subscriptions.setdefault(connection_id, set()).add(channel)
        self._channels.setdefault(channel, {})[connection_id] = self._clock.now() + ROW_TTL_S

    def _discard(self, connection_id: str, channel: str) -> None:
        listeners = self._channels.get(channel, {})
        listeners.pop(connection_id, None)
        if not listeners:
            self._channels.pop(channel, None)

    def _forget_claims(self, now: float) -> None:
        """The oldest stand first: all live equally long."""
        while self._claims:
            oldest = next(iter(self._claims))
            if self._claims[oldest] > now:
                return
            del self._claims[oldest]


class MemoryQueue:
    """A Queue whose worker is a task for each connection with messages waiting: in order there, side by side otherwise.

    A message that fails rests (1 s, doubled each time to 15 minutes) and is tried again for 6 hours, then it is a dead
    letter. `handle` does the work; it must be set before the first message comes.
    """

    handle: Callable[[Deferred], Awaitable[None]]

    def __init__(self, clock: Clock) -> None:
        self.dead_letters: list[Deferred] = []
        self._clock = clock
        self._groups: dict[str, deque[Deferred]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def put(self, messages: Sequence[Deferred]) -> None:
        for message in messages:
            group = self._groups.get(message.connection_id)
            if group is None:
                self._groups[message.connection_id] = group = deque()
                worker = asyncio.create_task(self._work(message.connection_id, group))
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
            group.append(message)

    async def aclose(self) -> None:
        """Stop. What still waits is lost, and said."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        lost = sum(map(len, self._groups.values()))
        if lost:
            log.warning("%d deferred messages are lost with this server", lost)

    async def _work(self, connection_id: str, group: deque[Deferred]) -> None:
        while group:
            await self._finish(group[0])
            group.popleft()
        del self._groups[connection_id]

    async def _finish(self, message: Deferred) -> None:
        since = self._clock.now()
        attempt = 0
        while True:
            attempt += 1
            try:
                await self.handle(message)
                return
            except NotDone as error:
                message, reason = error.rest, str(error)
            except Exception as error:
                log.exception("a deferred message for connection %s failed", message.connection_id)
                reason = repr(error)
            pause_s = retry_pause_s(attempt)
            if self._clock.now() + pause_s - since > RETRY_FOR_S:
                log.error("a deferred message for connection %s is dead: %s", message.connection_id, reason)
                self.dead_letters.append(message)
                return
            await self._clock.sleep(pause_s)
