from __future__ import annotations

import json

import pytest

from slip_sockets.gateway.deadlines import RESERVE_S
from slip_sockets.gateway.deferred import CloseNotice, Continuation
from slip_sockets.gateway.errors import HttpError, HttpFailure, Incomplete
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.protocol.events import Action, PublishText, SendText, Subscribe
from slip_sockets.protocol.tokens import bearer_token, mint, verify

from .doubles import ACCEPT, ME, SECRET, YOU, World, socket_event

BACKEND = "backend https://app.example/slip"


CONNECT = socket_event(
    "CONNECT",
    headers={"Host": "x", "Sec-WebSocket-Protocol": "v1, v2"},
    multiValueHeaders={"Host": ["x"], "Sec-WebSocket-Protocol": ["v1, v2"]},
    multiValueQueryStringParameters={"room": ["a", ""]},
)
DISCONNECT = socket_event("DISCONNECT", context={"disconnectStatusCode": 1001, "disconnectReason": "bye"})


async def test_an_open_tells_the_backend_what_the_contract_says(world: World) -> None:
    world.client.will_reply(ACCEPT)
    assert await world.websocket(CONNECT) == {"statusCode": 200, "headers": {}, "body": ""}
    metadata = {
        "headers": {"Host": "x", "Sec-WebSocket-Protocol": "v1, v2"},
        "ip": "203.0.113.7",
        "query": {"room": ["a", ""]},
    }
    assert world.client.requests == [
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
    await world.websocket(socket_event("MESSAGE", body="hi"))
    verify(bearer_token(world.client.headers[0]["Authorization"]), "WebSocketEvent", [SECRET])


async def test_the_accepted_subprotocol_goes_back(world: World) -> None:
    world.client.will_reply(ACCEPT | {"subprotocol": "v2"})
    response = await world.websocket(CONNECT)
    assert (response["statusCode"], response["headers"]) == (200, {"Sec-WebSocket-Protocol": "v2"})


async def test_what_needs_an_open_socket_is_queued(world: World) -> None:
    world.client.will_reply(
        ACCEPT,
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"},
        {"type": "TEXT", "connectionId": ME, "data": "hi"},
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "new"},
    )
    await world.websocket(CONNECT)
    (message,) = world.queue.messages
    recent_until = world.clock.now() + world.store.index_lag_s
    assert message == Continuation(
        ME, [SendText(ME, "hi"), PublishText("room", "new")], [Subscribe(ME, "room")], recent_until
    )
    assert world.sender.calls == []
    world.store.unseen = {ME}
    await world.defer(message)
    assert world.sender.sent == [(ME, "hi"), (ME, "new")]


async def test_the_index_is_believed_again_when_what_waited_comes_late(world: World) -> None:
    await world.connected(ME)
    late = Continuation(ME, [PublishText("room", "new")], [Subscribe(ME, "room")], world.clock.now())
    await world.defer(late)
    assert world.sender.sent == []


async def test_actions_of_a_reply_beyond_the_functions_time_are_queued(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in "ab"]
    world.client.will_reply(*texts)
    message = socket_event("MESSAGE", body="hello")
    caplog.set_level("INFO")
    response = await world.websocket(message, deadline=world.clock.now() + RESERVE_S - 0.1)
    assert response["statusCode"] == 200
    assert world.queue.messages == [Continuation(ME, [SendText(ME, "a"), SendText(ME, "b")])]
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the reply, events[0]: TEXT failed: no time is left for it;"
        " it and what follows, 2 in all, are queued"
    ]
    assert world.observer.failures == {}


async def test_actions_of_a_reply_without_time_and_without_queue_are_logged_as_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": "a"})
    world.queue.is_away = True
    message = socket_event("MESSAGE", body="hello")
    response = await world.websocket(message, deadline=world.clock.now() + RESERVE_S - 0.1)
    assert response["statusCode"] == 500
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the reply, events[0]: TEXT failed: no time is left for it;"
        " it and what follows, 1 in all, cannot be queued: the queue is away"
    ]
    assert world.observer.failures == {"TEXT": 1}


async def test_the_remaining_part_of_a_deferred_message_is_raised(world: World) -> None:
    await world.connected(ME, YOU)
    world.sender.failing = {YOU: 99}
    actions: list[Action] = [SendText(ME, "1"), SendText(YOU, "2"), SendText(ME, "3")]
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(Continuation(ME, actions))
    assert incomplete.value.remaining == Continuation(ME, actions[1:])
    assert world.sender.sent == [(ME, "1")]


ANSWERS: list[tuple[HttpResponse | HttpError, int, str]] = [
    (HttpResponse(503, body=b"{}"), 500, f"{BACKEND} responded with 503"),
    (HttpResponse(404, body=b"{}"), 500, f"{BACKEND} responded with 404"),
    (HttpResponse(302, body=b"{}"), 500, f"{BACKEND} responded with 302"),
    (HttpError("refused"), 502, f"{BACKEND} cannot be reached: refused"),
    (HttpError("not within 25 s", HttpFailure.TIMEOUT), 504, f"{BACKEND} did not respond: not within 25 s"),
    (
        HttpError("more than 10485760 bytes", HttpFailure.TOO_LARGE),
        400,
        f"{BACKEND} responded with more than 10485760 bytes",
    ),
    (
        HttpResponse(200, body=b"{"),
        400,
        f"{BACKEND} responded with 200 and a body that is not valid: the body is not JSON: it breaks off (byte 1)",
    ),
    (HttpResponse(200, body=b""), 400, "the response to OPEN has no ACCEPT"),
    (HttpResponse(204, body=b" \n"), 400, "the response to OPEN has no ACCEPT"),
]


@pytest.mark.parametrize(("answer", "status", "reason"), ANSWERS)
async def test_an_open_that_fails_is_refused_and_logged_once(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpResponse | HttpError, status: int, reason: str
) -> None:
    world.client.response = answer
    assert (await world.websocket(CONNECT))["statusCode"] == status
    assert caplog.messages == [f"OPEN of connection {ME}: {reason}; refused with {status}"]
    assert world.observer.failures == {"OPEN": 1}
    assert len(world.store) == 0


@pytest.mark.parametrize("away", [{"open"}, {"open", "remove"}])
async def test_an_open_that_cannot_be_stored_is_refused(world: World, away: set[str]) -> None:
    world.client.will_reply(ACCEPT)
    world.store.away = away
    assert (await world.websocket(CONNECT))["statusCode"] == 500
    assert world.observer.failures == {"OPEN": 1}


async def test_an_open_with_actions_that_cannot_be_queued_leaves_no_rows(world: World) -> None:
    world.client.will_reply(ACCEPT, {"type": "TEXT", "connectionId": ME, "data": "hi"})
    world.queue.is_away = True
    assert (await world.websocket(CONNECT))["statusCode"] == 500
    assert len(world.store) == 0


async def test_a_text_is_sent_with_the_stored_metadata_and_its_reply_is_performed(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": "echo"})
    assert (await world.websocket(socket_event("MESSAGE", body="hi")))["statusCode"] == 200
    text = {"type": "TEXT", "connectionId": ME, "data": "hi"}
    assert world.client.requests == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [text]}]
    assert world.sender.sent == [(ME, "echo")]


async def test_a_text_of_an_unknown_connection_is_sent_without_metadata(world: World) -> None:
    await world.websocket(socket_event("MESSAGE"))
    text = {"type": "TEXT", "connectionId": ME, "data": ""}
    assert world.client.requests == [{"connectionId": ME, "metadata": None, "events": [text]}]


@pytest.mark.parametrize(("answer", "status", "reason"), ANSWERS[:-2])
async def test_a_text_that_fails_is_logged_and_gets_a_status(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpResponse | HttpError, status: int, reason: str
) -> None:
    await world.connected(ME)
    world.client.response = answer
    assert (await world.websocket(socket_event("MESSAGE", body="hi")))["statusCode"] == status
    assert caplog.messages == [f"TEXT of connection {ME}: {reason}"]
    assert world.observer.failures == {"TEXT": 1}
    assert world.sender.calls == []


async def test_a_reply_that_cannot_be_performed_now_is_queued_from_there_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    texts = [{"type": "TEXT", "connectionId": ME, "data": data} for data in "abc"]
    world.client.will_reply({"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}, *texts)
    world.sender.failing = {ME: 1}
    assert (await world.websocket(socket_event("MESSAGE", body="hi")))["statusCode"] == 200
    assert caplog.messages == [
        f"TEXT of connection {ME}: in the reply, events[1]: TEXT failed: the client's buffer is full;"
        " it and what follows, 3 in all, are queued"
    ]
    (rest,) = world.queue.messages
    await world.defer(rest)
    assert world.sender.sent == [(ME, "a"), (ME, "b"), (ME, "c")]


async def test_a_text_with_unreadable_metadata_is_not_sent(world: World) -> None:
    world.store.away = {"get"}
    assert (await world.websocket(socket_event("MESSAGE", body="hi")))["statusCode"] == 500
    assert world.client.requests == []


CLOSE = {"type": "CLOSE", "connectionId": ME, "code": 1001, "reason": "bye"}


async def test_a_close_removes_the_rows_and_tells_the_backend(world: World) -> None:
    await world.connected(ME, channels=["room"], metadata=b'{"user":"ada"}')
    world.client.will_reply({"type": "PUBLISH_TEXT", "channelId": "room", "data": "ada left"})
    assert (await world.websocket(DISCONNECT))["statusCode"] == 200
    assert world.client.requests == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}]
    assert len(world.store) == 0
    assert world.sender.calls == []


async def test_a_close_without_code_is_sent_without(world: World) -> None:
    await world.websocket(socket_event("DISCONNECT"))
    assert world.client.requests[0]["events"] == [{"type": "CLOSE", "connectionId": ME}]


RETRYABLE = [HttpError("refused"), HttpError("late", HttpFailure.TIMEOUT), HttpResponse(429), HttpResponse(500)]


@pytest.mark.parametrize("answer", RETRYABLE)
async def test_a_close_that_cannot_be_sent_is_queued_with_its_metadata_and_sent_later(
    world: World, answer: HttpResponse | HttpError
) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.response = answer
    assert (await world.websocket(DISCONNECT))["statusCode"] == 200
    (notice,) = world.queue.messages
    assert notice == CloseNotice(ME, 1001, "bye", b'{"user":"ada"}')
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(notice)
    assert incomplete.value.remaining == notice
    world.client.will_reply()
    await world.defer(notice)
    close = {"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}
    assert world.client.requests == [close, close, close]


@pytest.mark.parametrize("answer", [HttpResponse(404), HttpResponse(301), HttpResponse(200, body=b"{")])
async def test_a_close_that_the_backend_does_not_want_is_not_queued(world: World, answer: HttpResponse) -> None:
    world.client.response = answer
    await world.websocket(DISCONNECT)
    assert world.queue.messages == []
    await world.defer(CloseNotice(ME, None, None, b"null"))
    assert world.observer.failures == {"CLOSE": 2}


async def test_a_close_with_unreadable_rows_is_queued_and_reads_them_later(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.store.away = {"remove", "get"}
    assert (await world.websocket(DISCONNECT))["statusCode"] == 200
    (notice,) = world.queue.messages
    assert world.client.requests == []
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(notice)
    assert incomplete.value.remaining == notice
    world.store.away = {"remove"}
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(notice)
    notice = incomplete.value.remaining
    assert notice == CloseNotice(ME, 1001, "bye", b'{"user":"ada"}')
    assert world.checkpoint.saved == [notice], "before the rows go"
    world.store.away.clear()
    world.client.response = HttpError("refused")
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(notice)
    assert incomplete.value.remaining == notice
    world.client.will_reply()
    world.client.requests.clear()
    await world.defer(notice)
    assert world.client.requests == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}]
    assert len(world.store) == 0


async def test_a_close_is_sent_again_where_its_reply_can_be_neither_performed_nor_queued(world: World) -> None:
    world.client.will_reply({"type": "PUBLISH_TEXT", "channelId": "room", "data": "ada left"})
    world.store.away = {"channel_state"}
    notice = CloseNotice(ME, 1001, "bye", b"null")
    world.queue.is_away = True
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(notice)
    assert incomplete.value.remaining == notice
    world.queue.is_away = False
    await world.defer(notice)
    assert world.queue.messages == [Continuation(ME, [PublishText("room", "ada left")])]


async def test_a_close_that_can_be_neither_sent_nor_queued_is_logged_as_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.client.response = HttpError("refused")
    world.queue.is_away = True
    assert (await world.websocket(DISCONNECT))["statusCode"] == 500
    assert caplog.messages[-1] == f"CLOSE of connection {ME} is lost: the queue is away"


async def test_without_secrets_no_client_is_let_in_and_a_close_is_sent_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME)
    world.client.will_reply()
    world.secrets_are_away = True
    events = (CONNECT, socket_event("MESSAGE", body="hi"), DISCONNECT)
    assert [(await world.websocket(event))["statusCode"] for event in events] == [500, 500, 200]
    reason = f"{BACKEND} was not called: the signing secret cannot be read: Secrets Manager is away"
    assert caplog.messages == [
        f"OPEN of connection {ME}: {reason}; refused with 500",
        f"TEXT of connection {ME}: {reason}",
        f"CLOSE of connection {ME}: {reason}",
    ]
    (notice,) = world.queue.messages
    with pytest.raises(Incomplete):
        await world.defer(notice)
    assert world.client.requests == []

    world.secrets_are_away = False
    await world.defer(notice)
    assert [request["events"] for request in world.client.requests] == [[CLOSE]]


async def test_an_event_that_is_none_of_api_gateways_raises(world: World) -> None:
    with pytest.raises(KeyError, match="eventType 'DANCE'"):
        await world.websocket(socket_event("DANCE"))
