"""What clients send with INBOUND=ordered, through the functions."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from aiohttp import web

from slip_sockets.aws.queue import decode, encode
from slip_sockets.gateway.deferred import Continuation, Deferred, Disconnected, ReceivedText, Texts
from slip_sockets.gateway.worker import MAX_INBOUND_PAUSE_S, attempts_within
from slip_sockets.protocol.events import SendText

from .conftest import STACK_NAME, Context, Deployment
from .test_functions import ME, POST_TO_ME, connect, replies

YOU = "BBBB1234BBBB123="
WELCOME = {"type": "TEXT", "connectionId": ME, "data": "welcome"}


@pytest.fixture
def ordered(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setenv("INBOUND", "ordered")
    return deployment


def text(id_: str, data: str, connection_id: str = ME) -> Texts:
    return Texts(connection_id, [ReceivedText(id_, data.encode())])


def put(deployment: Deployment, *messages: Deferred) -> None:
    """Put messages into the queue, as API Gateway does."""
    for message in messages:
        deployment.sqs.send_message(
            QueueUrl=deployment.inbound_url,
            MessageBody=encode(message),
            MessageGroupId=message.group,
            MessageDeduplicationId=message.deduplication_id,
        )


def events_of(deployment: Deployment) -> list[list[dict[str, Any]]]:
    """The events of each POST that the backend received since the connection was opened."""
    return [post.events for post in deployment.backend.posts if post.kind != "OPEN"]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_what_open_deferred_goes_before_the_texts(ordered: Deployment) -> None:
    connect(ordered, WELCOME)
    put(ordered, text("1", "hi"))
    assert ordered.sqs_event() == {"Records": []}
    payload = ordered.sqs_event(ordered.inbound_url)
    assert [decode(record["body"]).kind for record in payload["Records"]] == ["continuation", "texts"]
    ordered.backend.script = replies(TEXT=[{"type": "TEXT", "connectionId": ME, "data": "echo"}])
    assert ordered.call("deliver", payload) == {"batchItemFailures": []}
    requests = [(request.path, request.body.decode()) for request in ordered.management.requests]
    assert requests == [(POST_TO_ME, "welcome"), (POST_TO_ME, "echo")]


@pytest.mark.parametrize("value", ["direct", ""])
def test_without_order_it_goes_to_the_queue_of_deferred_messages(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("INBOUND", value)
    connect(deployment, WELCOME)
    assert deployment.sqs_event(deployment.inbound_url) == {"Records": []}
    assert len(deployment.sqs_event()["Records"]) == 1


@pytest.mark.parametrize("value", ["ordered", "direct"])
def test_texts_and_the_disconnect_that_are_in_the_queue_are_handled_either_way(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """INBOUND changes under traffic: what was put into the queue before the change is handled after it."""
    monkeypatch.setenv("INBOUND", value)
    connect(deployment, {"type": "SET_METADATA", "connectionId": ME, "metadata": {"name": "Zoë"}})
    put(deployment, text("1", "a"), text("2", "Zoë \x00\u2028😀"), Disconnected(ME, 4000, "grüß".encode()))
    deployment.backend.script = replies()
    payload = deployment.sqs_event(deployment.inbound_url)
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    of_me = {"type": "TEXT", "connectionId": ME}
    assert events_of(deployment) == [
        [of_me | {"data": "a", "id": "1"}, of_me | {"data": "Zoë \x00\u2028😀", "id": "2"}],
        [{"type": "CLOSE", "connectionId": ME, "code": 4000, "reason": "grüß"}],
    ]
    assert [post.body["metadata"] for post in deployment.backend.posts[1:]] == [{"name": "Zoë"}] * 2
    assert deployment.channels() == []


def test_batch_of_texts_is_a_line_of_the_log_with_the_age_of_each(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    put(deployment, text("1", "a"), text("2", "b"), text("3", "c", YOU))
    payload = deployment.sqs_event(deployment.inbound_url)
    payload["Records"][0]["attributes"]["SentTimestamp"] = str(round((time.time() - 10) * 1000))
    deployment.call("deliver", payload)
    (line,) = lines(capsys)
    assert (line["stack"], line["eventType"], line["requestId"]) == (STACK_NAME, "TEXT", Context.aws_request_id)
    assert len(line["InboundAge"]) == 3
    assert 10 <= line["InboundAge"][0] < 70
    assert len(line["BackendLatency"]) == 2, "a POST for each connection"
    assert "DeferredAge" not in line
    assert "Failures" not in line


def test_batch_that_fails_has_ages_too_and_a_failure_for_each_message(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.backend.script = lambda _: web.Response(status=503)
    put(deployment, text("1", "a"), text("2", "b"), text("3", "c"))
    payload = deployment.sqs_event(deployment.inbound_url)
    assert len(deployment.call("deliver", payload)["batchItemFailures"]) == 3
    (line,) = lines(capsys)
    assert (line["eventType"], line["Failures"], line["BackendFailures"]) == ("TEXT", 3, 1)
    assert len(line["InboundAge"]) == 3


def test_batch_of_the_other_queue_is_a_deferred_one(ordered: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    connect(ordered)
    ordered.sqs.send_message(
        QueueUrl=ordered.queue_url,
        MessageBody=encode(Continuation(ME, [SendText(ME, "hi")])),
        MessageGroupId=ME,
        MessageDeduplicationId="1",
    )
    ordered.call("deliver", ordered.sqs_event())
    line = lines(capsys)[-1]
    assert line["eventType"] == "DEFERRED"
    assert "DeferredAge" in line
    assert "InboundAge" not in line


@pytest.mark.parametrize("retry_for_s", [60, 20])
def test_texts_that_the_backend_does_not_take_in_time_are_a_dead_letter(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, retry_for_s: int
) -> None:
    monkeypatch.setenv("INBOUND_RETRY_S", str(retry_for_s))
    deployment.backend.script = lambda _: web.Response(status=503)
    put(deployment, text("1", "a"), text("2", "b"))
    payload = deployment.sqs_event(deployment.inbound_url)
    last = attempts_within(retry_for_s, MAX_INBOUND_PAUSE_S)
    for attempt, failed in ((last - 1, 2), (last, 0)):
        for record in payload["Records"]:
            record["attributes"]["ApproximateReceiveCount"] = str(attempt)
        assert len(deployment.call("deliver", payload)["batchItemFailures"]) == failed
    (record,) = deployment.sqs_event(deployment.dead_letters_url)["Records"]
    assert decode(record["body"]) == Texts(ME, [ReceivedText("1", b"a"), ReceivedText("2", b"b")])
    assert deployment.sqs_event()["Records"] == []
