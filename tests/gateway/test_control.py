from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from slip_sockets.protocol.tokens import mint

from .doubles import ME, SECRET, World, control_event


async def test_a_control_batch_is_done_and_reported(world: World) -> None:
    await world.connected(ME, channels=["room"])
    publish = {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi"}
    response = await world.control(control_event([publish, {"type": "CLOSE", "connectionId": ME}]))
    assert response["statusCode"] == 200
    assert json.loads(response["body"]) == {
        "message": "processed successfully",
        "events": [{"matched": 1, "sent": 1, "gone": 0, "queued": 0}, {}],
    }


async def test_a_base64_body_is_utf_8(world: World) -> None:
    await world.connected(ME)
    event = control_event([])
    body = json.dumps({"events": [{"type": "TEXT", "connectionId": ME, "data": "é😀"}]}, ensure_ascii=False)
    event |= {"body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True}
    assert (await world.control(event))["statusCode"] == 200
    assert world.sender.sent == [(ME, "é😀")]


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {}},
        {"headers": None},
        {"headers": {"authorization": f"Bearer {mint('WebSocketEvent', SECRET)}"}},
        {"headers": {"authorization": f"Bearer {mint('ControlEvent', 'another')}"}},
        {"headers": {"authorization": f"Bearer {mint('ControlEvent', SECRET, now=1)}"}, "body": "not even JSON"},
    ],
)
async def test_a_control_call_without_a_valid_token_is_refused(
    world: World, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    response = await world.control(control_event([]) | change)
    assert (response["statusCode"], response["body"]) == (403, "Invalid token")
    (line,) = caplog.messages
    assert line.startswith("control API: the ")
    assert "eyJ" not in line


async def test_a_control_batch_with_one_bad_event_has_no_effect(world: World) -> None:
    await world.connected(ME)
    good = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    response = await world.control(control_event([good, good | {"data": 1}, good]))
    assert response["statusCode"] == 400
    assert json.loads(response["body"]) == {
        "message": "invalid commands",
        "error": "events[1].data: TEXT needs a string, got int",
        "index": 1,
        "field": "data",
    }
    assert world.sender.calls == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"body": None}, "the body is not JSON: it is empty"),
        ({"body": "?", "isBase64Encoded": True}, "the body cannot be decoded: "),
        ({"body": "\xe9", "isBase64Encoded": True}, "the body cannot be decoded: "),
        ({"body": "\ud800"}, "the body cannot be decoded: "),
    ],
)
async def test_a_control_body_that_cannot_be_decoded_is_refused(world: World, body: dict[str, Any], error: str) -> None:
    response = await world.control(control_event([]) | body)
    refusal = json.loads(response["body"])
    assert response["statusCode"] == 400
    assert refusal.keys() == {"message", "error"}
    assert refusal["error"].startswith(error)


async def test_a_control_batch_cannot_forge_a_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    response = await world.control(control_event([{"type": "X\n\x1b[2JOPEN of connection"}]))
    error = r"events[0].type: unknown event type 'X\n\x1b[2JOPEN of connection'"
    assert json.loads(response["body"])["error"] == error
    assert caplog.messages == [f"control API: {error}; refused with 400, nothing was done"]


async def test_a_control_batch_that_fails_on_the_way_says_where(world: World) -> None:
    await world.connected(ME)
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    world.store.away = {"subscribe"}
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}
    response = await world.control(control_event([text, subscribe, text]))
    assert response["statusCode"] == 503
    assert json.loads(response["body"]) == {
        "message": "not done",
        "index": 1,
        "error": "events[1]: SUBSCRIBE failed: the table is away for subscribe",
    }
    assert world.sender.sent == [(ME, "hi")]


async def test_without_secrets_the_control_api_does_nothing_and_says_so(world: World) -> None:
    await world.connected(ME)
    world.secrets_are_away = True
    response = await world.control(control_event([{"type": "TEXT", "connectionId": ME, "data": "hi"}]))
    assert response["statusCode"] == 503
    assert json.loads(response["body"]) == {"message": "not done", "index": 0, "error": "Secrets Manager is away"}
    assert world.sender.sent == []
