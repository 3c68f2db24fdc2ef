"""The three functions from end to end: real events in, real calls out."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from typing import Any

import pytest
from aiohttp import web

from slip_sockets.aws.queue import MAX_RECEIVE_COUNT
from slip_sockets.cost.usage import EVENT_LOG_BYTES
from slip_sockets.protocol.errors import InvalidSettings
from slip_sockets.protocol.tokens import bearer_token, mint, verify

from ..aws.http_stub import Answer, HttpStub, forward_to
from ..scripted_backend import Events, Post
from .conftest import SECRET, STACK_NAME, Context, Deployment, event

ME = "AAAA1234AAAA123="
ACCEPT = {"type": "ACCEPT", "connectionId": ME}
POST_TO_ME = f"/live/@connections/{ME.replace('=', '%3D')}"


def replies(**by_type: list[dict[str, Any]]) -> Any:
    def script(request: Post) -> Events:
        return by_type.get(request.kind, [])

    return script


def control_event(*events: dict[str, Any], secret: str = SECRET) -> Any:
    payload = event("control")
    payload["headers"]["authorization"] = f"Bearer {mint('ControlEvent', secret)}"
    payload["body"] = base64.b64encode(json.dumps({"events": events}).encode()).decode()
    payload["isBase64Encoded"] = True
    return payload


def connect(deployment: Deployment, *events: dict[str, Any]) -> None:
    deployment.backend.script = replies(OPEN=[ACCEPT, *events])
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 200


def test_accepted_client_is_stored_with_its_subscriptions(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert deployment.channels() == [f"$connection:{ME}", "lobby"]
    assert deployment.sqs_event() == {"Records": []}
    (request,) = deployment.backend.posts
    assert request.event == {"type": "OPEN", "connectionId": ME}
    assert request.body["metadata"]["ip"] == "192.0.2.1"
    assert request.body["metadata"]["query"] == {"room": ["3", "7"], "quiet": [""]}
    assert request.headers["Content-Type"] == "application/websocket-events"
    verify(bearer_token(request.headers["Authorization"]), "WebSocketEvent", [SECRET])


def test_chosen_subprotocol_is_returned(deployment: Deployment) -> None:
    deployment.backend.script = replies(OPEN=[ACCEPT | {"subprotocol": "v1.chat"}])
    response = deployment.call("websocket", event("websocket_connect"))
    assert response == {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "v1.chat"}, "body": ""}


@pytest.mark.parametrize(
    ("response", "status"), [(list, 400), (lambda: web.Response(status=503), 500)], ids=["no ACCEPT", "503"]
)
def test_refused_client_leaves_no_rows(deployment: Deployment, response: Any, status: int) -> None:
    deployment.backend.script = lambda _: response()
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == status
    assert deployment.channels() == []


def test_text_in_the_reply_to_open_waits_in_the_queue_and_is_delivered(deployment: Deployment) -> None:
    text = {"type": "TEXT", "connectionId": ME, "data": "Zoë \x00\uffff"}
    connect(deployment, text, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert deployment.channels() == [f"$connection:{ME}"]
    assert deployment.management.requests == []
    payload = deployment.sqs_event()
    assert payload["Records"][0]["attributes"]["MessageGroupId"] == ME
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    assert [(request.path, request.body.decode()) for request in deployment.management.requests] == [
        (POST_TO_ME, "Zoë \x00\uffff")
    ]
    assert deployment.channels() == [f"$connection:{ME}", "lobby"]


def test_text_reaches_the_backend_and_its_reply_the_client(deployment: Deployment) -> None:
    connect(deployment, {"type": "SET_METADATA", "connectionId": ME, "metadata": {"name": "Zoë"}})
    deployment.backend.script = replies(
        TEXT=[
            {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"},
            {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "to all"},
            {"type": "TEXT", "connectionId": ME, "data": "to you"},
        ]
    )
    assert deployment.call("websocket", event("websocket_message"))["statusCode"] == 200
    request = deployment.backend.posts[-1]
    assert request.event == {"type": "TEXT", "connectionId": ME, "data": "Zoë says hi 😀"}
    assert request.body["metadata"] == {"name": "Zoë"}
    assert [request.body for request in deployment.management.requests] == [b"to all", b"to you"]


def test_client_that_leaves_loses_its_rows_and_the_backend_has_a_close(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert deployment.call("websocket", event("websocket_disconnect"))["statusCode"] == 200
    assert deployment.channels() == []
    request = deployment.backend.posts[-1]
    reason = "Client-side close frame status not set"
    assert request.event == {"type": "CLOSE", "connectionId": ME, "code": 1005, "reason": reason}
    assert request.body["metadata"]["ip"] == "192.0.2.1"


def test_close_that_the_backend_does_not_take_waits_in_the_queue(deployment: Deployment) -> None:
    connect(deployment, {"type": "SET_METADATA", "connectionId": ME, "metadata": {"name": "Zoë"}})
    deployment.backend.script = lambda _: web.Response(status=503)
    assert deployment.call("websocket", event("websocket_disconnect"))["statusCode"] == 200
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    failures = {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert deployment.call("deliver", payload) == failures
    calls_before = len(deployment.backend.posts)
    deployment.backend.script = replies()
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    (request,) = deployment.backend.posts[calls_before:]
    assert request.event["code"] == 1005
    assert request.body["metadata"] == {"name": "Zoë"}


def test_publish_reaches_subscribers_and_prunes_those_that_have_left(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    response = deployment.call("control", control_event(publish))
    assert response["statusCode"] == 200
    assert json.loads(response["body"])["events"] == [{"matched": 1, "sent": 1, "gone": 0, "queued": 0}]
    (request,) = deployment.management.requests
    assert (request.method, request.path, request.body) == ("POST", POST_TO_ME, b"hi")

    # Older than the moment in which 410 means "not open yet".
    key = {"connectionId": {"S": ME}, "channel": {"S": f"$connection:{ME}"}}
    deployment.dynamodb.update_item(
        TableName=deployment.connections_table,
        Key=key,
        UpdateExpression="SET connectedAt = :then",
        ExpressionAttributeValues={":then": {"N": "1000"}},
    )
    deployment.management.script = lambda _: Answer(410, b'{"message": "gone"}', {"x-amzn-ErrorType": "GoneException"})
    response = deployment.call("control", control_event(publish))
    assert json.loads(response["body"])["events"] == [{"matched": 1, "sent": 0, "gone": 1, "queued": 0}]
    assert deployment.channels() == [f"$connection:{ME}"]


def test_same_message_id_is_published_once(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi", "id": "1"}
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert len(deployment.management.requests) == 1


def test_control_function_that_runs_out_of_time_reports_the_first_event_not_done(deployment: Deployment) -> None:
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    response = deployment.call("control", control_event(text), left_s=1)
    assert response["statusCode"] == 503
    assert json.loads(response["body"])["error"] == "events[0]: TEXT failed: no time is left for it"
    assert deployment.management.requests == []


def test_delivery_that_fails_half_way_goes_on_with_what_remains(deployment: Deployment) -> None:
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in ("1", "2")]
    connect(deployment, *texts)
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    deployment.management.script = lambda request: Answer() if request.body == b"1" else Answer(500)
    again = {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert deployment.call("deliver", payload) == again
    assert deployment.remembered() == [(record["messageId"], "checkpoint")]

    deployment.management.script = lambda _: Answer()
    deployment.management.requests.clear()
    record["attributes"]["ApproximateReceiveCount"] = "2"
    assert deployment.call("deliver", payload, left_s=1) == again
    assert deployment.management.requests == []
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    assert [request.body for request in deployment.management.requests] == [b"2"]


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one line of the last event, without times."""
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert line.pop("durationMs") >= 0
    assert line.pop("BackendLatency", 0) >= 0
    assert line.pop("level") == "INFO"
    if line["eventType"] == "DEFERRED":
        assert 0 <= line.pop("DeferredAge") < 60
    return {name: value for name, value in line.items() if name not in ("_aws", "coldStart")}


def test_each_event_is_one_line_of_the_log(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {"stack": STACK_NAME, "requestId": Context.aws_request_id}
    of_a_socket = everywhere | {"connectionId": ME}
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert logged(capsys) == of_a_socket | {"eventType": "OPEN"}

    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    deployment.backend.script = replies(TEXT=[publish, publish])
    deployment.call("websocket", event("websocket_message"))
    assert logged(capsys) == of_a_socket | {"eventType": "TEXT", "Matched": [1, 1], "Sent": 2}

    monkeypatch.setenv("INLINE_LIMIT", "0")
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert logged(capsys) == everywhere | {"eventType": "CONTROL", "Matched": 1, "Queued": 1}
    deployment.call("deliver", deployment.sqs_event())
    assert logged(capsys) == everywhere | {"eventType": "DEFERRED"}
    chunk = deployment.sqs_event()
    deployment.call("deliver", chunk, left_s=1)
    assert logged(capsys) == everywhere | {"eventType": "DEFERRED", "Failures": 1}
    deployment.call("deliver", chunk)
    assert logged(capsys) == everywhere | {"eventType": "DEFERRED", "Sent": 1}

    deployment.backend.script = lambda _: web.Response(status=503)
    deployment.call("websocket", event("websocket_disconnect"))
    assert logged(capsys) == of_a_socket | {"eventType": "CLOSE", "Failures": 1, "BackendFailures": 1}


def test_age_of_a_message_is_from_when_it_was_put_into_the_queue(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it fails, or the function crashes: these are what the alarm is for."""
    connect(deployment, {"type": "TEXT", "connectionId": ME, "data": "hi"})
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    record["attributes"]["SentTimestamp"] = str(round((time.time() - 1_000) * 1000))
    deployment.call("deliver", payload, left_s=1)
    record["attributes"]["ApproximateReceiveCount"] = "no number"
    with pytest.raises(ValueError, match="no number"):
        deployment.call("deliver", payload)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ages = [line["DeferredAge"] for line in lines if line["eventType"] == "DEFERRED"]
    assert len(ages) == 2
    assert all(1_000 <= age < 1_060 for age in ages)


def test_calls_that_a_table_throttles_are_counted(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt; here the third succeeds."""
    refusals = iter([Answer.error("ThrottlingException"), Answer.error("ProvisionedThroughputExceededException")])
    forward = forward_to(os.environ["AWS_ENDPOINT_URL"])
    with contextlib.closing(HttpStub(lambda request: next(refusals, None) or forward(request))) as dynamodb:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url)
        monkeypatch.setattr("random.random", lambda: 0.0)
        connect(deployment)
    assert logged(capsys)["TableThrottles"] == 2


@pytest.mark.parametrize("status", [200, 400])
def test_empty_text_is_sent_or_is_a_failure_and_nobody_is_gone(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """AWS does not say whether the management API takes an empty one."""
    is_taken = status == 200
    refusal = Answer.error("BadRequestException", message="no data")
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    deployment.management.script = lambda request: Answer() if request.body or is_taken else refusal
    capsys.readouterr()
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": ""}
    response = deployment.call("control", control_event({"type": "TEXT", "connectionId": ME, "data": ""}, publish))
    assert response["statusCode"] == 200
    _, report = json.loads(response["body"])["events"]
    assert report == {"matched": 1, "sent": int(is_taken), "gone": 0, "queued": 0}
    assert deployment.channels() == [f"$connection:{ME}", "lobby"]
    line = logged(capsys)
    assert (line.get("Sent"), line.get("Gone"), line.get("Failures")) == (
        (1, None, None) if is_taken else (None, None, 2)
    )
    refused = f"connection {ME}: it is refused: 400: no data; skipped"
    assert [message for message in caplog.messages if "refused" in message] == ([] if is_taken else [refused] * 2)
    assert [request.headers["Content-Length"] for request in deployment.management.requests] == ["0", "0"]


def test_line_of_an_event_has_the_length_that_its_cost_is_estimated_by(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    deployment.backend.script = replies()
    deployment.call("websocket", event("websocket_message"))
    deployment.call("websocket", event("websocket_message"))
    deployment.call("control", control_event(publish))
    deployment.call("websocket", event("websocket_disconnect"))
    sizes = [len(line) + 26 for line in capsys.readouterr().out.splitlines()]  # which CloudWatch adds
    assert len(sizes) == 5
    assert EVENT_LOG_BYTES * 0.85 < sum(sizes) / len(sizes) < EVENT_LOG_BYTES


def test_lines_of_the_log_have_the_event_that_they_are_about(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    connect(deployment, {"type": "TEXT", "connectionId": ME, "data": "hi"})
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    deployment.call("deliver", payload, left_s=1)
    record["attributes"]["ApproximateReceiveCount"] = str(MAX_RECEIVE_COUNT)
    deployment.call("deliver", payload, left_s=1)
    record["body"] = "not JSON"
    deployment.call("deliver", payload)
    deployment.call("control", event("control"))
    about = [
        (vars(line)["eventType"], vars(line)["connectionId"])
        for line in caplog.records
        if line.name.startswith("slip_sockets.")
    ]
    tried, failed_for_good, cannot_be_read = [("DEFERRED", ME)], [("DEFERRED", ME)] * 2, [("DEFERRED", None)] * 2
    assert about == [*tried, *failed_for_good, *cannot_be_read, ("CONTROL", None)]


def test_call_without_the_secret_is_refused(deployment: Deployment) -> None:
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    assert deployment.call("control", event("control"))["statusCode"] == 403
    assert deployment.call("control", control_event(publish, secret="another"))["statusCode"] == 403


def test_table_that_is_away_is_a_status_and_not_an_exception(deployment: Deployment) -> None:
    deployment.dynamodb.delete_table(TableName=deployment.connections_table)
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"}
    response = deployment.call("control", control_event(subscribe))
    assert response["statusCode"] == 503
    assert json.loads(response["body"])["index"] == 0
    deployment.backend.script = replies(OPEN=[ACCEPT])
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 500


@pytest.mark.parametrize("name", ["websocket", "control", "deliver"])
def test_function_without_a_setting_names_it(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("CHANNELS_TABLE")
    with pytest.raises(InvalidSettings, match=r"^CHANNELS_TABLE is not set\. "):
        deployment.call(name, {})
