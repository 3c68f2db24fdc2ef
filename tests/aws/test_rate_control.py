from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from slip_sockets.aws.rate_control import MAX_IN_FLIGHT, MIN_RATE, RateControl


def simulate(rate: RateControl, seconds: float, is_good: Callable[[float], bool], *, begin: float = 0.0) -> list[bool]:
    """Send for some seconds, with 20 ms until each response, and return which responses were good."""
    responses: list[bool] = []
    outstanding: list[tuple[float, int, bool]] = []
    for step in range(round(seconds * 1000)):
        now = begin + step / 1000
        while outstanding and outstanding[0][0] <= now:
            _, epoch, good = outstanding.pop(0)
            responses.append(good)
            rate.record(now, epoch, is_good=good)
        while len(outstanding) < rate.window and rate.take(now):
            outstanding.append((now + 0.02, rate.epoch, is_good(now)))
    return responses


class Quota:
    """A token bucket."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = self._tokens = burst
        self._filled_at = 0.0

    def __call__(self, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        is_good = self._tokens >= 1
        self._tokens -= is_good
        return is_good


def test_all_is_open_while_all_is_good() -> None:
    rate = RateControl()
    responses = simulate(rate, 1, lambda _: True)
    assert rate.rate == math.inf
    assert rate.window == MAX_IN_FLIGHT
    assert len(responses) > 5000


@pytest.mark.parametrize("quota", [25, 200, 2000])
def test_quota_is_used_and_not_much_exceeded(quota: float) -> None:
    rate = RateControl()
    is_good = Quota(quota, burst=quota / 8)
    simulate(rate, 5, is_good)
    responses = simulate(rate, 20, is_good, begin=5)
    assert sum(responses) >= 0.95 * 20 * quota
    assert len(responses) <= 1.5 * sum(responses)


def test_a_slow_pace_soon_takes_what_others_leave() -> None:
    rate = RateControl()
    simulate(rate, 10, Quota(12, burst=1))
    slow = rate.rate
    simulate(rate, 2, lambda _: True, begin=10)
    assert rate.rate > 4 * slow


def test_pace_recovers_with_the_quota() -> None:
    rate = RateControl()
    quota = Quota(100, burst=10)
    simulate(rate, 5, quota)
    assert rate.rate < 200
    quota.rate = 2000
    simulate(rate, 5, quota, begin=5)
    assert sum(simulate(rate, 1, quota, begin=10)) >= 0.85 * 2000


def test_failures_that_a_slower_pace_does_not_avoid_do_not_stop_it() -> None:
    count = iter(range(10**9))
    rate = RateControl()
    simulate(rate, 10, lambda _: next(count) % 4 > 0)
    assert rate.rate > 1000


def test_responses_to_requests_before_a_cut_are_no_reason_for_another() -> None:
    rate = RateControl()
    for number in range(40):
        rate.record(number / 1000, 0, is_good=False)
    slowed, epoch = rate.rate, rate.epoch
    assert epoch == 1
    for number in range(200):
        rate.record(0.04 + number / 1000, 0, is_good=False)
    assert (rate.rate, rate.epoch) == (slowed, epoch)
    for number in range(200):
        rate.record(0.24 + number / 1000, epoch, is_good=False)
    assert rate.rate < slowed


def test_few_failures_are_nothing() -> None:
    count = iter(range(10**9))
    rate = RateControl()
    simulate(rate, 2, lambda _: next(count) % 20 > 0)
    assert rate.rate == math.inf


def test_something_is_always_tried() -> None:
    rate = RateControl()
    responses = simulate(rate, 10, lambda _: False)
    assert rate.rate == MIN_RATE
    assert len(responses) < 500


@pytest.mark.parametrize(("pause_s", "factor"), [(0, 1), (3, 8), (60, math.inf)])
def test_what_was_learnt_is_worth_less_the_longer_ago(pause_s: float, factor: float) -> None:
    rate = RateControl()
    simulate(rate, 5, Quota(100, burst=10))
    before = rate.rate
    rate.record(5, -1, is_good=True)
    rate.resume(5 + pause_s)
    assert rate.rate == before * factor
