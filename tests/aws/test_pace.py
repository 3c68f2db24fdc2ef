from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from slip_sockets.aws.pace import MAX_IN_FLIGHT, MIN_RATE, Pace


def simulate(pace: Pace, seconds: float, is_good: Callable[[float], bool], *, begin: float = 0.0) -> list[bool]:
    """Send for so long, with 20 ms to each answer, and return the answers."""
    answers: list[bool] = []
    outstanding: list[tuple[float, int, bool]] = []
    for step in range(round(seconds * 1000)):
        now = begin + step / 1000
        while outstanding and outstanding[0][0] <= now:
            _, epoch, good = outstanding.pop(0)
            answers.append(good)
            pace.record(now, epoch, is_good=good)
        while len(outstanding) < pace.window and pace.take(now):
            outstanding.append((now + 0.02, pace.epoch, is_good(now)))
    return answers


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
    pace = Pace()
    answers = simulate(pace, 1, lambda _: True)
    assert pace.rate == math.inf
    assert pace.window == MAX_IN_FLIGHT
    assert len(answers) > 5000


@pytest.mark.parametrize("quota", [25, 200, 2000])
def test_quota_is_used_and_not_much_exceeded(quota: float) -> None:
    pace = Pace()
    is_good = Quota(quota, burst=quota / 8)
    simulate(pace, 5, is_good)
    answers = simulate(pace, 20, is_good, begin=5)
    assert sum(answers) >= 0.95 * 20 * quota
    assert len(answers) <= 1.5 * sum(answers)


def test_a_slow_pace_soon_takes_what_others_leave() -> None:
    pace = Pace()
    simulate(pace, 10, Quota(12, burst=1))
    slow = pace.rate
    simulate(pace, 2, lambda _: True, begin=10)
    assert pace.rate > 4 * slow


def test_pace_recovers_with_the_quota() -> None:
    pace = Pace()
    quota = Quota(100, burst=10)
    simulate(pace, 5, quota)
    assert pace.rate < 200
    quota.rate = 2000
    simulate(pace, 5, quota, begin=5)
    assert sum(simulate(pace, 1, quota, begin=10)) >= 0.85 * 2000


def test_failures_that_a_slower_pace_does_not_avoid_do_not_stop_it() -> None:
    count = iter(range(10**9))
    pace = Pace()
    simulate(pace, 10, lambda _: next(count) % 4 > 0)
    assert pace.rate > 1000


def test_answers_to_requests_before_a_cut_are_no_reason_for_another() -> None:
    pace = Pace()
    for number in range(40):
        pace.record(number / 1000, 0, is_good=False)
    slowed, epoch = pace.rate, pace.epoch
    assert epoch == 1
    for number in range(200):
        pace.record(0.04 + number / 1000, 0, is_good=False)
    assert (pace.rate, pace.epoch) == (slowed, epoch)
    for number in range(200):
        pace.record(0.24 + number / 1000, epoch, is_good=False)
    assert pace.rate < slowed


def test_few_failures_are_nothing() -> None:
    count = iter(range(10**9))
    pace = Pace()
    simulate(pace, 2, lambda _: next(count) % 20 > 0)
    assert pace.rate == math.inf


def test_something_is_always_tried() -> None:
    pace = Pace()
    answers = simulate(pace, 10, lambda _: False)
    assert pace.rate == MIN_RATE
    assert len(answers) < 500


@pytest.mark.parametrize(("pause_s", "factor"), [(0, 1), (3, 8), (60, math.inf)])
def test_what_was_learnt_is_worth_less_the_longer_ago(pause_s: float, factor: float) -> None:
    pace = Pace()
    simulate(pace, 5, Quota(100, burst=10))
    before = pace.rate
    pace.record(5, -1, is_good=True)
    pace.resume(5 + pause_s)
    assert pace.rate == before * factor
