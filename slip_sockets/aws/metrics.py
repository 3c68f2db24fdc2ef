"""A function's metrics: one line in its log for each event, in CloudWatch's embedded metric format. No call is made.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from ..gateway.errors import BackendFailed
from ..gateway.observer import EventType
from ..protocol.errors import SlipSocketsError
from ..protocol.events import Report
from .lambda_context import LambdaContext

NAMESPACE = "SlipSockets"
BY_EVENT_TYPE: Mapping[str, str] = {"Failures": "Count", "BackendLatency": "Milliseconds"}
"""Metrics and their units, with the dimensions `stack` and `eventType`, and with `stack` alone: an alarm over the sum
of all types might be blind where CloudWatch has no series of one of them.

There is no counter of events: BackendLatency's sample count is one, and each metric costs money. Failures are what
lines of the log report; of a batch, at least the messages that must come again."""
BY_STACK: Mapping[str, str] = {
    **dict.fromkeys(("BackendFailures", "Matched", "Sent", "Gone", "Queued", "TableThrottles"), "Count"),
    **dict.fromkeys(("DeferredAge", "InboundAge"), "Seconds"),
}
"""The same with the dimension `stack` alone.

TableThrottles are calls of DynamoDB that it throttled, in whole or in part, retries among them: alarms over DynamoDB's
own metrics do not leave ALARM, since CloudWatch ignores that they have no data. DeferredAge is how long ago a message
of the queue was put there, at the end of each attempt: CloudWatch's age of a queue leaves out messages that fail.
InboundAge is the same of the queue of what clients send.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""
EVENT_TYPES = tuple(type_.value for type_ in EventType)
MAX_SAMPLES = 100
"""A line must not have more values of a metric. An event that publishes more often shows the first."""


class EventMetrics:
    """An Observer: what one event did. Sent, Gone, Queued and Matched are numbers of subscribers; queued ones are
    counted as sent or gone once that is done."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[float]] = {}

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        self._sample("BackendLatency", round(seconds * 1000))
        if error is not None:
            self.counts["BackendFailures"] += 1

    def failed(self, error: SlipSocketsError | None) -> None:
        self.counts["Failures"] += 1

    def published(self, report: Report) -> None:
        self._sample("Matched", report.matched)
        self.counts["Queued"] += report.queued

    def delivered(self, *, sent: int, gone: int) -> None:
        self.counts["Sent"] += sent
        self.counts["Gone"] += gone

    def table_throttled(self) -> None:
        self.counts["TableThrottles"] += 1

    def attempted(self, *, age_s: float) -> None:
        """A message of the queue was handled, or could not be. `age_s` is the time since it was put there."""
        self._sample("DeferredAge", round(age_s))

    def texts_waited(self, *, age_s: float) -> None:
        """The same for the queue of what clients send."""
        self._sample("InboundAge", round(age_s, 2))

    def failures_at_least(self, count: int) -> None:
        self.counts["Failures"] = max(self.counts["Failures"], count)

    def clear(self) -> None:
        self.counts.clear()
        self.samples.clear()

    def values(self) -> dict[str, float | list[float]]:
        """Return the values by metric, those that are 0 left out: they make no metric, and cost nothing."""
        values: dict[str, float | list[float]] = {name: count for name, count in self.counts.items() if count}
        values.update({name: values_ if len(values_) > 1 else values_[0] for name, values_ in self.samples.items()})
        return values

    def _sample(self, name: str, value: float) -> None:
        samples = self.samples.setdefault(name, [])
        if len(samples) < MAX_SAMPLES:
            samples.append(value)


class MetricsLog:
    """Writes the line of each event, with what `metrics` observed meanwhile; nothing without a `stack_name`."""

    def __init__(self, stack_name: str | None) -> None:
        self.metrics = EventMetrics()
        self._stack_name = stack_name
        self._is_cold = True

    @contextmanager
    def event(self, type_: EventType, context: LambdaContext, connection_id: str | None = None) -> Iterator[None]:
        """The event that is handled within."""
        self.metrics.clear()  # of an event that the time ran out for
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            self.metrics.failed(None)
            raise
        finally:
            if self._stack_name is not None:
                duration_ms = round((time.perf_counter() - began) * 1000)
                self._write(self._stack_name, type_, connection_id, context.aws_request_id, duration_ms)

    def _write(
        self, stack_name: str, type_: EventType, connection_id: str | None, request_id: str, duration_ms: int
    ) -> None:
        fields: dict[str, object] = {"requestId": request_id, "durationMs": duration_ms}
        if connection_id is not None:
            fields["connectionId"] = connection_id
        if self._is_cold:
            fields["coldStart"] = True
        self._is_cold = False
        sys.stdout.write(event_line(stack_name, type_, self.metrics.values(), fields) + "\n")


def event_line(stack_name: str, type_: EventType, values: Mapping[str, object], fields: Mapping[str, object]) -> str:
    """Return a line of the log. CloudWatch makes metrics of its `values`; its `fields` can be searched for."""
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": dimensions,
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items() if name in values],
        }
        for dimensions, units in (([["stack", "eventType"], ["stack"]], BY_EVENT_TYPE), ([["stack"]], BY_STACK))
        if not units.keys().isdisjoint(values)
    ]
    metrics = {"_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": directives}} if directives else {}
    # Lambda's filter of levels takes a line without one for INFO; with one it is found like other lines.
    line = {**metrics, "level": "INFO", "stack": stack_name, "eventType": type_, **values, **fields}
    return msgspec.json.encode(line).decode()
