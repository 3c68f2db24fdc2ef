"""The metrics of a stack's alarms and dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .synthesis import Stack


@dataclass(frozen=True, slots=True)
class Watched:
    """`where` is an alarm's or a graph's name."""

    where: str
    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str

    @property
    def metric(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        return self.namespace, self.name, tuple(sorted(self.dimensions.items()))


def alarms(stack: Stack) -> dict[str, Any]:
    """Return the arguments of each alarm by its name, which is without the stack's."""
    made = stack.config["resource"]["aws_cloudwatch_metric_alarm"].values()
    return {alarm["alarm_name"].removeprefix(f"{stack.folder.name}-"): alarm for alarm in made}


def dashboard(stack: Stack) -> Any:
    return json.loads(stack.resource("cloudwatch_dashboard", "dashboard")["dashboard_body"])


def of_alarms(stack: Stack) -> Iterator[Watched]:
    for name, alarm in alarms(stack).items():
        for query in alarm["metric_query"]:
            if "metric" in query:
                metric = query["metric"]
                yield Watched(name, metric["namespace"], metric["metric_name"], metric["dimensions"], metric["stat"])


def of_dashboard(stack: Stack) -> Iterator[Watched]:
    for widget in dashboard(stack)["widgets"]:
        for *metric, options in widget["properties"].get("metrics", ()):
            if not metric:  # an expression of others
                continue
            namespace, name, *pairs = metric
            dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
            yield Watched(widget["properties"]["title"], namespace, name, dimensions, options["stat"])
