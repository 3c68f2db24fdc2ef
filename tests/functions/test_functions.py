"""The three functions from end to end: real events in, real calls out."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aiohttp import web

from slip_sockets.cost.patterns import EVENT_LOG_BYTES
from slip_sockets.errors import InvalidSettings
from slip_sockets.tokens import bearer_token, mint, verify

from ..aws.http_stub import Answer
from ..scripted_backend import Events, Told
from .conftest import SECRET, STACK_NAME, Context, Deployment, event

ME = "AAAA1234AAAA123="
ACCEPT = {"type": "ACCEPT", "connectionId": ME}
POST_TO_ME = f"/live/@connections/{ME.replace('=', '%3D')}"


def answers(**by_type: list[dict[str, Any]]) -> Any:
    def script(told: Told) -> Events:
        return by_type.get(told.event["type"], [])

    return script


def control_event(*events: dict[str, Any], secret: str = SECRET) -> Any:
    payload = event("control")
    payload["headers"]["authorization"] = f"Bearer {mint('ControlEvent', secret)}"
    payload["body"] = base64.b64encode(json.dumps({"events": events}).encode()).decode()
    payload["isBase64Encoded"] = True
    return payload


def connect(deployment: Deployment, *events: dict[str, Any]) -> None:
    deployment.backend.script = answers(OPEN=[ACCEPT, *events])
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 200


def test_accepted_client_is_stored_with_its_subscriptions(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert deployment.channels() == [f"$connection:{ME}", "lobby"]
    assert deployment.sqs_event() == {"Records": []}
    (told,) = deployment.backend.told
    assert told.event == {"type": "OPEN", "connectionId": ME}
    assert told.body["metadata"]["ip"] == "192.0.2.1"
    assert told.body["metadata"]["query"] == {"room": ["3", "7"], "quiet": [""]}
    assert told.headers["Content-Type"] == "application/websocket-events"
    verify(bearer_token(told.headers["Authorization"]), "WebSocketEvent", [SECRET])


def test_chosen_subprotocol_is_returned(deployment: Deployment) -> None:
    deployment.backend.script = answers(OPEN=[ACCEPT | {"subprotocol": "v1.chat"}])
    answer = deployment.call("websocket", event("websocket_connect"))
    assert answer == {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "v1.chat"}, "body": ""}


@pytest.mark.parametrize(
    ("response", "status"), [(list, 400), (lambda: web.Response(status=503), 500)], ids=["no ACCEPT", "503"]
)
def test_refused_client_leaves_nothing_behind(deployment: Deployment, response: Any, status: int) -> None:
    deployment.backend.script = lambda _: response()
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == status
    assert deployment.channels() == []


def test_what_needs_an_open_socket_waits_in_the_queue_and_is_delivered(deployment: Deployment) -> None:
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


def test_frame_reaches_the_backend_and_its_answer_the_client(deployment: Deployment) -> None:
    connect(deployment, {"type": "SET_METADATA", "connectionId": ME, "metadata": {"name": "Zoë"}})
    deployment.backend.script = answers(
        TEXT=[
            {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"},
            {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "to all"},
            {"type": "TEXT", "connectionId": ME, "data": "to you"},
        ]
    )
    assert deployment.call("websocket", event("websocket_message"))["statusCode"] == 200
    told = deployment.backend.told[-1]
    assert told.event == {"type": "TEXT", "connectionId": ME, "data": "Zoë says hi 😀"}
    assert told.body["metadata"] == {"name": "Zoë"}
    assert [request.body for request in deployment.management.requests] == [b"to all", b"to you"]


def test_client_that_leaves_is_forgotten_and_the_backend_told(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert deployment.call("websocket", event("websocket_disconnect"))["statusCode"] == 200
    assert deployment.channels() == []
    told = deployment.backend.told[-1]
    reason = "Client-side close frame status not set"
    assert told.event == {"type": "CLOSE", "connectionId": ME, "code": 1005, "reason": reason}
    assert told.body["metadata"]["ip"] == "192.0.2.1"


def test_close_that_cannot_be_told_waits_in_the_queue_until_it_can(deployment: Deployment) -> None:
    connect(deployment, {"type": "SET_METADATA", "connectionId": ME, "metadata": {"name": "Zoë"}})
    deployment.backend.script = lambda _: web.Response(status=503)
    assert deployment.call("websocket", event("websocket_disconnect"))["statusCode"] == 200
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    failures = {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert deployment.call("deliver", payload) == failures
    told_before = len(deployment.backend.told)
    deployment.backend.script = answers()
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    (told,) = deployment.backend.told[told_before:]
    assert told.event["code"] == 1005
    assert told.body["metadata"] == {"name": "Zoë"}


def test_publish_reaches_subscribers_and_forgets_who_has_left(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    answer = deployment.call("control", control_event(publish))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["events"] == [{"matched": 1, "sent": 1, "gone": 0, "queued": 0}]
    (request,) = deployment.management.requests
    assert (request.method, request.path, request.body) == ("POST", POST_TO_ME, b"hi")

    # Older than the moment in which 410 means "not open yet".
    key = {"connectionId": {"S": ME}, "channel": {"S": f"$connection:{ME}"}}
    deployment.dynamodb.update_item(
        TableName=deployment.table_name,
        Key=key,
        UpdateExpression="SET connectedAt = :then",
        ExpressionAttributeValues={":then": {"N": "1000"}},
    )
    deployment.management.script = lambda _: Answer(410, b'{"message": "gone"}', {"x-amzn-ErrorType": "GoneException"})
    answer = deployment.call("control", control_event(publish))
    assert json.loads(answer["body"])["events"] == [{"matched": 1, "sent": 0, "gone": 1, "queued": 0}]
    assert deployment.channels() == [f"$connection:{ME}"]


def test_same_message_id_is_published_once(deployment: Deployment) -> None:
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi", "id": "1"}
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert len(deployment.management.requests) == 1


def test_control_function_that_runs_out_of_time_says_what_it_did_not_do(deployment: Deployment) -> None:
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    answer = deployment.call("control", control_event(text), left_s=1)
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["error"] == "events[0]: TEXT failed: no time is left for it"
    assert deployment.management.requests == []


def test_delivery_that_fails_half_way_goes_on_with_what_is_left(deployment: Deployment) -> None:
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in ("1", "2")]
    connect(deployment, *texts)
    payload = deployment.sqs_event()
    (record,) = payload["Records"]
    deployment.management.script = lambda request: Answer() if request.body == b"1" else Answer(500)
    again = {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert deployment.call("deliver", payload) == again
    assert f"$connection:$progress:{record['messageId']}" in deployment.channels()

    deployment.management.script = lambda _: Answer()
    deployment.management.requests.clear()
    record["attributes"]["ApproximateReceiveCount"] = "2"
    assert deployment.call("deliver", payload, left_s=1) == again
    assert deployment.management.requests == []
    assert deployment.call("deliver", payload) == {"batchItemFailures": []}
    assert [request.body for request in deployment.management.requests] == [b"2"]


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what the one line of the last event says, without times."""
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert line.pop("durationMs") >= 0
    assert line.pop("BackendLatency", 0) >= 0
    return {name: value for name, value in line.items() if name not in ("_aws", "coldStart")}


def test_each_event_is_told_in_one_line(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = {"stack": STACK_NAME, "requestId": Context.aws_request_id}
    of_a_socket = everywhere | {"connectionId": ME}
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    assert told(capsys) == of_a_socket | {"eventType": "OPEN"}

    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    deployment.backend.script = answers(TEXT=[publish, publish])
    deployment.call("websocket", event("websocket_message"))
    assert told(capsys) == of_a_socket | {"eventType": "TEXT", "Matched": [1, 1], "Sent": 2}

    monkeypatch.setenv("INLINE_LIMIT", "0")
    assert deployment.call("control", control_event(publish))["statusCode"] == 200
    assert told(capsys) == everywhere | {"eventType": "CONTROL", "Matched": 1, "Queued": 1}
    deployment.call("deliver", deployment.sqs_event())
    assert told(capsys) == everywhere | {"eventType": "DEFERRED"}
    chunk = deployment.sqs_event()
    deployment.call("deliver", chunk, left_s=1)
    assert told(capsys) == everywhere | {"eventType": "DEFERRED", "Failures": 1}
    deployment.call("deliver", chunk)
    assert told(capsys) == everywhere | {"eventType": "DEFERRED", "Sent": 1}

    deployment.backend.script = lambda _: web.Response(status=503)
    deployment.call("websocket", event("websocket_disconnect"))
    assert told(capsys) == of_a_socket | {"eventType": "CLOSE", "Failures": 1, "BackendFailures": 1}


def test_the_line_for_an_event_is_as_long_as_its_cost_is_reckoned(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    connect(deployment, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"})
    deployment.backend.script = answers()
    deployment.call("websocket", event("websocket_message"))
    deployment.call("websocket", event("websocket_message"))
    deployment.call("control", control_event(publish))
    deployment.call("websocket", event("websocket_disconnect"))
    sizes = [len(line) + 26 for line in capsys.readouterr().out.splitlines()]  # which CloudWatch adds
    assert len(sizes) == 5
    assert EVENT_LOG_BYTES * 0.85 < sum(sizes) / len(sizes) < EVENT_LOG_BYTES


def test_lines_of_the_log_say_whom_they_are_about(deployment: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    connect(deployment, {"type": "TEXT", "connectionId": ME, "data": "hi"})
    deployment.call("deliver", deployment.sqs_event(), left_s=1)
    deployment.call("control", event("control"))
    about = [
        (vars(line)["eventType"], vars(line)["connectionId"])
        for line in caplog.records
        if line.name.startswith("slip_sockets.")
    ]
    assert about == [("DEFERRED", ME), ("CONTROL", None)]


def test_call_without_the_secret_is_refused(deployment: Deployment) -> None:
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "hi"}
    assert deployment.call("control", event("control"))["statusCode"] == 403
    assert deployment.call("control", control_event(publish, secret="another"))["statusCode"] == 403


def test_table_that_is_away_is_told_and_not_raised(deployment: Deployment) -> None:
    deployment.dynamodb.delete_table(TableName=deployment.table_name)
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby"}
    answer = deployment.call("control", control_event(subscribe))
    assert answer["statusCode"] == 503
    assert json.loads(answer["body"])["index"] == 0
    deployment.backend.script = answers(OPEN=[ACCEPT])
    assert deployment.call("websocket", event("websocket_connect"))["statusCode"] == 500


@pytest.mark.parametrize("name", ["websocket", "control", "deliver"])
def test_function_without_its_settings_says_which(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("TABLE_NAME")
    with pytest.raises(InvalidSettings, match=r"^TABLE_NAME is not set\. "):
        deployment.call(name, {})
