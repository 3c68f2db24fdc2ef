"""How fast to send: as fast as the answers say that the management API takes it.

The account's quota answers 429 to what is beyond it, and so does one client whose buffer is full. So single failures
are nothing; a fraction of the answers is. What got through meanwhile is then the rate that is this worker's share.
"""

from __future__ import annotations

import math

MAX_IN_FLIGHT = 128
FIRST_IN_FLIGHT = 16
MIN_RATE = 10.0
"""Requests a second that are always tried: something must find out when the others are done."""
TOO_MANY = 0.1
"""The fraction of failures from which the pace is slowed down."""
FEW = 0.06
"""The fraction of failures up to which it is raised."""
MOST = 0.6
"""A fraction of failures that cannot be the connections' own."""
SAMPLE_S = 0.05
SAMPLE_ANSWERS = 20
SLOW_SAMPLE_S = 1.0
SLOW_SAMPLE_ANSWERS = 5
CLEAN_SAMPLE_S = 0.2
CLEAN_SAMPLE_ANSWERS = 6
"""Without a failure so few tell enough: of workers that share a quota the last soon take what the others leave."""
BURST_S = 0.025
"""Of a second's requests so many may go out at once."""
FORGOTTEN_AFTER_S = 20.0


class Pace:
    """Times are a monotonic clock's seconds.

    Answers are counted for samples. Each change of the rate begins a new `epoch`, and answers to requests of an earlier
    one say nothing about it.
    """

    def __init__(self) -> None:
        self.rate = math.inf  # requests a second
        self.window = FIRST_IN_FLIGHT
        self.epoch = 0
        self._tokens = 0.0
        self._filled_at = 0.0
        self._heard_at = -math.inf
        self._was_limiting = False
        self._streak = 0  # samples in a row that were good
        self._cut_at_odds = math.inf  # of failing, where that cut was to what succeeded
        self._begin_sample()

    def resume(self, now: float) -> None:
        """Begin to send again: what was learnt before is worth less the longer it is ago."""
        idle_s = now - self._heard_at
        if idle_s > FORGOTTEN_AFTER_S:
            self.rate = math.inf
            self.window = FIRST_IN_FLIGHT
        elif math.isfinite(self.rate):
            self.rate *= 2**idle_s
        self._filled_at = now
        self._tokens = 0.0
        self._begin_sample()

    def take(self, now: float) -> bool:
        """Return whether a request may go out now, and count it."""
        if self.rate == math.inf:
            return True
        self._tokens = min(self._tokens + (now - self._filled_at) * self.rate, max(1.0, self.rate * BURST_S))
        self._filled_at = now
        if self._tokens < 1:
            self._was_limiting = True
            return False
        self._tokens -= 1
        return True

    def record(self, now: float, epoch: int, *, is_good: bool) -> None:
        """Count an answer to a request of that epoch. Not good is what a slower pace might have avoided."""
        self._heard_at = now
        if is_good and self.window < MAX_IN_FLIGHT:
            self.window += 1
        if epoch != self.epoch:
            return
        if not self._answers:
            self._since = now
        self._answers += 1
        self._bad += not is_good
        elapsed_s = now - self._since
        if self._answers >= SAMPLE_ANSWERS:
            # Most are failing: that much is clear sooner.
            if elapsed_s >= SAMPLE_S or (self._bad > self._answers / 2 and elapsed_s >= SAMPLE_S / 2.5):
                self._judge(elapsed_s)
        elif elapsed_s >= SLOW_SAMPLE_S or (self._is_clean and elapsed_s >= CLEAN_SAMPLE_S):
            if self.rate < math.inf and self._answers >= SLOW_SAMPLE_ANSWERS:
                self._judge(elapsed_s)
            else:
                self._begin_sample()

    @property
    def _is_clean(self) -> bool:
        return not self._bad and self._answers >= CLEAN_SAMPLE_ANSWERS

    def _judge(self, elapsed_s: float) -> None:
        fraction = self._bad / self._answers
        succeeded = (self._answers - self._bad) / elapsed_s
        if fraction > TOO_MANY:
            self._streak = 0
            odds = fraction / max(1 - fraction, 0.01)
            # Where the last cut changed little, the failures are the connections' own.
            if fraction > MOST or not 0.6 <= odds / self._cut_at_odds <= 1.6:
                rate = min(self.rate, self._answers / elapsed_s)
                self._cut_at_odds = odds if succeeded >= rate / 4 else math.inf
                self._set_rate(max(MIN_RATE, succeeded, rate / 4))
        else:
            if fraction < TOO_MANY / 4:
                self._cut_at_odds = math.inf
            if fraction <= FEW and self._was_limiting:
                # By the root: of workers that share a quota those with less come up to those with more.
                step = math.sqrt(self.rate) * 2**self._streak
                self._streak += 1
                self._set_rate(self.rate + min(step, self.rate))
        self._begin_sample()

    def _set_rate(self, rate: float) -> None:
        self.rate = rate
        self.epoch += 1
        self._was_limiting = False

    def _begin_sample(self) -> None:
        self._answers = self._bad = 0
        self._since = 0.0
