"""Decides when to send, repeat and give up one request for each of many connections. No I/O.

A driver sends the requests that `begin` returns, and reports each result to `on_response` or `on_failure`; from time to
time it drops the attempts that are `overdue`, and calls `tick`. Times are a monotonic clock's seconds.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import random
from collections import deque
from collections.abc import Sequence

import msgspec

from ..gateway.values import Outcome
from .rate_control import RateControl

OWN_FAULT_AFTER = 2
"""A connection that failed this often in a row is rarely meant by the quota, at a rate that keeps to it."""
HEALTHY_SUCCESS_RATIO = 0.85
"""From this share of successes on, sending goes well for others, and a failure is the connection's own. A quota that is
shared costs up to SLOW_DOWN_ABOVE, 0.1, of the responses before the rate falls."""
HEALTH_WINDOW = 50
"""The number of responses in the moving average of successes: half a second's at 100 a second, and enough that a few
slow clients in a row do not look like a fault of the API."""


class Patience(msgspec.Struct, frozen=True):
    """How long a batch goes on.

    A connection is given up after `attempts` that failed while others succeeded, over at least `give_up_after_s`: a
    client's buffer that is full has that time to drain. All are given up where nothing has succeeded for `stall_s`, so
    that a publisher hears of an outage within a few seconds. `timeout_s` is for one response.
    """

    timeout_s: float = 5.0
    attempts: int = 6
    give_up_after_s: float = 1.5
    stall_s: float = 2.5
    first_pause_s: float = 0.05
    longest_pause_s: float = 1.0


class Attempt:
    """The request for one connection id, with all its attempts. `strikes` failed while sending went well for others."""

    __slots__ = ("begun_at", "connection_id", "epoch", "failures", "first_failed_at", "strikes")

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.epoch = 0  # of the rate, when it was begun
        self.begun_at = 0.0
        self.failures = 0
        self.first_failed_at = 0.0
        self.strikes = 0


class _State(enum.Enum):
    RUNNING = enum.auto()
    STOPPED = enum.auto()  # time is nearly over: no request begins, those in flight may still succeed
    STALLED = enum.auto()  # the same, since nothing succeeds


class Batch:
    """One request for each of `connection_ids`. The result is in `outcome` once `is_over`."""

    def __init__(
        self, connection_ids: Sequence[str], rate: RateControl, patience: Patience, *, now: float, stop_at: float
    ) -> None:
        self.outcome = Outcome()
        self._rate = rate
        self._patience = patience
        self._stop_at = stop_at
        self._state = _State.RUNNING
        self._fresh = iter(connection_ids)
        self._fresh_count = len(connection_ids)
        self._due: deque[Attempt] = deque()  # to be tried again now
        self._waiting: list[tuple[float, int, Attempt]] = []  # a heap: when to try again
        self._numbers = itertools.count()  # so that the heap never compares attempts
        self._in_flight: dict[Attempt, None] = {}  # in the order of beginning
        self._took_due = False
        # Of the responses so far:
        self._success_ratio = 1.0  # a moving average
        self._has_succeeded = False
        self._succeeded_at = now
        self._failures_since = 0
        self._last_reason = ""

    @property
    def is_over(self) -> bool:
        return not (self._in_flight or self._due or self._fresh_count or self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def unfinished(self) -> int:
        """The number of requests that may go out now, or are in flight."""
        return len(self._due) + self._fresh_count + len(self._in_flight)

    # What to send

    def begin(self, now: float) -> Attempt | None:
        """Return the next request to send; None where none may go out now.

        Those that failed and new ones take turns, so that neither holds up the other.
        """
        if not (self._due or self._fresh_count) or now >= self._stop_at:
            return None
        if len(self._in_flight) >= self._rate.window or not self._rate.take(now):
            return None
        self._took_due = bool(self._due) and not (self._took_due and self._fresh_count)
        if self._took_due:
            attempt = self._due.popleft()
        else:
            attempt = Attempt(next(self._fresh))
            self._fresh_count -= 1
        attempt.epoch = self._rate.epoch
        attempt.begun_at = now
        self._in_flight[attempt] = None
        return attempt

    def restart(self, attempt: Attempt, now: float) -> None:
        """Count the time of an attempt from now on: its connection has only now been opened."""
        if attempt in self._in_flight:
            del self._in_flight[attempt]
            self._in_flight[attempt] = None
            attempt.begun_at = now

    # What came of it

    def on_response(self, attempt: Attempt, now: float, status: int, reason: str = "") -> None:
        """Take notice of a response other than 429, 5xx and missing permissions, which are failures."""
        if not self._take_back(attempt):
            return
        self._rate.record(now, attempt.epoch, is_good=True)
        self._success_ratio += (1 - self._success_ratio) / HEALTH_WINDOW
        self._has_succeeded = True
        self._succeeded_at = now
        self._failures_since = 0
        if status < 300:
            self.outcome.done += 1
        elif status == 410:
            self.outcome.gone.append(attempt.connection_id)
        else:
            self.outcome.refused[attempt.connection_id] = reason

    def on_failure(self, attempt: Attempt, now: float, reason: str) -> None:
        """Take notice of an attempt that failed and may succeed later."""
        if not self._take_back(attempt):
            return
        self._last_reason = reason
        self._failures_since += 1
        if not attempt.failures:
            attempt.first_failed_at = now
        attempt.failures += 1
        is_healthy = self._has_succeeded and self._success_ratio >= HEALTHY_SUCCESS_RATIO
        # What seems to be a connection's own fault says nothing about the others.
        if not attempt.strikes and (attempt.failures < OWN_FAULT_AFTER or not self._fresh_count):
            self._rate.record(now, attempt.epoch, is_good=False)
            self._success_ratio -= self._success_ratio / HEALTH_WINDOW
        attempt.strikes += is_healthy
        self._decide(attempt, now, reason)

    def _decide(self, attempt: Attempt, now: float, reason: str) -> None:
        patience = self._patience
        is_given_up = attempt.strikes >= patience.attempts and now - attempt.first_failed_at >= patience.give_up_after_s
        if is_given_up or self._state is _State.STALLED:
            self.outcome.failed[attempt.connection_id] = reason
        elif self._state is _State.STOPPED:
            self.outcome.unsent.append(attempt.connection_id)
        else:
            pause_s = min(patience.first_pause_s * 2 ** (attempt.failures - 1), patience.longest_pause_s)
            due = now + pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not cryptography
            heapq.heappush(self._waiting, (due, next(self._numbers), attempt))

    def again(self, attempt: Attempt) -> None:
        """Try an attempt again at once, uncounted: its connection was dead before it was read."""
        if self._take_back(attempt):
            if self._state is _State.RUNNING:
                self._due.append(attempt)
            else:
                self.outcome.unsent.append(attempt.connection_id)

    def _take_back(self, attempt: Attempt) -> bool:
        """Return False where the attempt has been given up meanwhile."""
        if attempt not in self._in_flight:
            return False
        del self._in_flight[attempt]
        return True

    # What happens in time

    def overdue(self, now: float) -> Sequence[Attempt]:
        """Return the attempts that are in flight for too long. The driver drops them and reports each as a failure."""
        found = []
        for attempt in self._in_flight:
            if now - attempt.begun_at < self._patience.timeout_s:
                break
            found.append(attempt)
        return found

    def tick(self, now: float) -> None:
        """Make attempts due after their pause; stop where the time is nearly over, or no request succeeds."""
        while self._waiting and self._waiting[0][0] <= now:
            self._due.append(heapq.heappop(self._waiting)[2])
        if now >= self._stop_at:
            self._stop(_State.STOPPED)
        elif self._seems_stalled(now):
            self._stop(_State.STALLED)

    def abandon(self) -> Sequence[Attempt]:
        """End the batch, count the requests in flight as unsent, and return them."""
        self._stop(_State.STOPPED)
        abandoned = list(self._in_flight)
        self.outcome.unsent += [attempt.connection_id for attempt in abandoned]
        self._in_flight.clear()
        return abandoned

    def _seems_stalled(self, now: float) -> bool:
        """A few failures of the last one or two requests may be bad luck, but not for three times as long."""
        since_s = now - self._succeeded_at
        stall_s = self._patience.stall_s
        return (self._failures_since >= self._patience.attempts and since_s >= stall_s) or (
            self._failures_since > 1 and since_s >= 3 * stall_s
        )

    def _stop(self, state: _State) -> None:
        """Begin nothing new."""
        if self._state is not _State.RUNNING:
            return
        self._state = state
        attempts = [*self._due, *(attempt for _, _, attempt in self._waiting)]
        remaining = [*(attempt.connection_id for attempt in attempts), *self._fresh]
        self._due.clear()
        self._waiting.clear()
        self._fresh_count = 0
        if state is _State.STALLED:
            self.outcome.failed |= dict.fromkeys(remaining, self._last_reason)
        else:
            self.outcome.unsent += remaining
