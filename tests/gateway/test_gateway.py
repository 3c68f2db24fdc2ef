from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from slip_sockets.events import AnswerEvent, PublishText, SendText, Subscribe
from slip_sockets.gateway.fan_out import RESERVE_S
from slip_sockets.gateway.plan import RECENT_S
from slip_sockets.gateway.ports import (
    CloseNotice,
    Continuation,
    HttpAnswer,
    HttpAnswerTooLarge,
    HttpError,
    HttpTimeout,
    NotDone,
)
from slip_sockets.tokens import bearer_token, mint, verify

from .doubles import ME, SECRET, YOU, World, control_event

ACCEPT = {"type": "ACCEPT", "connectionId": ME}
BACKEND = "backend https://app.example/slip"


def socket_event(kind: str, **more: Any) -> dict[str, Any]:
    context = {"connectionId": ME, "eventType": kind, "identity": {"sourceIp": "203.0.113.7"}}
    return {"requestContext": context | more.pop("context", {}), "isBase64Encoded": False} | more


CONNECT = socket_event(
    "CONNECT",
    headers={"Host": "x", "Sec-WebSocket-Protocol": "v1, v2"},
    multiValueHeaders={"Host": ["x"], "Sec-WebSocket-Protocol": ["v1, v2"]},
    multiValueQueryStringParameters={"room": ["a", ""]},
)
DISCONNECT = socket_event("DISCONNECT", context={"disconnectStatusCode": 1001, "disconnectReason": "bye"})


async def test_an_open_tells_the_backend_what_the_contract_says(world: World) -> None:
    world.client.will_answer(ACCEPT)
    assert await world.gateway.on_websocket_event(CONNECT) == {"statusCode": 200, "headers": {}, "body": ""}
    metadata = {
        "headers": {"Host": "x", "Sec-WebSocket-Protocol": "v1, v2"},
        "ip": "203.0.113.7",
        "query": {"room": ["a", ""]},
    }
    assert world.client.told == [
        {"connectionId": ME, "metadata": metadata, "events": [{"type": "OPEN", "connectionId": ME}]}
    ]
    (headers,) = world.client.headers
    assert headers["Content-Type"] == "application/websocket-events"
    verify_at_start = mint("WebSocketEvent", SECRET, now=world.clock.now())
    assert headers["Authorization"] == f"Bearer {verify_at_start}"
    stored = await world.store.get(ME)
    assert stored is not None
    assert json.loads(stored.metadata) == metadata


async def test_a_token_for_the_backend_verifies(world: World) -> None:
    import time

    world.clock.time = time.time()
    await world.gateway.on_websocket_event(socket_event("MESSAGE", body="hi"))
    verify(bearer_token(world.client.headers[0]["Authorization"]), "WebSocketEvent", [SECRET])


async def test_the_accepted_subprotocol_goes_back(world: World) -> None:
    world.client.will_answer(ACCEPT | {"subprotocol": "v2"})
    response = await world.gateway.on_websocket_event(CONNECT)
    assert (response["statusCode"], response["headers"]) == (200, {"Sec-WebSocket-Protocol": "v2"})


async def test_what_needs_an_open_socket_is_queued(world: World) -> None:
    world.client.will_answer(
        ACCEPT,
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"},
        {"type": "TEXT", "connectionId": ME, "data": "hi"},
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "new"},
    )
    await world.gateway.on_websocket_event(CONNECT)
    (message,) = world.queue.messages
    recent_until = world.clock.now() + RECENT_S
    assert message == Continuation(
        ME, [SendText(ME, "hi"), PublishText("room", "new")], [Subscribe(ME, "room")], recent_until
    )
    assert world.management.calls == []
    world.store.unseen = {ME}
    await world.defer(message)
    assert world.management.posted == [(ME, "hi"), (ME, "new")]


async def test_the_index_is_believed_again_when_what_waited_comes_late(world: World) -> None:
    await world.connected(ME)
    late = Continuation(ME, [PublishText("room", "new")], [Subscribe(ME, "room")], world.clock.now())
    await world.defer(late)
    assert world.management.posted == []


async def test_what_an_answer_wants_done_beyond_the_functions_time_is_queued(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in "ab"]
    world.client.will_answer(*texts)
    message = socket_event("MESSAGE", body="hello")
    caplog.set_level("INFO")
    response = await world.gateway.on_websocket_event(message, deadline=world.clock.now() + RESERVE_S - 0.1)
    assert response["statusCode"] == 200
    assert world.queue.messages == [Continuation(ME, [SendText(ME, "a"), SendText(ME, "b")])]
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the answer, events[0]: TEXT failed: no time is left for it;"
        " it and what follows, 2 in all, are queued"
    ]
    assert world.gateway.failures == {}


async def test_what_an_answer_wants_done_is_said_to_be_lost_where_neither_time_nor_queue_is_there(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    world.client.will_answer({"type": "TEXT", "connectionId": ME, "data": "a"})
    world.queue.is_away = True
    message = socket_event("MESSAGE", body="hello")
    response = await world.gateway.on_websocket_event(message, deadline=world.clock.now() + RESERVE_S - 0.1)
    assert response["statusCode"] == 500
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the answer, events[0]: TEXT failed: no time is left for it;"
        " it and what follows, 1 in all, cannot be queued: the queue is away"
    ]
    assert world.gateway.failures == {"TEXT": 1}


async def test_what_is_left_of_a_deferred_message_is_told(world: World) -> None:
    await world.connected(ME, YOU)
    world.management.failing = {YOU: 99}
    events: list[AnswerEvent] = [SendText(ME, "1"), SendText(YOU, "2"), SendText(ME, "3")]
    with pytest.raises(NotDone) as not_done:
        await world.defer(Continuation(ME, events))
    assert not_done.value.rest == Continuation(ME, events[1:])
    assert world.management.posted == [(ME, "1")]


ANSWERS: list[tuple[HttpAnswer | HttpError, int, str]] = [
    (HttpAnswer(503, b"{}"), 500, f"{BACKEND} answered 503"),
    (HttpAnswer(404, b"{}"), 500, f"{BACKEND} answered 404"),
    (HttpAnswer(302, b"{}"), 500, f"{BACKEND} answered 302"),
    (HttpError("refused"), 502, f"{BACKEND} cannot be reached: refused"),
    (HttpTimeout("not within 25 s"), 504, f"{BACKEND} did not answer: not within 25 s"),
    (HttpAnswerTooLarge("x"), 400, f"{BACKEND} answered with more than 10485760 bytes"),
    (
        HttpAnswer(200, b"{"),
        400,
        f"{BACKEND} answered 200 with a body that is not valid: the body is not JSON: Input data was truncated",
    ),
    (HttpAnswer(200, b""), 400, "the answer to OPEN has no ACCEPT"),
    (HttpAnswer(204, b" \n"), 400, "the answer to OPEN has no ACCEPT"),
]


@pytest.mark.parametrize(("answer", "status", "reason"), ANSWERS)
async def test_an_open_that_fails_is_refused_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpAnswer | HttpError, status: int, reason: str
) -> None:
    world.client.answer = answer
    assert (await world.gateway.on_websocket_event(CONNECT))["statusCode"] == status
    assert caplog.messages == [f"OPEN of connection {ME}: {reason}; refused with {status}"]
    assert world.gateway.failures == {"OPEN": 1}
    assert len(world.store) == 0


@pytest.mark.parametrize("away", [{"open"}, {"open", "remove"}])
async def test_an_open_that_cannot_be_stored_is_refused(world: World, away: set[str]) -> None:
    world.client.will_answer(ACCEPT)
    world.store.away = away
    assert (await world.gateway.on_websocket_event(CONNECT))["statusCode"] == 500
    assert world.gateway.failures == {"OPEN": 1}


async def test_an_open_whose_rest_cannot_be_queued_leaves_no_rows(world: World) -> None:
    world.client.will_answer(ACCEPT, {"type": "TEXT", "connectionId": ME, "data": "hi"})
    world.queue.is_away = True
    assert (await world.gateway.on_websocket_event(CONNECT))["statusCode"] == 500
    assert len(world.store) == 0


async def test_a_text_brings_the_stored_metadata_and_its_answer_happens(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.will_answer({"type": "TEXT", "connectionId": ME, "data": "echo"})
    assert (await world.gateway.on_websocket_event(socket_event("MESSAGE", body="hi")))["statusCode"] == 200
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    assert world.client.told == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [text]}]
    assert world.management.posted == [(ME, "echo")]


async def test_a_text_of_an_unknown_connection_is_told_without_metadata(world: World) -> None:
    await world.gateway.on_websocket_event(socket_event("MESSAGE"))
    text = {"type": "TEXT", "connectionId": ME, "data": ""}
    assert world.client.told == [{"connectionId": ME, "metadata": None, "events": [text]}]


@pytest.mark.parametrize(("answer", "status", "reason"), ANSWERS[:-2])
async def test_a_text_that_fails_is_logged_and_answered_with_a_status(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpAnswer | HttpError, status: int, reason: str
) -> None:
    await world.connected(ME)
    world.client.answer = answer
    assert (await world.gateway.on_websocket_event(socket_event("MESSAGE", body="hi")))["statusCode"] == status
    assert caplog.messages == [f"TEXT of connection {ME}: {reason}"]
    assert world.gateway.failures == {"TEXT": 1}
    assert world.management.calls == []


async def test_an_answer_that_cannot_be_performed_now_is_queued_from_there_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in "abc"]
    world.client.will_answer({"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}, *texts)
    world.management.failing = {ME: 1}
    assert (await world.gateway.on_websocket_event(socket_event("MESSAGE", body="hi")))["statusCode"] == 200
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the answer, events[1]: TEXT failed: the client's buffer is full;"
        " it and what follows, 3 in all, are queued"
    ]
    (rest,) = world.queue.messages
    await world.defer(rest)
    assert world.management.posted == [(ME, "a"), (ME, "b"), (ME, "c")]


async def test_a_text_whose_metadata_cannot_be_read_is_not_told(world: World) -> None:
    world.store.away = {"get"}
    assert (await world.gateway.on_websocket_event(socket_event("MESSAGE", body="hi")))["statusCode"] == 500
    assert world.client.told == []


CLOSE = {"type": "CLOSE", "connectionId": ME, "code": 1001, "reason": "bye"}


async def test_a_close_removes_the_rows_and_tells_the_backend(world: World) -> None:
    await world.connected(ME, channels=["room"], metadata=b'{"user":"ada"}')
    world.client.will_answer({"type": "PUBLISH_TEXT", "channelId": "room", "data": "ada left"})
    assert (await world.gateway.on_websocket_event(DISCONNECT))["statusCode"] == 200
    assert world.client.told == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}]
    assert len(world.store) == 0
    assert world.management.calls == []


async def test_a_close_without_code_is_told_without(world: World) -> None:
    await world.gateway.on_websocket_event(socket_event("DISCONNECT"))
    assert world.client.told[0]["events"] == [{"type": "CLOSE", "connectionId": ME}]


RETRYABLE = [HttpError("refused"), HttpTimeout("late"), HttpAnswer(429, b""), HttpAnswer(500, b"")]


@pytest.mark.parametrize("answer", RETRYABLE)
async def test_a_close_that_cannot_be_told_is_queued_with_its_metadata_and_told_later(
    world: World, answer: HttpAnswer | HttpError
) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.answer = answer
    assert (await world.gateway.on_websocket_event(DISCONNECT))["statusCode"] == 200
    (notice,) = world.queue.messages
    assert notice == CloseNotice(ME, 1001, "bye", b'{"user":"ada"}')
    with pytest.raises(NotDone) as not_done:
        await world.defer(notice)
    assert not_done.value.rest == notice
    world.client.will_answer()
    await world.defer(notice)
    told = {"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}
    assert world.client.told == [told, told, told]


@pytest.mark.parametrize("answer", [HttpAnswer(404, b""), HttpAnswer(301, b""), HttpAnswer(200, b"{")])
async def test_a_close_that_the_backend_does_not_want_is_not_queued(world: World, answer: HttpAnswer) -> None:
    world.client.answer = answer
    await world.gateway.on_websocket_event(DISCONNECT)
    assert world.queue.messages == []
    await world.defer(CloseNotice(ME, None, None, b"null"))
    assert world.gateway.failures == {"CLOSE": 2}


async def test_a_close_whose_rows_cannot_be_read_is_queued_and_reads_them_later(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.store.away = {"remove", "get"}
    assert (await world.gateway.on_websocket_event(DISCONNECT))["statusCode"] == 200
    (notice,) = world.queue.messages
    assert world.client.told == []
    with pytest.raises(NotDone) as not_done:
        await world.defer(notice)
    assert not_done.value.rest == notice
    world.store.away = {"remove"}
    with pytest.raises(NotDone) as not_done:
        await world.defer(notice)
    notice = not_done.value.rest
    assert notice == CloseNotice(ME, 1001, "bye", b'{"user":"ada"}')
    assert world.kept == [notice], "before the rows go"
    world.store.away.clear()
    world.client.answer = HttpError("refused")
    with pytest.raises(NotDone) as not_done:
        await world.defer(notice)
    assert not_done.value.rest == notice
    world.client.will_answer()
    world.client.told.clear()
    await world.defer(notice)
    assert world.client.told == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}]
    assert len(world.store) == 0


async def test_a_close_is_told_again_where_its_answer_can_be_neither_done_nor_queued(world: World) -> None:
    world.client.will_answer({"type": "PUBLISH_TEXT", "channelId": "room", "data": "ada left"})
    world.store.away = {"channel_state"}
    notice = CloseNotice(ME, 1001, "bye", b"null")
    world.queue.is_away = True
    with pytest.raises(NotDone) as not_done:
        await world.defer(notice)
    assert not_done.value.rest == notice
    world.queue.is_away = False
    await world.defer(notice)
    assert world.queue.messages == [Continuation(ME, [PublishText("room", "ada left")])]


async def test_a_close_that_can_neither_be_told_nor_queued_is_said_to_be_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.client.answer = HttpError("refused")
    world.queue.is_away = True
    assert (await world.gateway.on_websocket_event(DISCONNECT))["statusCode"] == 500
    assert caplog.messages[-1] == f"CLOSE of connection {ME} is lost: the queue is away"


async def test_a_control_batch_is_done_and_reported(world: World) -> None:
    await world.connected(ME, channels=["room"])
    publish = {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi"}
    response = await world.gateway.on_control_event(control_event([publish, {"type": "CLOSE", "connectionId": ME}]))
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
    assert (await world.gateway.on_control_event(event))["statusCode"] == 200
    assert world.management.posted == [(ME, "é😀")]


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
    response = await world.gateway.on_control_event(control_event([]) | change)
    assert (response["statusCode"], response["body"]) == (403, "Invalid token")
    (line,) = caplog.messages
    assert line.startswith("control API: the ")
    assert "eyJ" not in line


async def test_a_control_batch_with_one_bad_event_has_no_effect(world: World) -> None:
    await world.connected(ME)
    good = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    response = await world.gateway.on_control_event(control_event([good, good | {"data": 1}, good]))
    assert response["statusCode"] == 400
    assert json.loads(response["body"]) == {
        "message": "invalid commands",
        "error": "events[1].data: TEXT needs a string, got int",
        "index": 1,
        "field": "data",
    }
    assert world.management.calls == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"body": None}, "the body is not JSON: Input data was truncated"),
        ({"body": "?", "isBase64Encoded": True}, "the body cannot be decoded: "),
        ({"body": "\xe9", "isBase64Encoded": True}, "the body cannot be decoded: "),
        ({"body": "\ud800"}, "the body cannot be decoded: "),
    ],
)
async def test_a_control_body_that_is_none_is_refused(world: World, body: dict[str, Any], error: str) -> None:
    response = await world.gateway.on_control_event(control_event([]) | body)
    told = json.loads(response["body"])
    assert response["statusCode"] == 400
    assert told.keys() == {"message", "error"}
    assert told["error"].startswith(error)


async def test_a_control_batch_cannot_forge_a_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    response = await world.gateway.on_control_event(control_event([{"type": "X\n\x1b[2JOPEN of connection"}]))
    error = r"events[0].type: unknown event type 'X\n\x1b[2JOPEN of connection'"
    assert json.loads(response["body"])["error"] == error
    assert caplog.messages == [f"control API: {error}; refused with 400, nothing was done"]


async def test_a_control_batch_that_fails_on_the_way_says_where(world: World) -> None:
    await world.connected(ME)
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    world.store.away = {"subscribe"}
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}
    response = await world.gateway.on_control_event(control_event([text, subscribe, text]))
    assert response["statusCode"] == 503
    assert json.loads(response["body"]) == {
        "message": "not done",
        "index": 1,
        "error": "events[1]: SUBSCRIBE failed: the table is away for subscribe",
    }
    assert world.management.posted == [(ME, "hi")]


async def test_without_secrets_nobody_is_let_in_and_a_close_is_told_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    world.client.will_answer()
    world.secrets_are_away = True
    events = (CONNECT, socket_event("MESSAGE", body="hi"), DISCONNECT)
    assert [(await world.gateway.on_websocket_event(event))["statusCode"] for event in events] == [500, 500, 200]
    reason = f"{BACKEND} is not told, for want of a secret to sign with: SSM is away"
    assert caplog.messages == [
        f"OPEN of connection {ME}: {reason}; refused with 500",
        f"TEXT of connection {ME}: {reason}",
        f"CLOSE of connection {ME}: {reason}",
    ]
    (notice,) = world.queue.messages
    with pytest.raises(NotDone):
        await world.defer(notice)
    assert world.client.told == []

    world.secrets_are_away = False
    await world.defer(notice)
    assert [told["events"] for told in world.client.told] == [[CLOSE]]


async def test_without_secrets_the_control_api_does_nothing_and_says_so(world: World) -> None:
    await world.connected(ME)
    world.secrets_are_away = True
    response = await world.gateway.on_control_event(control_event([{"type": "TEXT", "connectionId": ME, "data": "hi"}]))
    assert response["statusCode"] == 503
    assert json.loads(response["body"]) == {"message": "not done", "index": 0, "error": "SSM is away"}
    assert world.management.posted == []


async def test_an_event_that_is_none_of_api_gateways_raises(world: World) -> None:
    with pytest.raises(KeyError, match="eventType 'DANCE'"):
        await world.gateway.on_websocket_event(socket_event("DANCE"))
