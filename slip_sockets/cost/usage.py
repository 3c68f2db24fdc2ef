"""Counts what the handling of an event uses."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Self

from .metering import gb_seconds, read_units, sqs_requests, stretched, websocket_messages, write_units
from .prices import Meter
from .workload import Workload

GIB = 1024**3
EVENT_LOG_BYTES = 400
"""Our line of the log for an event, with 26 bytes that CloudWatch adds."""


class Usage:
    """Units of each meter, calls of AWS's APIs, and the milliseconds that Lambda bills."""

    def __init__(self, workload: Workload) -> None:
        self.units: defaultdict[Meter, float] = defaultdict(float)
        self.aws_calls = 0.0
        self.billed_ms = 0.0
        self.waiting_for_backend_ms = 0.0
        self._memory_mb = workload.memory_mb
        self._time = Meter.LAMBDA_ARM64 if workload.architecture == "arm64" else Meter.LAMBDA_X86

    def invoke(self, *, cpu_ms: float, waits_ms: float, backend_ms: float = 0, times: float = 1) -> None:
        """Invoke a function, which writes one line to its log."""
        duration_ms = stretched(cpu_ms, self._memory_mb) + waits_ms + backend_ms
        self.units[Meter.LAMBDA_REQUESTS] += times
        self.units[self._time] += times * gb_seconds(duration_ms, self._memory_mb)
        self.units[Meter.LOGS] += times * EVENT_LOG_BYTES / GIB
        self.billed_ms += times * math.ceil(duration_ms)
        self.waiting_for_backend_ms += times * backend_ms

    def prolong(self, *, cpu_ms: float, waits_ms: float, times: float = 1) -> None:
        """Prolong an invocation that is counted elsewhere."""
        duration_ms = stretched(cpu_ms, self._memory_mb) + waits_ms
        self.units[self._time] += times * gb_seconds(duration_ms, self._memory_mb)
        self.billed_ms += times * math.ceil(duration_ms)

    def write(self, *rows: int, indexed: Iterable[int] = (), calls: float = 1, times: float = 1) -> None:
        """Write rows of these sizes to DynamoDB, and to an index, where each entry is a row of its own."""
        units = sum(map(write_units, rows)) + sum(map(write_units, indexed))
        self.units[Meter.WRITE_UNITS] += times * units
        self.aws_calls += times * calls

    def read(self, *rows: int, consistent: bool, calls: float = 1) -> None:
        self.units[Meter.READ_UNITS] += calls * read_units(*rows, consistent=consistent)
        self.aws_calls += calls

    def send(self, texts: float, size: int) -> None:
        """Send texts to clients through the management API."""
        self.respond(size, times=texts)
        self.aws_calls += math.ceil(texts)

    def respond(self, size: int, *, times: float = 1) -> None:
        """Let API Gateway send a text to a client."""
        self.units[Meter.WEBSOCKET_MESSAGES] += times * websocket_messages(size)
        self.units[Meter.DATA_OUT] += times * size / GIB

    def receive(self, size: int, *, times: float = 1) -> None:
        """Receive a text from a client."""
        self.units[Meter.WEBSOCKET_MESSAGES] += times * websocket_messages(size)

    def post(self, size: float) -> None:
        """POST to the backend, which is assumed to be outside of the region."""
        self.units[Meter.DATA_OUT] += size / GIB

    def queue(self, *call_bytes: int, times: float = 1) -> None:
        """Call SQS, once for each size."""
        self.units[Meter.SQS_REQUESTS] += times * sum(map(sqs_requests, call_bytes))
        self.aws_calls += times * len(call_bytes)

    def shared_by(self, count: float) -> Self:
        """Return this, divided among `count` events that were handled together."""
        for meter in self.units:
            self.units[meter] /= count
        self.aws_calls /= count
        self.billed_ms /= count
        self.waiting_for_backend_ms /= count
        return self
