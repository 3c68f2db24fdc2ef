"""How fast to send: as fast as the responses show that the management API takes it.

The quota of the account answers 429 to requests beyond it, and so does the full buffer of one client. So a single
failure means nothing; a share of the responses does. The rate is found as congestion control finds it, by additive
increase and a cut: responses are judged by samples of some 20, or of a moment where there are fewer. A sample with more
than SLOW_DOWN_ABOVE of failures cuts the rate to what succeeded meanwhile, which is this worker's share of the quota,
but to no less than a quarter. A sample with at most SPEED_UP_BELOW raises it, where the rate was what held requests
back: by the root of the rate, and by twice as much for each good sample in a row. The root makes shares even: workers
with less gain more of theirs than workers with much. Failures that do not fall after a cut are the connections' own,
and cut nothing further. After a pause the learnt limit is worth less: the rate doubles with each second.
"""

from __future__ import annotations

import math

MAX_IN_FLIGHT = 128
"""Requests at once. At 20 ms each that is 6,400 a second; one function sends some 1,250 (`queue.SHARDS`)."""
FIRST_IN_FLIGHT = 16
"""As many at first; one more with each success, as TCP's slow start doubles its window with each round trip."""
MIN_RATE = 10.0
"""Requests a second that are always tried: something must find out when the other workers are done."""
SLOW_DOWN_ABOVE = 0.1
"""Share of failures. One slow client in ten would be much; a quota that is exceeded by a ninth reaches it."""
SPEED_UP_BELOW = 0.06
"""Share of failures: one in a sample of 20 is no reason to stay slow."""
NO_TRACE_BELOW = SLOW_DOWN_ABOVE / 4
"""From this share down there is no trace of an earlier overload: the next one is a new one."""
OVERLOAD_ABOVE = 0.6
"""A share of failures that cannot be the connections' own: it always cuts."""
SAME_ODDS = (0.6, 1.6)
"""Failures are taken for the connections' own where, after a cut, their odds are within these multiples of the odds
before it. A quota's odds would fall by far more: with the rate cut to what succeeded they fall to nearly 0."""
DEEPEST_CUT = 1 / 4
"""Of the rate, at once: a sample is short, and may have met another worker's burst."""
SAMPLE_S = 0.05
SAMPLE_RESPONSES = 20
"""A sample ends with both. 20 is the least in which SLOW_DOWN_ABOVE is more than one failure."""
CLEAR_SAMPLE_S = SAMPLE_S / 2.5
"""It ends so soon where most fail."""
SLOW_SAMPLE_S = 1.0
SLOW_SAMPLE_RESPONSES = 5
"""At a low rate a sample ends after a second, and is judged with this number of responses."""
CLEAN_SAMPLE_S = 0.2
CLEAN_SAMPLE_RESPONSES = 6
"""Without a failure a sample may be this small, so that the last workers soon use the quota which others released."""
BURST_S = 0.025
"""The requests of this part of a second may go out at once: longer than the sender's ticks."""
FORGOTTEN_AFTER_S = 20.0
"""After such a pause everything begins anew: the kept connections have ended by then, too."""


class RateControl:
    """Times are a monotonic clock's seconds.

    Each change of the rate begins a new `epoch`: responses to requests of an earlier one say nothing about it.
    """

    def __init__(self) -> None:
        self.rate = math.inf  # requests a second
        self.window = FIRST_IN_FLIGHT
        self.epoch = 0
        self._tokens = 0.0
        self._filled_at = 0.0
        self._heard_at = -math.inf
        self._was_limiting = False  # since the last change of the rate
        self._streak = 0  # samples in a row that raised it
        self._odds_at_cut = math.inf  # of failures, where the last cut was to what succeeded
        self._begin_sample()

    def resume(self, now: float) -> None:
        """Begin to send again."""
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
        """Count a response to a request of that epoch. Not good is a failure that a lower rate might have avoided."""
        self._heard_at = now
        if is_good and self.window < MAX_IN_FLIGHT:
            self.window += 1
        if epoch != self.epoch:
            return
        if not self._responses:
            self._since = now
        self._responses += 1
        self._bad += not is_good
        elapsed_s = now - self._since
        if self._responses >= SAMPLE_RESPONSES:
            is_clear = self._bad > self._responses / 2 and elapsed_s >= CLEAR_SAMPLE_S
            if elapsed_s >= SAMPLE_S or is_clear:
                self._judge(elapsed_s)
        elif elapsed_s >= SLOW_SAMPLE_S or (self._is_clean and elapsed_s >= CLEAN_SAMPLE_S):
            if self.rate < math.inf and self._responses >= SLOW_SAMPLE_RESPONSES:
                self._judge(elapsed_s)
            else:
                self._begin_sample()

    @property
    def _is_clean(self) -> bool:
        return not self._bad and self._responses >= CLEAN_SAMPLE_RESPONSES

    def _judge(self, elapsed_s: float) -> None:
        share = self._bad / self._responses
        if share > SLOW_DOWN_ABOVE:
            self._streak = 0
            self._cut(share, elapsed_s)
        else:
            if share < NO_TRACE_BELOW:
                self._odds_at_cut = math.inf
            if share <= SPEED_UP_BELOW and self._was_limiting:
                self._raise()
        self._begin_sample()

    def _cut(self, share: float, elapsed_s: float) -> None:
        odds = share / max(1 - share, 0.01)
        least, most = SAME_ODDS
        if share <= OVERLOAD_ABOVE and least <= odds / self._odds_at_cut <= most:
            return
        succeeded = (self._responses - self._bad) / elapsed_s
        rate = min(self.rate, self._responses / elapsed_s)
        self._odds_at_cut = odds if succeeded >= rate * DEEPEST_CUT else math.inf
        self._set_rate(max(MIN_RATE, succeeded, rate * DEEPEST_CUT))

    def _raise(self) -> None:
        step = math.sqrt(self.rate) * 2**self._streak
        self._streak += 1
        self._set_rate(self.rate + min(step, self.rate))

    def _set_rate(self, rate: float) -> None:
        self.rate = rate
        self.epoch += 1
        self._was_limiting = False

    def _begin_sample(self) -> None:
        self._responses = self._bad = 0
        self._since = 0.0
