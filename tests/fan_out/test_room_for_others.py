"""A publish to 100,000 leaves room: what connects and small publishes meet of the account's quota meanwhile.

The senders' own decisions (`batch`, `rate_control`) and the rate that functions share, in simulated time: the network
is a delay. `python -m bench.fan_out shared` is the same with the functions as deployed, by the clock.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from slip_sockets.aws.batch import Attempt, Batch, Patience
from slip_sockets.aws.connections import PAGE_SIZE
from slip_sockets.aws.queue import SHARDS
from slip_sockets.aws.rate_control import RateControl
from slip_sockets.dev.delivery_rate import MemoryDeliveryRate
from slip_sockets.gateway.delivery_rate import DEFAULT_FAN_OUT_RATE, UNLIMITED
from slip_sockets.gateway.ports import DeliveryRate

from ..gateway.doubles import FakeClock

SUBSCRIBERS = 100_000
ACCOUNT_CALLS_PER_S, ACCOUNT_BURST = 10_000, 5_000
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
STEP_S = 0.001
RESPONSE_S = 0.02
BEGUN_IN_A_STEP = 3
"""The requests that one function can begin: more than its processor allows on AWS."""
OTHERS_EACH_STEP = 1
SMALL_PUBLISH, SMALL_PUBLISH_EVERY_S = 200, 0.5


class Account:
    """A token bucket for all calls of the account."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._tokens = float(ACCOUNT_BURST)
        self._filled_at = clock.now()

    def takes(self) -> bool:
        now = self._clock.now()
        self._tokens = min(ACCOUNT_BURST, self._tokens + (now - self._filled_at) * ACCOUNT_CALLS_PER_S)
        self._filled_at = now
        is_taken = self._tokens >= 1
        self._tokens -= is_taken
        return is_taken


@dataclass
class Function:
    """A deliver function with the chunks of its shard. It reserves, waits, and sends one chunk after another."""

    chunks: deque[int]
    rate: DeliveryRate
    clock: FakeClock
    account: Account
    control: RateControl = field(default_factory=RateControl)
    done: int = 0
    refused: int = 0
    _batch: Batch | None = None
    _begins_at: float | None = None
    _responses: deque[tuple[float, Attempt, bool]] = field(default_factory=deque)

    @property
    def is_over(self) -> bool:
        return not self.chunks and self._batch is None

    async def step(self) -> None:
        now = self.clock.now()
        if self._batch is None:
            if not self.chunks:
                return
            if self._begins_at is None:
                self._begins_at = now + await self.rate.reserve(self.chunks[0], wait_at_most_s=50)
            if now < self._begins_at:
                return
            self._begins_at = None
            self.control.resume(now)
            ids = list(map(str, range(self.chunks.popleft())))
            self._batch = Batch(ids, self.control, Patience(), now=now, stop_at=math.inf)
        self._send(self._batch, now)

    def _send(self, batch: Batch, now: float) -> None:
        while self._responses and self._responses[0][0] <= now:
            _, attempt, is_taken = self._responses.popleft()
            if is_taken:
                batch.on_response(attempt, now, 200)
            else:
                self.refused += 1
                batch.on_failure(attempt, now, "429")
        batch.tick(now)
        for _ in range(BEGUN_IN_A_STEP):
            if (begun := batch.begin(now)) is None:
                break
            self._responses.append((now + RESPONSE_S, begun, self.account.takes()))
        if batch.is_over:
            self.done += batch.outcome.done
            self._batch = None


@dataclass
class Seen:
    """`refused` are calls that met 429, of the fan-out itself and of all others."""

    delivered: int
    refused: int
    others: int
    others_refused: int


async def publish(rates: Sequence[DeliveryRate], clock: FakeClock) -> Seen:
    account = Account(clock)
    pages = [min(PAGE_SIZE, SUBSCRIBERS - first) for first in range(0, SUBSCRIBERS, PAGE_SIZE)]
    functions = [Function(deque(page // SHARDS for page in pages), rate, clock, account) for rate in rates]
    others = others_refused = step = 0
    while not all(function.is_over for function in functions):
        is_publish = step % round(SMALL_PUBLISH_EVERY_S / STEP_S) == 0
        calls = OTHERS_EACH_STEP + (SMALL_PUBLISH if is_publish else 0)
        others += calls
        others_refused += sum(not account.takes() for _ in range(calls))
        for function in functions:
            await function.step()
        step += 1
        clock.time += STEP_S
    return Seen(
        sum(function.done for function in functions),
        sum(function.refused for function in functions),
        others,
        others_refused,
    )


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(1)  # the batches' jitter


async def test_nobody_meets_429_of_its_making() -> None:
    clock = FakeClock()
    seen = await publish([MemoryDeliveryRate(DEFAULT_FAN_OUT_RATE, clock)] * SHARDS, clock)
    assert (seen.delivered, seen.refused, seen.others_refused) == (SUBSCRIBERS, 0, 0)
    assert seen.others > 10_000


async def test_without_the_shared_rate_others_do() -> None:
    seen = await publish([UNLIMITED] * SHARDS, FakeClock())
    assert seen.delivered == SUBSCRIBERS
    assert seen.others_refused > seen.others / 100
