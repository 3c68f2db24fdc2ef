"""What the functions log, at the level that they set, has nothing secret or personal in it.

They run in this process: their log is what they print, and the records of their loggers, whatever a formatter makes of
these. `contract/test_logs.py` is the same test for the development server.
"""

from __future__ import annotations

import base64
import json
import logging
import traceback
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from slip_sockets.aws.queue import encode
from slip_sockets.gateway.deferred import Disconnected, ReceivedText, Texts
from slip_sockets.protocol.tokens import mint

from ..aws.http_stub import Answer
from ..aws.moto_server import stored_secrets
from ..aws.raw_server import RawServer
from ..contract.marks import MarkedBackend, Marks, faults, refused_control_bodies, saying
from .conftest import Deployment, event

ME = "AAAA1234AAAA123="
ACCEPT = {"type": "ACCEPT", "connectionId": "ID"}


class _Everything(logging.Handler):
    """Keeps everything of a record that a formatter could put into a line."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        known = {name: value for name, value in vars(record).items() if name not in ("args", "exc_info", "msg")}
        raised = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
        self.records.append(f"{record.getMessage()} {known} {raised}")


@pytest.fixture
def log() -> Iterator[_Everything]:
    """The records of all loggers, each at its own level; that of the root logger is Lambda's default, WARNING."""
    handler = _Everything()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)


def connect_event(marks: Marks) -> Any:
    payload = event("websocket_connect")
    headers = {
        "Cookie": marks("a cookie"),
        "Authorization": f"Bearer {marks('a header of the client')}",
        "User-Agent": marks("a user agent"),
        "Sec-WebSocket-Protocol": marks("a subprotocol"),
    }
    query = {marks("a query name"): marks("a query value")}
    payload["headers"] |= headers
    payload["multiValueHeaders"] |= {name: [value] for name, value in headers.items()}
    payload["queryStringParameters"] = query
    payload["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
    return payload


def message_event(marks: Marks) -> Any:
    return event("websocket_message") | {"body": marks("a text")}


def disconnect_event(marks: Marks) -> Any:
    payload = event("websocket_disconnect")
    payload["requestContext"] |= {"disconnectStatusCode": 4000, "disconnectReason": marks("a close reason")}
    return payload


def control_event(marks: Marks, authorization: str, body: bytes) -> Any:
    payload = event("control")
    payload["headers"] |= {"authorization": authorization, "x-mark": marks("a header of a control request")}
    payload["rawQueryString"] = f"key={marks('the query of a control request')}"
    return payload | {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def test_functions_log_nothing_that_is_secret_or_personal(
    deployment: Deployment,
    moto_url: str,
    monkeypatch: pytest.MonkeyPatch,
    log: _Everything,
    capfd: pytest.CaptureFixture[str],
) -> None:
    marks = Marks()
    secret, previous = marks("JWT_SECRET"), marks("JWT_PREVIOUS_SECRETS")
    for name, value in stored_secrets(moto_url, json.dumps([secret, previous])).items():
        monkeypatch.setenv(name, value)
    failing = faults(marks)
    greeting = (
        ACCEPT,
        {"type": "SET_METADATA", "connectionId": "ID", "metadata": {marks("metadata"): marks("metadata")}},
        {"type": "SUBSCRIBE", "connectionId": "ID", "channel": "lobby"},
        {"type": "TEXT", "connectionId": "ID", "data": marks("a text of the backend's")},
        {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": marks("a publish of the backend's")},
    )
    backend = MarkedBackend({})
    with RawServer(backend) as raw:
        user, password, key = marks("TARGET_URL's user"), marks("TARGET_URL's password"), marks("TARGET_URL's query")
        place_of_backend = f"127.0.0.1:{raw.port}/slip"
        monkeypatch.setenv("TARGET_URL", f"http://{user}:{password}@{place_of_backend}?key={key}")
        statuses = set()
        for fault in failing.values():
            backend.responses = {"OPEN": fault}
            statuses.add(deployment.call("websocket", connect_event(marks))["statusCode"])
        assert statuses == {400, 500, 502}
        for fault in failing.values():
            backend.responses = {"OPEN": saying(*greeting), "TEXT": fault, "CLOSE": fault}
            assert deployment.call("websocket", connect_event(marks))["statusCode"] == 200
            deployment.call("websocket", message_event(marks))
            deployment.call("websocket", disconnect_event(marks))
        send_in_order(deployment, marks)
        drain(deployment, deployment.inbound_url)
        drain(deployment, deployment.queue_url)

        backend.responses = {"OPEN": saying(*greeting), "TEXT": saying(*greeting), "CLOSE": saying()}
        deployment.call("websocket", connect_event(marks))
        management_fails(deployment, marks)
        deployment.call("websocket", message_event(marks))
        drain(deployment, deployment.queue_url)
        use_control_api(deployment, marks, secret, previous)
        backend.responses["CLOSE"] = failing["500"]
        deployment.sqs.delete_queue(QueueUrl=deployment.queue_url)
        assert 500 in come_and_go(deployment, marks)
        deployment.dynamodb.delete_table(TableName=deployment.connections_table)
        assert 500 in come_and_go(deployment, marks)
        use_control_api(deployment, marks, secret, previous)
    deployment.call("websocket", connect_event(marks))  # no backend listens any more

    logged = "\n".join([*log.records, *capfd.readouterr()])
    assert marks.seen_in(logged) == []
    assert "Traceback" not in logged
    assert f"http://{place_of_backend}" in logged  # an operator needs to know which backend it is
    assert len(log.records) > 3 * len(failing)


def come_and_go(deployment: Deployment, marks: Marks) -> set[int]:
    """Connect, send a text and leave; return the statuses for API Gateway."""
    payloads = (connect_event(marks), message_event(marks), disconnect_event(marks))
    return {deployment.call("websocket", payload)["statusCode"] for payload in payloads}


def management_fails(deployment: Deployment, marks: Marks) -> None:
    """From now on the management API fails, in several ways one after another."""
    body = json.dumps({marks("a response of the management API"): 1}).encode()
    answers = [Answer(500, body), None, Answer(400, body), Answer(200, body, {"X-Mark": marks("a header of AWS's")})]

    def script(request: object) -> Answer | None:
        answers.append(answers.pop(0))
        return answers[-1]

    deployment.management.script = script


def send_in_order(deployment: Deployment, marks: Marks) -> None:
    """Put a text and a disconnect into the inbound queue, as API Gateway does with INBOUND=ordered."""
    reason = marks("a close reason").encode()
    for message in (Texts(ME, [ReceivedText("1", marks("a text").encode())]), Disconnected(ME, 4000, reason)):
        deployment.sqs.send_message(
            QueueUrl=deployment.inbound_url,
            MessageBody=encode(message),
            MessageGroupId=ME,
            MessageDeduplicationId=uuid.uuid4().hex,
        )


def drain(deployment: Deployment, queue_url: str) -> None:
    """Deliver the messages of a queue at several attempts, and with bodies that cannot be read."""
    payload = deployment.sqs_event(queue_url)
    for record in payload["Records"]:
        for attempt in ("1", "2", "30"):
            record["attributes"]["ApproximateReceiveCount"] = attempt
            deployment.call("deliver", {"Records": [record]})
        for body in (record["body"][:-20], record["body"].replace(":", ":[", 1), "{}"):
            deployment.call("deliver", {"Records": [record | {"body": body}]})


def use_control_api(deployment: Deployment, marks: Marks, secret: str, previous: str) -> None:
    good, other = f"Bearer {mint('ControlEvent', secret)}", f"Bearer {mint('ControlEvent', previous)}"
    batch = json.dumps(
        {
            "events": [
                {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": marks("a published text"), "id": "1"},
                {"type": "SET_METADATA", "connectionId": ME, "metadata": {"mark": marks("metadata")}},
                {"type": "TEXT", "connectionId": ME, "data": marks("a sent text")},
            ]
        }
    ).encode()

    def status(authorization: str, body: bytes) -> int:
        code: int = deployment.call("control", control_event(marks, authorization, body))["statusCode"]
        return code

    assert {status(good, batch), status(other, batch)} <= {200, 503}
    assert {status(good, body) for body in refused_control_bodies(marks)} == {400}
    bad = [marks("a token"), f"Bearer {marks('a token')}", f"Bearer {mint('ControlEvent', marks('another secret'))}"]
    bad += [f"Bearer {mint('WebSocketEvent', secret)}", f"{good}x", f"{good} {marks('a token')}"]
    assert {status(authorization, batch) for authorization in bad} == {403}
