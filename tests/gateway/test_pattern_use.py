"""What a process knows of the deployment's patterns, and what that costs it."""

from __future__ import annotations

import asyncio

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.pattern_use import KNOWN_FOR_S, MARKED_AGAIN_AFTER_S, MARKED_FOR_S, PatternUse
from slip_sockets.gateway.recent import Recent
from slip_sockets.protocol.events import Subscribe, Unsubscribe

from .doubles import ME, FakeClock

LAG_S = 10.0
CHANNEL = "orders:eu:1"
PATTERNS = ("orders:*", "orders:eu:*")


class CountingMarks(MemoryChannels):
    """The port ChannelMarks."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.reads = 0
        self.writes: list[float] = []
        self.is_away = False
        self.pause: asyncio.Event | None = None

    async def has_patterns(self) -> bool:
        self.reads += 1
        found = await super().has_patterns()
        if self.pause is not None:
            await self.pause.wait()
        if self.is_away:
            raise Unavailable("the table is away")
        return found

    async def mark_patterns(self, *, for_s: float) -> None:
        if self.is_away:
            raise Unavailable("the table is away")
        self.writes.append(for_s)
        await super().mark_patterns(for_s=for_s)


class Processes:
    """Two, which share the marks: one subscribes, the other publishes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.marks = CountingMarks(self.clock)
        self.subscriber, self.publisher = (PatternUse(self.marks, self.clock, lag_s=LAG_S) for _ in range(2))

    async def found(self, by: PatternUse | None = None, recent: Recent | None = None) -> tuple[str, ...]:
        return await (by or self.publisher).matching(CHANNEL, recent or Recent(LAG_S))


@pytest.fixture
def processes() -> Processes:
    return Processes()


async def test_channel_without_segments_costs_nothing(processes: Processes) -> None:
    assert await processes.publisher.matching("lobby", Recent(LAG_S)) == ()
    assert processes.marks.reads == 0


async def test_deployment_without_patterns_is_looked_at_once_in_the_time_of_the_lag(processes: Processes) -> None:
    for seconds in (0, 1, LAG_S - 1.5):
        processes.clock.time += seconds
        assert await processes.found() == ()
    assert processes.marks.reads == 1
    processes.clock.time += 1
    assert await processes.found() == ()
    assert processes.marks.reads == 2


async def test_publishes_side_by_side_look_once(processes: Processes) -> None:
    assert await asyncio.gather(*(processes.found() for _ in range(5))) == [()] * 5
    assert processes.marks.reads == 1


async def test_mark_of_another_process_is_seen_when_the_lag_is_over(processes: Processes) -> None:
    assert await processes.found() == ()
    await processes.subscriber.note()
    processes.clock.time += LAG_S - 0.5
    assert await processes.found() == ()
    processes.clock.time += 0.5
    assert await processes.found() == PATTERNS
    processes.clock.time += KNOWN_FOR_S - 1
    assert await processes.found() == PATTERNS
    assert processes.marks.reads == 2


async def test_mark_of_the_same_process_counts_at_once(processes: Processes) -> None:
    assert await processes.found(processes.subscriber) == ()
    await processes.subscriber.note()
    assert await processes.found(processes.subscriber) == PATTERNS
    assert processes.marks.reads == 1


async def test_mark_that_is_made_during_a_look_counts(processes: Processes) -> None:
    processes.marks.pause = asyncio.Event()
    looking = asyncio.create_task(processes.found(processes.subscriber))
    await asyncio.sleep(0)
    await processes.subscriber.note()
    processes.marks.pause.set()
    assert await looking == PATTERNS
    assert await processes.found(processes.subscriber) == PATTERNS


async def test_subscription_that_another_process_has_just_written_counts(processes: Processes) -> None:
    """A batch may go on in another process, which has looked too early."""
    assert await processes.found() == ()
    recent = Recent(LAG_S)
    recent.note(Subscribe(ME, "orders:eu:*"), processes.clock.now())
    assert await processes.found(recent=recent) == PATTERNS
    recent.note(Unsubscribe(ME, "orders:eu:*"), processes.clock.now())
    assert await processes.found(recent=recent) == ()


async def test_process_marks_once_an_hour(processes: Processes) -> None:
    for seconds in (0, 1, MARKED_AGAIN_AFTER_S - 2):
        processes.clock.time += seconds
        await processes.subscriber.note()
    assert processes.marks.writes == [MARKED_FOR_S]
    processes.clock.time += 1
    await processes.subscriber.note()
    assert processes.marks.writes == [MARKED_FOR_S] * 2


async def test_mark_outlives_each_subscription(processes: Processes) -> None:
    await processes.subscriber.note()
    processes.clock.time += MARKED_AGAIN_AFTER_S - 1
    await processes.subscriber.note()  # writes nothing
    processes.clock.time += ROW_LIFETIME_S
    assert await processes.found() == PATTERNS


async def test_deployment_that_has_ended_to_use_patterns_pays_nothing_again(processes: Processes) -> None:
    await processes.subscriber.note()
    processes.clock.time += MARKED_FOR_S - 1
    assert await processes.found() == PATTERNS
    processes.clock.time += KNOWN_FOR_S
    assert await processes.found() == ()


async def test_what_cannot_be_read_or_written_is_not_remembered(processes: Processes) -> None:
    processes.marks.is_away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await processes.found()
        with pytest.raises(Unavailable):
            await processes.subscriber.note()
    processes.marks.is_away = False
    await processes.subscriber.note()
    assert await processes.found() == PATTERNS


async def test_dialect_without_patterns_neither_marks_nor_looks(processes: Processes) -> None:
    use = PatternUse(processes.marks, processes.clock, lag_s=LAG_S, is_allowed=False)
    recent = Recent(LAG_S)
    recent.note(Subscribe(ME, "orders:*"), processes.clock.now())
    await use.note()
    assert await processes.found(use, recent) == ()
    assert (processes.marks.reads, processes.marks.writes) == (0, [])
