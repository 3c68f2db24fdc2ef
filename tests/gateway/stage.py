"""Functions that run side by side, and stop before each call of a port: a test lets one go on, or has it die there."""

from __future__ import annotations

import asyncio
import enum
import inspect
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.values import Done, Outcome
from slip_sockets.gateway.worker import Worker

from .doubles import FakeClock, RecordingSender, Saved

FUNCTION_S = 29.0
"""How long a function may take; then it is killed."""
DEDUPLICATED_FOR_S = 300.0
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html"""
SETTLING_ROUNDS = 20
"""Of the event loop, until all functions have come to their next calls. A few are enough."""


class Killed(BaseException):
    """A function dies."""


class Way(enum.Enum):
    """How a call ends."""

    DONE = enum.auto()
    FAILED = enum.auto()
    UNANSWERED = enum.auto()
    """It was done, and the function is told that it failed."""


@dataclass(eq=False)
class Running:
    """A function. `paused` are its calls that wait to be let through."""

    until: float
    task: asyncio.Task[None] | None = None
    paused: list[asyncio.Future[Way]] = field(default_factory=list)
    is_killed: bool = False

    def kill(self) -> None:
        self.is_killed = True
        for call in self.paused:
            call.set_exception(Killed())
        self.paused.clear()

    def forget(self, call: asyncio.Future[Way]) -> None:
        """What waits for a call may be cancelled."""
        if call in self.paused:
            self.paused.remove(call)


_running: ContextVar[Running] = ContextVar("running")


class Stage:
    """Where the functions run: in `loop`, which runs during a `step`."""

    def __init__(self, clock: FakeClock, loop: asyncio.AbstractEventLoop) -> None:
        self.clock = clock
        self._loop = loop
        self.functions: list[Running] = []

    def start(self, function: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> Running:
        """Begin a function; `then` gets its result, None where it was killed."""
        running = Running(self.clock.now() + FUNCTION_S)
        self.functions.append(running)

        async def run() -> None:
            _running.set(running)
            result = None
            try:
                result = await function
            except Killed:
                pass
            finally:
                self.functions.remove(running)
                running.is_killed = True  # what it has begun beside itself ends with it
                then(result)

        running.task = self._loop.create_task(run())
        return running

    async def step(self, chance: random.Random, trouble: float) -> bool:
        """Let one call through; `trouble` is how likely something goes wrong with it. False where there is none."""
        await self.settle()
        for running in list(self.functions):
            if self.clock.now() > running.until:
                running.kill()
        await self.settle()
        ready = [running for running in self.functions if running.paused]
        if not ready:
            return False
        running = chance.choice(ready)
        if chance.random() >= trouble:
            running.paused.pop(chance.randrange(len(running.paused))).set_result(Way.DONE)
        elif chance.random() < 0.5:
            running.kill()
        else:
            call = running.paused.pop(chance.randrange(len(running.paused)))
            call.set_result(chance.choice([Way.FAILED, Way.UNANSWERED]))
        await self.settle()
        return True

    def kill_current(self) -> None:
        """Have the function die that is running, before its next call."""
        _running.get().kill()

    async def settle(self) -> None:
        for _ in range(SETTLING_ROUNDS):
            await asyncio.sleep(0)

    async def turn(self) -> Way:
        """Wait until a call is let through. Raises Killed."""
        running = _running.get()
        if running.is_killed:
            raise Killed
        call: asyncio.Future[Way] = self._loop.create_future()
        running.paused.append(call)
        try:
            return await call
        finally:
            running.forget(call)


class Staged:
    """Any port whose calls may fail, with `error`."""

    def __init__(self, port: Any, stage: Stage, error: type[Exception] = Unavailable) -> None:
        self._port = port
        self._stage = stage
        self._error = error

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if inspect.isasyncgenfunction(value):
            return lambda *args, **options: self._pages(value(*args, **options))
        if inspect.iscoroutinefunction(value):
            return lambda *args, **options: self._call(value, args, options)
        return value

    async def _call(self, method: Callable[..., Any], args: Any, options: Any) -> Any:
        way = await self._stage.turn()
        if way is Way.FAILED:
            raise self._error("it failed")
        result = await method(*args, **options)
        if way is Way.UNANSWERED:
            raise self._error("its response is lost")
        return result

    async def _pages(self, pages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        while True:
            if await self._stage.turn() is not Way.DONE:
                raise self._error("it failed")
            try:
                page = await anext(pages)
            except StopAsyncIteration:
                return
            yield page


class StagedSender(RecordingSender):
    """The port Sender: each connection is a call of its own. `deliver` takes what reaches a connection."""

    def __init__(self, stage: Stage, deliver: Callable[[str, str], None]) -> None:
        super().__init__()
        self._stage = stage
        self._deliver = deliver

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        outcome = Outcome()
        for id_ in connection_ids:
            way = await self._stage.turn()
            if id_ in self.gone:
                outcome.gone.append(id_)
                continue
            if way is not Way.FAILED:
                self._deliver(id_, data)
            if way is Way.DONE:
                outcome.done += 1
            else:
                outcome.failed[id_] = "it failed"
        return outcome


@dataclass(eq=False)
class _Entry:
    message: Deferred
    checkpoint: Saved
    attempts: int = 0
    visible_at: float = 0
    is_taken: bool = False


class StagedQueue:
    """The port Queue, as FIFO groups, and what takes messages out of it."""

    shards = 8

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seen: dict[tuple[str, str], float] = {}
        self.entries: list[_Entry] = []

    async def put(self, messages: Sequence[Deferred]) -> None:
        now = self._stage.clock.now()
        for message in messages:
            key = (message.group, message.deduplication_id)
            if now - self._seen.get(key, 0.0) > DEDUPLICATED_FOR_S:
                self._seen[key] = now
                self.entries.append(_Entry(message, Saved()))

    def first_of_groups(self) -> list[_Entry]:
        heads: dict[str, _Entry] = {}
        for entry in self.entries:
            heads.setdefault(entry.message.group, entry)
        return [entry for entry in heads.values() if not entry.is_taken]

    def take(self, chance: random.Random, worker: Worker) -> bool:
        """Have a function begin on a message; False where none is visible."""
        now = self._stage.clock.now()
        ready = [entry for entry in self.first_of_groups() if entry.visible_at <= now]
        if not ready:
            return False
        entry = chance.choice(ready)
        entry.is_taken = True
        entry.attempts += 1

        def then(result: Any) -> None:
            entry.is_taken = False
            if isinstance(result, Done):
                self.entries.remove(entry)
            elif result is not None:
                entry.visible_at = self._stage.clock.now() + result.after_s

        number = min(entry.attempts, 2)  # the last attempt never comes
        self._stage.start(worker.attempt(entry.message, number, entry.checkpoint, deadline=now + FUNCTION_S - 1), then)
        return True
