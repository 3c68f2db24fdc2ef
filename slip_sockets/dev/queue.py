"""The queue in memory: what SQS is on AWS."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..gateway.deferred import MAX_TEXTS, Deferred, Timer, merged
from ..gateway.deferred_presence import Look, Sweep
from ..gateway.ports import Clock
from ..gateway.values import Done
from ..gateway.worker import DeadLetter, Retry, Worker

log = logging.getLogger("slip_sockets.dev")

SHARDS = 8
DEDUPLICATION_S = 5 * 60.0
"""As SQS FIFO.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""


@dataclass(slots=True)
class _Waiting:
    """A message, and its own Checkpoint."""

    message: Deferred
    remaining: Deferred | None = None

    async def save(self, remaining: Deferred) -> None:
        self.remaining = remaining

    async def load(self) -> Deferred | None:
        return self.remaining


class MemoryQueue:
    """The port Queue, with a task for each group that has messages: in order there, side by side otherwise.

    `worker` must be set before the first message comes.
    """

    shards = SHARDS
    worker: Worker

    def __init__(self, clock: Clock) -> None:
        self.dead_letters: list[Deferred] = []
        self._clock = clock
        self._groups: dict[str, deque[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: dict[tuple[str, str], float] = {}  # when each group and deduplication id was put, oldest first

    async def put(self, messages: Sequence[Deferred]) -> None:
        now = self._clock.now()
        self._forget_ids(now - DEDUPLICATION_S)
        for message in messages:
            key = (message.group, message.deduplication_id)
            if key not in self._seen:
                self._seen[key] = now
                self._put(message)

    def __len__(self) -> int:
        """The number of groups with messages that wait or are being handled."""
        return len(self._groups)

    async def settle(self, patience_s: float) -> None:
        """Wait until there are no messages, at most `patience_s` seconds."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)

    async def aclose(self) -> None:
        """Stop. Messages that still wait are lost; their number is logged, without those that end in any case."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        lost = sum(
            not isinstance(each.message, Timer | Look | Sweep) for group in self._groups.values() for each in group
        )
        if lost:
            log.warning("%d deferred messages are lost with this server", lost)
        self._groups.clear()

    def _forget_ids(self, until: float) -> None:
        while self._seen and self._seen[oldest := next(iter(self._seen))] <= until:
            del self._seen[oldest]

    def _put(self, message: Deferred) -> None:
        group = self._groups.get(message.group)
        if group is None:
            self._groups[message.group] = group = deque()
            task = asyncio.create_task(self._work(message.group, group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        group.append(_Waiting(message))

    async def _work(self, name: str, group: deque[_Waiting]) -> None:
        while group:
            message, count = merged([waiting.message for waiting in itertools.islice(group, MAX_TEXTS)])
            group[0].message = message
            await self._finish(group[0])
            for _ in range(count):
                group.popleft()
        del self._groups[name]

    async def _finish(self, waiting: _Waiting) -> None:
        if isinstance(waiting.message, Sweep):  # as in the queue of timers on AWS, where it is put for later
            await self._clock.sleep(max(0.0, waiting.message.due_at - self._clock.now()))
        attempt = 1
        while True:
            match await self.worker.attempt(waiting.message, attempt, waiting, deadline=float("inf")):
                case Done():
                    return
                case Retry(after_s):
                    await self._clock.sleep(after_s)
                    attempt += 1
                case DeadLetter(message):
                    log.error("%s: a dead letter: %s", message.subject, message.title)
                    self.dead_letters.append(message)
                    return
