"""The connections in memory: they stay small. tests/ports holds what all engines do."""

from __future__ import annotations

import pytest

from slip_sockets.dev.connections import PAGE_SIZE, MemoryConnections
from slip_sockets.gateway.values import Count

from ..gateway.doubles import START, FakeClock


class PassingClock(FakeClock):
    """Each look at it costs `pace_s`."""

    pace_s = 0.0

    def now(self) -> float:
        self.time += self.pace_s
        return self.time


@pytest.fixture
def store() -> MemoryConnections:
    return MemoryConnections(FakeClock())


async def test_count_is_broken_off_between_pages() -> None:
    clock = PassingClock()
    store = MemoryConnections(clock)
    for number in range(PAGE_SIZE + 1):
        await store.open(str(number), b"null", ["lobby"])
    clock.pace_s = 1
    assert await store.count("lobby", after=None, until=START + 3) == Count(PAGE_SIZE, more=True)
    clock.time = START
    assert await store.count("lobby", after=None, until=START + 4) == Count(PAGE_SIZE + 1, more=False)


async def test_channel_that_many_have_left_is_small_again(store: MemoryConnections) -> None:
    await store.open("stays", b"null", ["lobby"])
    for number in range(1000):
        await store.open(str(number), b"null", ["lobby"])
        await store.remove(str(number))
    channel = store._channels["lobby"]
    assert len(channel.joined) == len(channel.numbers) <= 2
    assert len(store) == 2
    await store.remove("stays")
    assert not store._channels
    assert len(store) == 0
