"""Connection ids of any form work from OPEN to CLOSE: AWS documents a string, and nothing more."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest

from slip_sockets.apigateway.connection_ids import MAX_CONNECTION_ID_BYTES

from .conftest import Deployment, event
from .test_functions import control_event, replies

IDS = {
    "a slash": "a/b",
    "not ASCII": "ü",
    "40 characters": "a1B2" * 10,
    "200 characters": "x" * 200,
    "a leading hyphen": "-L0SM9cOFvHcCI=",
    "a step in the path": "..",
    "characters of URLs": "a?b#c%2F&d e",
    "the longest": "é" * (MAX_CONNECTION_ID_BYTES // 2),
}


def path_of(connection_id: str) -> str:
    quoted = urllib.parse.quote(connection_id, safe="")
    return f"/live/@connections/{quoted if connection_id.strip('.') else quoted.replace('.', '%2E')}"


@pytest.mark.parametrize("connection_id", IDS.values(), ids=IDS.keys())
def test_id_of_any_form_works_from_open_to_close(deployment: Deployment, connection_id: str) -> None:
    def of(type_: str, **more: Any) -> dict[str, Any]:
        return {"type": type_, "connectionId": connection_id, **more}

    def happens(name: str, **reply: list[dict[str, Any]]) -> None:
        payload = event(f"websocket_{name}")
        payload["requestContext"]["connectionId"] = connection_id
        deployment.backend.script = replies(**reply)
        assert deployment.call("websocket", payload)["statusCode"] == 200

    def posted() -> list[tuple[str, str]]:
        requests = [(request.path, request.body.decode()) for request in deployment.management.requests]
        deployment.management.requests.clear()
        return requests

    me = path_of(connection_id)
    publish = {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "to all"}
    happens("connect", OPEN=[of("ACCEPT"), of("SUBSCRIBE", channel="lobby"), of("TEXT", data="welcome")])
    assert deployment.channels() == [f"$connection:{connection_id}", "lobby"]
    assert deployment.call("deliver", deployment.sqs_event()) == {"batchItemFailures": []}
    assert posted() == [(me, "welcome")]

    happens("message", TEXT=[of("TEXT", data="hi"), of("SET_METADATA", metadata=1), publish])
    assert posted() == [(me, "hi"), (me, "to all")]
    assert deployment.call("control", control_event(of("TEXT", data="again"), publish))["statusCode"] == 200
    assert posted() == [(me, "again"), (me, "to all")]

    happens("disconnect")
    assert deployment.channels() == []
    closed = deployment.backend.posts[-1].event
    assert (closed["type"], closed["connectionId"]) == ("CLOSE", connection_id)


@pytest.mark.parametrize("impossible", ["", "a\nb", "\x00", "x" * (MAX_CONNECTION_ID_BYTES + 1)])
def test_what_cannot_be_an_id_is_a_failure(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], impossible: str
) -> None:
    payload = control_event({"type": "TEXT", "connectionId": impossible, "data": "hi"})
    assert deployment.call("control", payload)["statusCode"] == 200
    assert deployment.management.requests == []
    assert '"Failures":1' in capsys.readouterr().out
