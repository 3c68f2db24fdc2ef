"""The queue in memory: what SQS is on AWS."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ..gateway.plan import RETRY_FOR_S, retry_pause_s
from ..gateway.ports import Clock, Deferred, Keep, NotDone

log = logging.getLogger("slip_sockets.dev")


class MemoryQueue:
    """A Queue whose worker is a task for each group with messages waiting: in order there, side by side otherwise.

    A message that fails rests (1 s, doubled each time to 15 minutes) and is tried again for 6 hours, then it is a dead
    letter. `handle` does the work; it must be set before the first message comes.
    """

    handle: Callable[[Deferred, Keep], Awaitable[None]]

    def __init__(self, clock: Clock) -> None:
        self.dead_letters: list[Deferred] = []
        self._clock = clock
        self._groups: dict[str, deque[Deferred]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    async def put(self, messages: Sequence[Deferred]) -> None:
        for message in messages:
            group = self._groups.get(message.group)
            if group is None:
                self._groups[message.group] = group = deque()
                worker = asyncio.create_task(self._work(message.group, group))
                self._workers.add(worker)
                worker.add_done_callback(self._workers.discard)
            group.append(message)

    def __len__(self) -> int:
        """Return how many groups have messages that wait or are being handled."""
        return len(self._groups)

    async def aclose(self) -> None:
        """Stop. What still waits is lost, and said."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        lost = sum(map(len, self._groups.values()))
        if lost:
            log.warning("%d deferred messages are lost with this server", lost)

    async def _work(self, name: str, group: deque[Deferred]) -> None:
        while group:
            await self._finish(group[0])
            group.popleft()
        del self._groups[name]

    async def _finish(self, message: Deferred) -> None:
        since = self._clock.now()
        attempt = 0
        subject = f"a deferred {message.__struct_config__.tag} of group {message.group}"

        async def keep(rest: Deferred) -> None:
            nonlocal message
            message = rest

        while True:
            handled = message
            try:
                await self.handle(handled, keep)
                return
            except NotDone as error:
                if error.rest != handled:
                    message = error.rest
                if error.has_advanced:
                    await asyncio.sleep(0)
                    continue
                reason = str(error)
            except Exception as error:
                log.exception("%s failed", subject)
                reason = repr(error)
            attempt += 1
            pause_s = retry_pause_s(attempt)
            if self._clock.now() + pause_s - since > RETRY_FOR_S:
                log.error("%s is dead: %s", subject, reason)
                self.dead_letters.append(message)
                return
            await self._clock.sleep(pause_s)
