"""How CloudWatch evaluates alarms, as far as AWS documents it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Series = Sequence[float | None]
"""The values of a metric, or of an expression, by minute; None where it has none."""

FURTHER_PERIODS = 2
"""How many more than its evaluation periods an alarm looks at, to find values. AWS's examples have 2."""


def states(alarm: Any, metrics: Mapping[str, Series], minutes: int, *, fill_makes_a_series: bool) -> Iterator[str]:
    """Yield the alarm's state after each minute. Metrics are by name; one that is left out has no series at all.

    AWS does not say whether FILL of a metric without any value is a series: both have to do.
    """
    watched = _watched(alarm, metrics, minutes, fill_makes_a_series=fill_makes_a_series)
    when_missing = alarm["treat_missing_data"]
    if any(query["metric"]["namespace"] == "AWS/DynamoDB" for query in alarm["metric_query"] if "metric" in query):
        when_missing = "ignore"  # "even if you choose a different option"
    state = "OK"
    for minute in range(minutes):
        state = _state(alarm, watched[: minute + 1], when_missing, state)
        yield state


def _state(alarm: Any, values: Series, when_missing: str, state: str) -> str:
    periods, datapoints = alarm["evaluation_periods"], alarm["datapoints_to_alarm"]
    found = [value > alarm["threshold"] for value in values[-(periods + FURTHER_PERIODS) :] if value is not None]
    found = found[-periods:]
    if len(found) < periods:
        if when_missing == "ignore" and not found:
            return state
        assert when_missing in ("ignore", "notBreaching")
    return "ALARM" if sum(found) >= datapoints else "OK"


def _watched(
    alarm: Any, metrics: Mapping[str, Series], minutes: int, *, fill_makes_a_series: bool
) -> list[float | None]:
    by_id: dict[str, Series | None] = {
        query["id"]: metrics.get(query["metric"]["metric_name"]) for query in alarm["metric_query"] if "metric" in query
    }
    expression = next((query["expression"] for query in alarm["metric_query"] if "expression" in query), None)
    if expression is None:
        (series,) = by_id.values()
        return list(series) if series is not None else [None] * minutes

    def fill(series: Series | None, value: float) -> Series | None:
        if series is None:
            return [value] * minutes if fill_makes_a_series else None
        return [value if each is None else each for each in series]

    return [_value(expression, by_id, minute, fill) for minute in range(minutes)]


def _value(
    expression: str,
    by_id: Mapping[str, Series | None],
    minute: int,
    fill: Callable[[Series | None, float], Series | None],
) -> float | None:
    """Return the value of one minute: none where a part of the expression has none, or for a division by 0."""

    def at(series: Series | None) -> str:
        value = series[minute] if series is not None else None
        return "None" if value is None else str(value)

    text = re.sub(r"FILL\((m\d+), (\d+)\)", lambda found: at(fill(by_id[found[1]], float(found[2]))), expression)
    text = re.sub(r"\bm\d+\b", lambda found: at(by_id[found[0]]), text)
    try:
        return float(eval(text, {"__builtins__": {}}))
    except (TypeError, ZeroDivisionError):
        return None
