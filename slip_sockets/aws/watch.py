"""What a function tells whoever watches it: a line for each event, and what each other line of its log is about.

The line for an event has metrics in it, in CloudWatch's embedded metric format: no call is made for them.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from ..events import AnswerEvent, SocketEvent
from ..gateway.backend import Backend, BackendFailed
from ..gateway.tally import Counted, Sampled, Tally

NAMESPACE = "SlipSockets"
BY_EVENT_TYPE: Mapping[str, str] = {"Failures": "Count", "BackendLatency": "Milliseconds"}
"""Metrics and their units, with the dimensions `stack` and `eventType`. How many events of a type there were is how
many samples BackendLatency has: each metric costs money. Failures are what lines of the log tell of; of a batch, at
least the messages that must come again."""
BY_STACK: Mapping[str, str] = dict.fromkeys(("BackendFailures", "Matched", "Sent", "Gone", "Queued"), "Count")
"""The same with the dimension `stack` alone."""
EVENT_TYPES = ("OPEN", "TEXT", "CLOSE", "CONTROL", "DEFERRED")
"""CONTROL is a call of the control API, DEFERRED a batch of the queue's messages."""
MAX_SAMPLES = 100
"""More values of a metric a line may not have. An event that publishes more often shows the first."""

_SOCKET_EVENT_TYPES = {"CONNECT": "OPEN", "MESSAGE": "TEXT", "DISCONNECT": "CLOSE"}

Answer = TypeVar("Answer")


class RequestContext(Protocol):
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    @property
    def aws_request_id(self) -> str: ...


class LineFields(logging.Filter):
    """Gives log lines the fields that Lambda's JSON format then shows; `requestId` is Lambda's own.

    A function handles one event at a time: they are about that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.event_type: str | None = None
        self.connection_id: str | None = None

    def install(self) -> None:
        """To be called once the root logger has its handlers, as Lambda's runtime sees to."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        record.eventType = self.event_type
        record.connectionId = self.connection_id
        return True


line_fields = LineFields()
"""The process's one, like the loggers."""


class EventTally:
    """What one event did."""

    def __init__(self) -> None:
        self.counts: Counter[Counted] = Counter()
        self.samples: dict[Sampled, list[int]] = {}

    def count(self, what: Counted, by: int = 1) -> None:
        self.counts[what] += by

    def sample(self, what: Sampled, value: int) -> None:
        samples = self.samples.setdefault(what, [])
        if len(samples) < MAX_SAMPLES:
            samples.append(value)

    def clear(self) -> None:
        self.counts.clear()
        self.samples.clear()

    def values(self) -> dict[str, int | list[int]]:
        """Return what there is to tell. What is 0 is left out: it makes no metric, and costs nothing."""
        values: dict[str, int | list[int]] = {name: count for name, count in self.counts.items() if count}
        values.update({name: told if len(told) > 1 else told[0] for name, told in self.samples.items()})
        return values


@dataclass(frozen=True, slots=True)
class CountingBackend(Backend):
    """A Backend whose calls are counted and timed."""

    tally: Tally

    async def tell(self, connection_id: str, metadata: bytes | None, event: SocketEvent) -> Sequence[AnswerEvent]:
        began = time.perf_counter()
        try:
            return await Backend.tell(self, connection_id, metadata, event)
        except BackendFailed:
            self.tally.count("BackendFailures")
            raise
        finally:
            self.tally.sample("BackendLatency", _ms_since(began))


class Watch:
    """Decorators for handlers. After each event they tell what is in `tally`, as metrics of `stack_name`.

    Without a `stack_name` they tell nothing.
    """

    def __init__(self, stack_name: str | None) -> None:
        self.tally = EventTally()
        self._stack_name = stack_name
        self._is_cold = True
        line_fields.install()

    def websocket(self, handler: Callable[[Any, Any], Answer]) -> Callable[[Any, Any], Answer]:
        @functools.wraps(handler)
        def watched(event: Any, context: Any) -> Answer:
            told = event["requestContext"]
            with self._watching(_SOCKET_EVENT_TYPES[told["eventType"]], context, told["connectionId"]):
                return handler(event, context)

        return watched

    def control(self, handler: Callable[[Any, Any], Answer]) -> Callable[[Any, Any], Answer]:
        @functools.wraps(handler)
        def watched(event: Any, context: Any) -> Answer:
            with self._watching("CONTROL", context):
                return handler(event, context)

        return watched

    def deferred(self, handler: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Any, Any], dict[str, Any]]:
        @functools.wraps(handler)
        def watched(event: Any, context: Any) -> dict[str, Any]:
            with self._watching("DEFERRED", context):
                answer = handler(event, context)
                counts = self.tally.counts
                counts["Failures"] = max(counts["Failures"], len(answer["batchItemFailures"]))
                return answer

        return watched

    @contextmanager
    def _watching(self, event_type: str, context: RequestContext, connection_id: str | None = None) -> Iterator[None]:
        line_fields.event_type, line_fields.connection_id = event_type, connection_id
        self.tally.clear()  # of an event that the time ran out for
        began = time.perf_counter()
        try:
            yield
        except BaseException:
            self.tally.count("Failures")
            raise
        finally:
            if self._stack_name is not None:
                self._tell(self._stack_name, event_type, connection_id, context.aws_request_id, _ms_since(began))

    def _tell(
        self, stack_name: str, event_type: str, connection_id: str | None, request_id: str, duration_ms: int
    ) -> None:
        about: dict[str, object] = {"requestId": request_id, "durationMs": duration_ms}
        if connection_id is not None:
            about["connectionId"] = connection_id
        if self._is_cold:
            about["coldStart"] = True
        self._is_cold = False
        sys.stdout.write(event_line(stack_name, event_type, self.tally.values(), about) + "\n")


def event_line(stack_name: str, event_type: str, values: Mapping[str, object], about: Mapping[str, object]) -> str:
    """Return a line of the log, of whose `values` CloudWatch makes metrics. `about` can be searched for."""
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [dimensions],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items() if name in values],
        }
        for dimensions, units in ((["stack", "eventType"], BY_EVENT_TYPE), (["stack"], BY_STACK))
        if not units.keys().isdisjoint(values)
    ]
    metrics = {"_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": directives}} if directives else {}
    line = {**metrics, "stack": stack_name, "eventType": event_type, **values, **about}
    return msgspec.json.encode(line).decode()


def _ms_since(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)
