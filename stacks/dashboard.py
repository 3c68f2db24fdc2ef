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
    title: str
    metrics: Sequence[Metric]
    unit: str


def graphs(metrics: Metrics) -> list[Graph]:
    """Return the graphs in reading order, three to a row. They have 50 metrics: an account's first three dashboards of
    up to 50 metrics are free. https://aws.amazon.com/cloudwatch/pricing/"""
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
                *metrics.ours_by_type("BackendLatency", ("OPEN", "TEXT", "CLOSE"), "SampleCount"),
                metrics.control("Count", label="CONTROL"),
                metrics.queue("NumberOfMessagesReceived", "Sum", "DEFERRED"),
            ],
            "a minute",
        ),
        Graph("Failures by type", metrics.ours_by_type("Failures", EVENT_TYPES), "a minute"),
        Graph("Backend: latency, p99", metrics.ours_by_type("BackendLatency", FROM_BACKEND, "p99"), "ms"),
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
    ]


class Dashboard(Construct):
    """The dashboard `<stack>`."""

    def __init__(self, scope: Construct, id_: str, *, metrics: Metrics, alarm_arns: Sequence[str], region: str) -> None:
        super().__init__(scope, id_)
        body = {"start": "-PT3H", "widgets": _widgets(metrics, alarm_arns, region)}
        dashboard = CloudwatchDashboard(
            self, "dashboard", dashboard_name=metrics.stack_name, dashboard_body=json.dumps(body)
        )
        named(dashboard, "dashboard")


def _widgets(metrics: Metrics, alarm_arns: Sequence[str], region: str) -> list[dict[str, object]]:
    introduction = {"markdown": _INTRODUCTION.format(stack=metrics.stack_name)}
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
    for index, graph in enumerate(graphs(metrics)):
        row, column = divmod(index, 3)
        place = {"x": column * width, "y": 3 + row * HEIGHT, "width": width, "height": HEIGHT}
        widgets.append({"type": "metric", **place, "properties": _graph(graph, region)})
    return widgets


def _graph(graph: Graph, region: str) -> dict[str, object]:
    return {
        "title": graph.title,
        "region": region,
        "view": "timeSeries",
        "stacked": False,
        "period": PERIOD_S,
        "metrics": [_line(metric) for metric in graph.metrics],
        "yAxis": {"left": {"min": 0, "label": graph.unit, "showUnits": False}},
    }


def _line(metric: Metric) -> list[object]:
    dimensions = [text for dimension in metric.dimensions.items() for text in dimension]
    return [metric.namespace, metric.name, *dimensions, {"stat": metric.statistic, "label": metric.label}]
