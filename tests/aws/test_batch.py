"""What the sender decides, without a network: times are given, results are reported."""

from __future__ import annotations

import math

import pytest

from slip_sockets.aws.batch import Attempt, Batch, Patience
from slip_sockets.aws.rate_control import FIRST_IN_FLIGHT, RateControl
from slip_sockets.gateway.values import Outcome

PATIENCE = Patience()
FULL = "429 LimitExceededException"


def batch_of(*connection_ids: str, stop_at: float = math.inf) -> Batch:
    return Batch(connection_ids, RateControl(), PATIENCE, now=0.0, stop_at=stop_at)


def begun(batch: Batch, now: float = 0.0) -> list[Attempt]:
    """Begin all that may go out now."""
    attempts = []
    while (attempt := batch.begin(now)) is not None:
        attempts.append(attempt)
    return attempts


def ids(attempts: list[Attempt]) -> list[str]:
    return [attempt.connection_id for attempt in attempts]


def test_each_connection_is_begun_once_in_order() -> None:
    batch = batch_of("a", "b", "a")
    assert ids(begun(batch)) == ["a", "b", "a"]
    assert not batch.is_over


def test_no_more_are_in_flight_than_the_window() -> None:
    batch = batch_of(*map(str, range(100)))
    attempts = begun(batch)
    assert len(attempts) == FIRST_IN_FLIGHT
    batch.on_response(attempts[0], 0.1, 200)
    assert len(begun(batch, 0.1)) == 2, "one for the one that is done, and the window has grown by one"


def test_each_status_has_its_outcome() -> None:
    batch = batch_of("done", "deleted", "gone", "refused")
    for attempt, status in zip(begun(batch), (200, 204, 410, 400), strict=True):
        batch.on_response(attempt, 0.1, status, f"{status} Reason")
    assert batch.is_over
    assert batch.outcome == Outcome(done=2, gone=["gone"], refused={"refused": "400 Reason"})


def test_a_failure_pauses_for_longer_each_time() -> None:
    batch = batch_of("a")
    now, pauses = 0.0, []
    (attempt,) = begun(batch)
    for _ in range(5):
        batch.on_failure(attempt, now, FULL)
        failed_at = now
        while not begun(batch, now):
            now += 0.001
            batch.tick(now)
        pauses.append(now - failed_at)
    for pause, expected in zip(pauses, (0.05, 0.1, 0.2, 0.4, 0.8), strict=True):
        assert 0.74 * expected <= pause <= 1.26 * expected + 0.002


def test_failed_and_new_ones_take_turns() -> None:
    batch = batch_of("a", "b", *map(str, range(FIRST_IN_FLIGHT)))
    first = begun(batch)
    for attempt in first[:2]:
        batch.on_failure(attempt, 0.0, FULL)
    for attempt in first[2:]:
        batch.on_response(attempt, 0.01, 200)
    batch.tick(1.0)
    order = ids(begun(batch, 1.0))
    assert sorted(order[0:4:2]) == ["a", "b"]  # in the order of their pauses, which vary
    assert order[1:4:2] == ["14", "15"]


def test_a_connection_is_given_up_that_fails_while_others_succeed() -> None:
    batch = batch_of("slow", *map(str, range(2000)))
    slow: list[Attempt] = []
    now = 0.0
    while "slow" not in batch.outcome.failed and now < 10:
        now += 0.01
        batch.tick(now)
        for attempt in begun(batch, now):
            if attempt.connection_id == "slow":
                slow.append(attempt)
                batch.on_failure(attempt, now, FULL)
            else:
                batch.on_response(attempt, now, 200)
    assert batch.outcome.failed == {"slow": FULL}
    assert now >= PATIENCE.give_up_after_s
    assert len(slow) >= PATIENCE.attempts
    assert batch._rate.rate == math.inf, "it has not slowed down the others"


def test_all_are_given_up_where_nothing_succeeds() -> None:
    batch = batch_of(*map(str, range(40)))
    now = 0.0
    while not batch.is_over:
        now += 0.01
        batch.tick(now)
        for attempt in begun(batch, now):
            batch.on_failure(attempt, now, "no connection: refused")
        assert now < 10
    assert batch.outcome == Outcome(failed={str(number): "no connection: refused" for number in range(40)})
    assert now == pytest.approx(PATIENCE.stall_s, abs=0.5)


def test_a_single_failure_is_not_a_stall() -> None:
    batch = batch_of("a")
    (attempt,) = begun(batch)
    batch.on_failure(attempt, 0.1, FULL)
    batch.tick(20.0)
    assert ids(begun(batch, 20.0)) == ["a"]


def test_nothing_begins_once_time_is_over_and_what_is_in_flight_may_still_succeed() -> None:
    batch = batch_of(*map(str, range(20)), stop_at=5.0)
    first, second, *others = begun(batch, 4.0)
    batch.on_failure(second, 4.5, FULL)
    batch.tick(5.0)
    assert batch.begin(5.0) is None
    batch.on_response(first, 5.1, 200)
    batch.on_failure(others[0], 5.1, FULL)
    assert batch.outcome.done == 1
    assert batch.outcome.unsent == ["1", "16", "17", "18", "19", "2"]
    assert ids(list(batch.abandon())) == ids(others[1:])
    assert batch.is_over
    assert len(batch.outcome.unsent) == 19


def test_a_response_that_comes_after_all_changes_nothing() -> None:
    batch = batch_of("a", stop_at=5.0)
    (attempt,) = begun(batch)
    batch.abandon()
    batch.on_response(attempt, 6.0, 200)
    batch.on_failure(attempt, 6.0, FULL)
    batch.again(attempt)
    assert batch.outcome == Outcome(unsent=["a"])


def test_attempts_are_overdue_after_their_time() -> None:
    batch = batch_of("a", "b")
    first, second = begun(batch, 1.0)
    batch.restart(second, 2.0)
    assert list(batch.overdue(1.0 + PATIENCE.timeout_s)) == [first]
    assert list(batch.overdue(2.0 + PATIENCE.timeout_s)) == [first, second]


def test_a_dead_connection_does_not_count_as_a_failure() -> None:
    batch = batch_of("a")
    (attempt,) = begun(batch)
    batch.again(attempt)
    (again,) = begun(batch)
    assert again is attempt
    assert again.failures == 0
