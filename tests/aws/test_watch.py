from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from slip_sockets.aws.watch import (
    BY_EVENT_TYPE,
    BY_STACK,
    EVENT_TYPES,
    MAX_SAMPLES,
    NAMESPACE,
    EventTally,
    Watch,
    line_fields,
)
from slip_sockets.gateway.tally import Counted, Sampled

CONNECT = {"requestContext": {"eventType": "CONNECT", "connectionId": "AAAA="}}


class Context:
    aws_request_id = "c6af9ac6"


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    yield
    for handler in logging.getLogger().handlers:
        handler.removeFilter(line_fields)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_event_is_one_line_of_the_embedded_metric_format(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("chat")

    @watch.websocket
    def handler(event: Any, context: Any) -> str:
        watch.tally.sample("BackendLatency", 0)
        watch.tally.count("Failures")
        watch.tally.count("Sent", 7)
        watch.tally.count("Gone", 0)
        watch.tally.sample("Matched", 3)
        watch.tally.sample("Matched", 4)
        return "answer"

    assert handler(CONNECT, Context) == "answer"
    (line,) = lines(capsys)
    assert isinstance(line["_aws"].pop("Timestamp"), int)
    assert isinstance(line.pop("durationMs"), int)
    assert line == {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["stack", "eventType"]],
                    "Metrics": [
                        {"Name": "Failures", "Unit": "Count"},
                        {"Name": "BackendLatency", "Unit": "Milliseconds"},
                    ],
                },
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["stack"]],
                    "Metrics": [{"Name": "Matched", "Unit": "Count"}, {"Name": "Sent", "Unit": "Count"}],
                },
            ]
        },
        "stack": "chat",
        "eventType": "OPEN",
        "Failures": 1,
        "BackendLatency": 0,
        "Matched": [3, 4],
        "Sent": 7,
        "requestId": "c6af9ac6",
        "connectionId": "AAAA=",
        "coldStart": True,
    }


def test_what_is_nought_makes_no_metric(capsys: pytest.CaptureFixture[str]) -> None:
    Watch("chat").control(lambda event, context: None)({}, Context)
    (line,) = lines(capsys)
    assert line.keys() == {"stack", "eventType", "requestId", "durationMs", "coldStart"}


def test_each_event_is_told_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("chat")

    @watch.control
    def handler(event: Any, context: Any) -> None:
        watch.tally.count("Sent")
        watch.tally.sample("Matched", 1)

    handler({}, Context)
    handler({}, Context)
    told = lines(capsys)
    assert [(line["Sent"], line["Matched"]) for line in told] == [(1, 1), (1, 1)]
    assert ["coldStart" in line for line in told] == [True, False]


def test_a_line_has_no_more_samples_than_cloudwatch_takes() -> None:
    tally = EventTally()
    for value in range(MAX_SAMPLES + 1):
        tally.sample("Matched", value)
    assert tally.values() == {"Matched": list(range(100))}


@pytest.mark.parametrize(("logged", "told"), [(0, 1), (3, 3)])
def test_a_batch_counts_the_messages_that_come_again(
    capsys: pytest.CaptureFixture[str], logged: int, told: int
) -> None:
    watch = Watch("chat")

    @watch.deferred
    def handler(event: Any, context: Any) -> dict[str, Any]:
        watch.tally.count("Failures", logged)
        return {"batchItemFailures": [{"itemIdentifier": "1"}]}

    handler({"Records": []}, Context)
    (line,) = lines(capsys)
    assert (line["eventType"], line["Failures"]) == ("DEFERRED", told)


def test_a_crash_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    @Watch("chat").websocket
    def handler(event: Any, context: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        handler(CONNECT, Context)
    (line,) = lines(capsys)
    assert line["Failures"] == 1


def test_an_event_that_the_time_ran_out_for_is_not_told_with_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("chat")
    watch.tally.count("Sent")  # and the process was frozen there
    watch.control(lambda event, context: None)({}, Context)
    (line,) = lines(capsys)
    assert "Sent" not in line


def test_without_a_stack_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Watch(None).control(lambda event, context: None)({}, None)
    assert capsys.readouterr().out == ""


def test_whatever_the_gateway_counts_is_a_metric() -> None:
    assert {*get_args(Counted), *get_args(Sampled)} == {*BY_EVENT_TYPE, *BY_STACK}


@pytest.mark.parametrize("logger", ["slip_sockets.gateway", "slip_sockets.aws", "urllib3.connectionpool"])
def test_lines_of_the_log_say_what_they_are_about(caplog: pytest.LogCaptureFixture, logger: str) -> None:
    log = logging.getLogger(logger)
    event_types = {"CONNECT": "OPEN", "MESSAGE": "TEXT", "DISCONNECT": "CLOSE"}
    watch = Watch(None)
    handler = watch.websocket(lambda event, context: log.warning("it went wrong"))
    for event_type in event_types:
        handler({"requestContext": {"eventType": event_type, "connectionId": "AAAA="}}, None)
    watch.control(lambda event, context: log.warning("it went wrong"))({}, None)
    assert [(vars(line)["eventType"], vars(line)["connectionId"]) for line in caplog.records] == [
        ("OPEN", "AAAA="),
        ("TEXT", "AAAA="),
        ("CLOSE", "AAAA="),
        ("CONTROL", None),
    ]
    assert {*event_types.values(), "CONTROL", "DEFERRED"} == set(EVENT_TYPES)
