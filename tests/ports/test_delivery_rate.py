"""Every engine's port DeliveryRate."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from slip_sockets.gateway.ports import DeliveryRate

from ..gateway.doubles import START, FakeClock
from .engines import Engine

PER_S = 1_000.0


@pytest.fixture
def rates(engine: Engine, clock: FakeClock) -> list[DeliveryRate]:
    return engine.rates(3, PER_S, clock)


async def test_an_idle_rate_lets_calls_through_at_once(rates: list[DeliveryRate], clock: FakeClock) -> None:
    for hour in range(3):
        clock.time = START + 3600 * hour
        assert await rates[hour].reserve(500, wait_at_most_s=0) == 0


async def test_calls_wait_for_those_that_were_reserved_before(rates: list[DeliveryRate]) -> None:
    waits = [await rate.reserve(calls, wait_at_most_s=60) for rate, calls in zip(rates, (500, 250, 1), strict=True)]
    assert waits == pytest.approx([0, 0.5, 0.75])
    assert await rates[0].reserve(1_000, wait_at_most_s=60) == pytest.approx(0.751)


async def test_time_that_nothing_used_is_not_saved_up(rates: list[DeliveryRate], clock: FakeClock) -> None:
    await rates[0].reserve(500, wait_at_most_s=0)
    clock.time += 100
    assert await rates[0].reserve(500, wait_at_most_s=60) == 0
    assert await rates[0].reserve(500, wait_at_most_s=60) == pytest.approx(0.5)
    clock.time += 0.9
    assert await rates[1].reserve(500, wait_at_most_s=60) == pytest.approx(0.1)


async def test_nothing_is_reserved_where_the_wait_would_be_too_long(
    rates: list[DeliveryRate], clock: FakeClock
) -> None:
    await rates[0].reserve(2_000, wait_at_most_s=0)
    for rate in rates:
        assert await rate.reserve(9_000, wait_at_most_s=1.9) == pytest.approx(2)
    clock.time += 0.5
    assert await rates[1].reserve(100, wait_at_most_s=1.5) == pytest.approx(1.5)
    assert await rates[2].reserve(100, wait_at_most_s=1.5) == pytest.approx(1.6)
    clock.time += 1.6
    assert await rates[2].reserve(100, wait_at_most_s=0) == 0


async def test_those_at_once_have_turns_of_their_own(rates: list[DeliveryRate], clock: FakeClock) -> None:
    """However their calls interleave: no two begin within the time of one of them."""
    chance = random.Random(3)
    for _ in range(5):
        sizes = [chance.randrange(1, 1_000) for _ in rates]
        calls = zip(rates, sizes, strict=True)
        waits = await asyncio.gather(*(rate.reserve(size, wait_at_most_s=60) for rate, size in calls))
        turns = sorted(zip(waits, sizes, strict=True))
        for (begins, size), (following, _) in itertools.pairwise(turns):
            assert following == pytest.approx(begins + size / PER_S, abs=1e-5)
        assert turns[0][0] == 0
        clock.time += 60
