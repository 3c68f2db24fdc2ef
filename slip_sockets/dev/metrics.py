"""Metrics of the development server: those of the functions on AWS, counted in memory."""

from __future__ import annotations

import math
from collections import Counter, deque

from ..gateway.errors import BackendFailed
from ..gateway.observer import current_event
from ..protocol.errors import SlipSocketsError
from ..protocol.events import Report

MAX_LATENCIES = 1_000
"""The median and the 95th percentile are those of the last calls."""


class Metrics:
    """An Observer. It counts from the server's start; matched, sent, gone and queued are numbers of subscribers."""

    def __init__(self) -> None:
        self.backend_calls = 0
        self.backend_failures = 0
        self.failures: Counter[str] = Counter()  # by event type
        self.matched = 0
        self.sent = 0
        self.gone = 0
        self.queued = 0
        self._latencies_s: deque[float] = deque(maxlen=MAX_LATENCIES)

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        self.backend_calls += 1
        self.backend_failures += error is not None
        self._latencies_s.append(seconds)

    def failed(self, error: SlipSocketsError) -> None:
        event = current_event.get()
        self.failures["" if event is None else event.type.value] += 1

    def published(self, report: Report) -> None:
        self.matched += report.matched
        self.queued += report.queued

    def delivered(self, *, sent: int, gone: int) -> None:
        self.sent += sent
        self.gone += gone

    def latency_ms(self, share: float) -> float | None:
        """Return the latency that `share` of the backend's last calls had at most; None before the first call."""
        if not self._latencies_s:
            return None
        ordered = sorted(self._latencies_s)
        return round(ordered[max(math.ceil(share * len(ordered)) - 1, 0)] * 1000, 1)

    def values(self) -> dict[str, object]:
        """Return all metrics, by the names of the functions' metrics on AWS; latencies in milliseconds."""
        return {
            "BackendCalls": self.backend_calls,
            "BackendFailures": self.backend_failures,
            "BackendLatency": {"p50": self.latency_ms(0.5), "p95": self.latency_ms(0.95)},
            "Failures": dict(self.failures),
            "Matched": self.matched,
            "Sent": self.sent,
            "Gone": self.gone,
            "Queued": self.queued,
        }
