"""A deployment's CloudWatch dashboard: alarms first, then graphs in the order in which an event travels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from constructs import Construct

from slip_sockets.aws.metrics import EVENT_TYPES

from .aws import CloudwatchDashboard
from .metrics import FROM_BACKEND, Metric, Metrics
from .naming import named

COLUMNS = 24
"""The width of a dashboard.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""
HEIGHT = 6
PERIOD_S = 60

_INTRODUCTION = (
    "**{stack}**: alarms, then clients, the backend, fan-out, the queue, functions and tables. `docs/operations.md` "
    "explains each alarm and what to do."
)


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of metrics. With `ratio`, a label, it also shows the first divided by the second, on the right axis."""

    title: str
    metrics: Sequence[Metric]
    unit: str
    ratio: str | None = None


def graphs(metrics: Metrics, *, ordered: bool) -> list[Graph]:
    """Return the graphs in reading order, three to a row. They have 50 metrics: an account's first three dashboards of
    up to 50 metrics are free. https://aws.amazon.com/cloudwatch/pricing/

    With `ordered`, disconnects are counted with the texts, in the batches of the inbound queue.
    """
    failing = [event_type for event_type in EVENT_TYPES if not (ordered and event_type == "CLOSE")]
    calling = [event_type for event_type in FROM_BACKEND if event_type in failing]
    at_once = ("OPEN",) if ordered else ("OPEN", "TEXT", "CLOSE")
    return [
        Graph(
            "Connections and messages",
            [
                metrics.websocket("ConnectCount", label="connects"),
                metrics.websocket("MessageCount", label="messages, both ways"),
            ],
            "a minute",
        ),
        Graph(
            "Events by type",
            [
                *metrics.ours_by_type("BackendLatency", at_once, "SampleCount"),
                metrics.control("Count", label="CONTROL"),
                metrics.queue("NumberOfMessagesReceived", "Sum", "DEFERRED"),
            ],
            "a minute",
        ),
        Graph("Failures by type", metrics.ours_by_type("Failures", failing), "a minute"),
        Graph("Backend: latency, p99", metrics.ours_by_type("BackendLatency", calling, "p99"), "ms"),
        Graph(
            "Backend: failures",
            [
                metrics.ours("BackendFailures", label="failures"),
                metrics.ours("BackendLatency", "SampleCount", "calls"),
            ],
            "a minute",
        ),
        Graph(
            "Integration: latency of both APIs, p99",
            [
                metrics.websocket("IntegrationLatency", "p99", "websocket"),
                metrics.control("IntegrationLatency", "p99", "control"),
            ],
            "ms",
        ),
        Graph(
            "Fan-out: subscribers of a publish", [metrics.ours("Matched", "Maximum", "largest publish")], "subscribers"
        ),
        Graph(
            "Fan-out: outcome",
            [metrics.ours(name, label=name.lower()) for name in ("Sent", "Gone", "Queued")],
            "a minute",
        ),
        Graph(
            "Errors of the APIs",
            [
                metrics.websocket("ClientError", label="websocket, before the function (429 included)"),
                metrics.websocket("IntegrationError", label="websocket, refused by gateway or backend"),
                metrics.websocket("ExecutionError", label="websocket, function not reached"),
                metrics.control("4xx", label="control 4xx"),
                metrics.control("5xx", label="control 5xx"),
            ],
            "a minute",
        ),
        Graph(
            "Queue: age of messages",
            [
                metrics.queue("ApproximateAgeOfOldestMessage", label="the oldest, but those that fail"),
                metrics.ours("DeferredAge", "Maximum", "at the last attempt"),
            ],
            "s",
        ),
        Graph(
            "Queue: messages",
            [
                metrics.queue("ApproximateNumberOfMessagesVisible", label="waiting"),
                metrics.queue("ApproximateNumberOfMessagesNotVisible", label="in flight, or pausing"),
            ],
            "messages",
        ),
        Graph("Dead letters", [metrics.dead_letters()], "messages"),
        Graph("Functions: errors", metrics.each_function("Errors"), "a minute"),
        Graph("Functions: throttles", metrics.each_function("Throttles"), "a minute"),
        Graph("Functions: concurrency", metrics.each_function("ConcurrentExecutions", "Maximum"), "functions"),
        Graph(
            "Tables: throttles",
            [
                *metrics.each_table("ReadThrottleEvents"),
                *metrics.each_table("WriteThrottleEvents"),
                metrics.ours("TableThrottles", label="calls of the functions"),
            ],
            "a minute",
        ),
        *(_of_texts(metrics) if ordered else ()),
    ]


def _of_texts(metrics: Metrics) -> list[Graph]:
    return [
        Graph(
            "Texts in order: age",
            [
                metrics.ours("InboundAge", "p90", "at the last attempt, p90"),
                metrics.inbound_queue("ApproximateAgeOfOldestMessage", "the oldest in the queue"),
            ],
            "s",
        ),
        Graph(
            "Texts in order: events of a POST",
            [
                metrics.ours("InboundAge", "SampleCount", "events"),
                *metrics.ours_by_type("BackendLatency", ("TEXT",), "SampleCount", "POSTs"),
            ],
            "a minute",
            ratio="events of a POST",
        ),
    ]


class Dashboard(Construct):
    """The dashboard `<stack>`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        metrics: Metrics,
        alarm_arns: Sequence[str],
        region: str,
        ordered: bool,
    ) -> None:
        super().__init__(scope, id_)
        shown = graphs(metrics, ordered=ordered)
        body = {"start": "-PT3H", "widgets": _widgets(metrics.stack_name, shown, alarm_arns, region)}
        dashboard = CloudwatchDashboard(
            self, "dashboard", dashboard_name=metrics.stack_name, dashboard_body=json.dumps(body)
        )
        named(dashboard, "dashboard")


def _widgets(
    stack_name: str, shown: Sequence[Graph], alarm_arns: Sequence[str], region: str
) -> list[dict[str, object]]:
    introduction = {"markdown": _INTRODUCTION.format(stack=stack_name)}
    widgets: list[dict[str, object]] = [
        {"type": "text", "x": 0, "y": 0, "width": 6, "height": 3, "properties": introduction},
        {
            "type": "alarm",
            "x": 6,
            "y": 0,
            "width": 18,
            "height": 3,
            "properties": {"title": "Alarms", "alarms": list(alarm_arns)},
        },
    ]
    width = COLUMNS // 3
    for index, graph in enumerate(shown):
        row, column = divmod(index, 3)
        place = {"x": column * width, "y": 3 + row * HEIGHT, "width": width, "height": HEIGHT}
        widgets.append({"type": "metric", **place, "properties": _graph(graph, region)})
    return widgets


def _graph(graph: Graph, region: str) -> dict[str, object]:
    axes = {"left": {"min": 0, "label": graph.unit, "showUnits": False}}
    lines = [_line(metric, f"m{index}") for index, metric in enumerate(graph.metrics)]
    if graph.ratio is not None:
        lines.append([{"expression": "m0 / m1", "label": graph.ratio, "yAxis": "right"}])
        axes["right"] = {"min": 0, "label": graph.ratio, "showUnits": False}
    return {
        "title": graph.title,
        "region": region,
        "view": "timeSeries",
        "stacked": False,
        "period": PERIOD_S,
        "metrics": lines,
        "yAxis": axes,
    }


def _line(metric: Metric, id_: str) -> list[object]:
    dimensions = [text for dimension in metric.dimensions.items() for text in dimension]
    return [metric.namespace, metric.name, *dimensions, {"id": id_, "stat": metric.statistic, "label": metric.label}]
