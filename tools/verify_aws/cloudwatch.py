"""Reads the stage's alarms and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from .measurement import Context


async def alarms(context: Context) -> list[dict[str, Any]]:
    """Return the stage's alarms of expressions and metrics, as DescribeAlarms does."""
    found = await context.call("cloudwatch", "describe_alarms", AlarmNamePrefix=f"{context.stage.name}-")
    return [alarm for alarm in found["MetricAlarms"] if alarm.get("Metrics")]


async def points_of(context: Context, queries: Sequence[dict[str, Any]], *, minutes: float = 60) -> list[float]:
    """Return the values of the query that returns data, oldest first. Nothing where the local AWS cannot compute it."""
    now = datetime.now(UTC)
    window = {"StartTime": now - timedelta(minutes=minutes), "EndTime": now + timedelta(minutes=1)}
    if context.stage.is_local and any("Expression" in query for query in queries):
        return []
    results = await context.call(
        "cloudwatch", "get_metric_data", MetricDataQueries=list(queries), ScanBy="TimestampAscending", **window
    )
    return [float(value) for result in results["MetricDataResults"] for value in result["Values"]]


async def metric_points(
    context: Context, namespace: str, name: str, statistic: str, *, minutes: float, **dimensions: str
) -> list[float]:
    """Return a metric's points of the last minutes."""
    metric = {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }
    query = {"Id": "points", "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}
    return await points_of(context, [query], minutes=minutes)
