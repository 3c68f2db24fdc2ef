from __future__ import annotations

import json
from typing import Any

import pytest

from slip_sockets.aws.metrics import (
    BY_EVENT_TYPE,
    BY_STACK,
    EVENT_TYPES,
    MAX_SAMPLES,
    NAMESPACE,
    EventMetrics,
    MetricsLog,
)
from slip_sockets.gateway.errors import BackendFailed, BackendFault
from slip_sockets.gateway.observer import EventType
from slip_sockets.protocol.errors import SlipSocketsError
from slip_sockets.protocol.events import Report

FAILED = BackendFailed(BackendFault.TIMEOUT, "did not respond")


class Context:
    aws_request_id = "c6af9ac6"

    def get_remaining_time_in_millis(self) -> int:
        raise NotImplementedError


CONTEXT = Context()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_an_event_is_one_line_of_the_embedded_metric_format(capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog("chat")
    with log.event(EventType.OPEN, CONTEXT, "AAAA="):
        log.metrics.backend_called(seconds=0, error=None)
        log.metrics.failed(SlipSocketsError("no"))
        log.metrics.delivered(sent=7, gone=0)
        log.metrics.published(Report(3, 3, 0, 0))
        log.metrics.published(Report(4, 4, 0, 0))
    (line,) = lines(capsys)
    assert isinstance(line["_aws"].pop("Timestamp"), int)
    assert isinstance(line.pop("durationMs"), int)
    assert line == {
        "_aws": {
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["stack", "eventType"], ["stack"]],
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
        "level": "INFO",
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


def test_zero_makes_no_metric(capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog("chat")
    with log.event(EventType.CONTROL, CONTEXT):
        log.metrics.delivered(sent=0, gone=0)
    (line,) = lines(capsys)
    assert line.keys() == {"level", "stack", "eventType", "requestId", "durationMs", "coldStart"}


def test_each_event_has_its_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog("chat")
    for _ in range(2):
        with log.event(EventType.CONTROL, CONTEXT):
            log.metrics.delivered(sent=1, gone=0)
            log.metrics.published(Report(1, 1, 0, 0))
    written = lines(capsys)
    assert [(line["Sent"], line["Matched"]) for line in written] == [(1, 1), (1, 1)]
    assert ["coldStart" in line for line in written] == [True, False]


def test_a_line_has_at_most_the_samples_that_cloudwatch_takes() -> None:
    metrics = EventMetrics()
    for value in range(MAX_SAMPLES + 1):
        metrics.published(Report(value, value, 0, 0))
    assert metrics.values() == {"Matched": list(range(100))}


@pytest.mark.parametrize(("logged", "expected"), [(0, 1), (3, 3)])
def test_a_batch_counts_at_least_the_messages_that_come_again(logged: int, expected: int) -> None:
    metrics = EventMetrics()
    for _ in range(logged):
        metrics.failed(SlipSocketsError("no"))
    metrics.failures_at_least(1)
    assert metrics.values() == {"Failures": expected}


def test_a_crash_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), MetricsLog("chat").event(EventType.OPEN, CONTEXT, "AAAA="):
        raise ZeroDivisionError
    (line,) = lines(capsys)
    assert line["Failures"] == 1


def test_values_of_an_event_that_ran_out_of_time_are_not_in_the_next_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = MetricsLog("chat")
    log.metrics.delivered(sent=1, gone=0)  # and the process was frozen there
    with log.event(EventType.CONTROL, CONTEXT):
        pass
    (line,) = lines(capsys)
    assert "Sent" not in line


def test_without_a_stack_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with MetricsLog(None).event(EventType.CONTROL, CONTEXT):
        pass
    assert capsys.readouterr().out == ""


def test_everything_observed_is_a_metric_with_a_unit() -> None:
    metrics = EventMetrics()
    metrics.backend_called(seconds=0.25, error=FAILED)
    metrics.failed(FAILED)
    metrics.published(Report(3, 1, 1, 1))
    metrics.delivered(sent=1, gone=1)
    metrics.attempted(age_s=901.4)
    metrics.texts_waited(age_s=0.123)
    metrics.table_throttled()
    assert metrics.values() == {
        "DeferredAge": 901,
        "InboundAge": 0.12,
        "TableThrottles": 1,
        "BackendFailures": 1,
        "BackendLatency": 250,
        "Failures": 1,
        "Matched": 3,
        "Queued": 1,
        "Sent": 1,
        "Gone": 1,
    }
    assert metrics.values().keys() == {*BY_EVENT_TYPE, *BY_STACK}


def test_event_types_are_those_of_the_gateway() -> None:
    assert EVENT_TYPES == ("OPEN", "TEXT", "CLOSE", "CONTROL", "DEFERRED")
