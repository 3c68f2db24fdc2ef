"""What the store in memory does for its own sake: it stays small. `test_store_contract` has the rest."""

from __future__ import annotations

import pytest

from slip_sockets.dev.memory import SWEEP_PAUSE_S, MemoryConnectionStore
from slip_sockets.gateway.ports import CLAIM_TTL_S, PAGE_SIZE, Count

from ..gateway.doubles import START, FakeClock


class PassingClock(FakeClock):
    """So much time passes whenever somebody looks."""

    pace_s = 0.0

    def now(self) -> float:
        self.time += self.pace_s
        return self.time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryConnectionStore:
    return MemoryConnectionStore(clock)


async def test_count_is_broken_off_between_pages() -> None:
    clock = PassingClock()
    store = MemoryConnectionStore(clock)
    for number in range(PAGE_SIZE + 1):
        await store.open(str(number), b"null", ["lobby"])
    clock.pace_s = 1
    assert await store.count("lobby", after=None, until=START + 3) == Count(PAGE_SIZE, more=True)
    clock.time = START
    assert await store.count("lobby", after=None, until=START + 4) == Count(PAGE_SIZE + 1, more=False)


async def test_channel_that_many_have_left_is_small_again(store: MemoryConnectionStore) -> None:
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


async def test_claims_and_marks_are_dropped_in_time(store: MemoryConnectionStore, clock: FakeClock) -> None:
    for number in range(1000):
        clock.time = START + number
        await store.claim("lobby", str(number), "me", lease_s=30)
        await store.confirm("lobby", str(number), "me")
        await store.claim("games", "prolonged again and again", "me", lease_s=30)
        await store.mark_queued(f"channel-{number}", for_s=10)
        await store.mark_slow("lobby", [str(number)], for_s=10)
    assert len(store._claims) == CLAIM_TTL_S + 1
    assert len(store._marks) <= SWEEP_PAUSE_S + 10
    assert len(store._marks["lobby"]) <= SWEEP_PAUSE_S + 10
    assert len(store) == 0
