"""The WebSocket API's events: built as API Gateway builds them, key by key, and read as the gateway's values."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from slip_sockets.apigateway.requests import ApiIdentity, ProxyEvent
from slip_sockets.apigateway.socket_events import (
    Client,
    connect_event,
    disconnect_event,
    message_event,
    read_socket_event,
    socket_response,
)
from slip_sockets.gateway.values import Accepted, Connect, Disconnect, Done, Failed, Message, Refused

from ..contract.raw import HANDSHAKE, raw_client
from ..contract.wire import connect
from ..dev.edges import RecordingFunction, edge_with
from ..functions.conftest import event as documented
from ..gateway.doubles import ACCEPT, ME, World, socket_event

# Building, as the edge does it

ID = re.compile(r"[A-Za-z0-9_-]{15}=")
CLF_TIME = re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000")
ID_KEYS = {"connectionId", "requestId", "extendedRequestId", "messageId"}


def fixed(event: ProxyEvent) -> dict[str, Any]:
    """Check the parts of an event's context that differ each time, and return the others."""
    context = dict(event["requestContext"])
    now_ms = time.time() * 1000
    for key in ID_KEYS & context.keys():
        assert ID.fullmatch(context.pop(key).replace("+", "-").replace("/", "_"))
    assert CLF_TIME.fullmatch(context.pop("requestTime"))
    connected_at, at = context.pop("connectedAt"), context.pop("requestTimeEpoch")
    assert now_ms - 60_000 < connected_at <= at <= now_ms
    return context


IDENTITY = {"sourceIp": "127.0.0.1", "userAgent": "tests"}
CONTEXT = {
    "messageDirection": "IN",
    "stage": "live",
    "identity": IDENTITY,
    "domainName": "sockets.example",
    "apiId": "abc123",
}


async def test_connect_event_is_that_of_api_gateway() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_client(server) as client:
        await client.handshake(
            "/?a=1&a=2&b=", (*HANDSHAKE, ("user-agent", "tests"), ("X-Twice", "1"), ("X-Twice", "2"))
        )
        event = await function.next_event("CONNECT")
    trace_id = event["headers"]["X-Amzn-Trace-Id"]
    assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", trace_id)
    headers = dict(HANDSHAKE) | {
        "user-agent": "tests",
        "X-Twice": "2",
        "X-Amzn-Trace-Id": trace_id,
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "http",
    }
    context = event.pop("requestContext")
    assert event == {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()} | {"X-Twice": ["1", "2"]},
        "queryStringParameters": {"a": "2", "b": ""},
        "multiValueQueryStringParameters": {"a": ["1", "2"], "b": [""]},
        "isBase64Encoded": False,
    }
    assert fixed({"requestContext": context}) == CONTEXT | {"routeKey": "$connect", "eventType": "CONNECT"}


async def test_clients_cannot_write_a_header_of_the_edge_in_another_spelling() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_client(server) as client:
        await client.handshake("/", (*HANDSHAKE, ("x-forwarded-for", "192.0.2.1")))
        event = await function.next_event("CONNECT")
    assert "x-forwarded-for" not in event["headers"]
    assert event["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert event["multiValueHeaders"]["X-Forwarded-For"] == ["192.0.2.1", "127.0.0.1"]


async def test_connect_event_without_query_and_agent_lacks_their_keys() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_client(server) as client:
        await client.handshake()
        event = await function.next_event("CONNECT")
    assert event.keys() == {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    assert event["requestContext"]["identity"] == {"sourceIp": "127.0.0.1"}


async def test_message_event_has_body_and_context_and_nothing_else() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, connect(server, user_agent_header="tests") as client:
        await client.send("gr\u00fc\u00dfe")
        event = await function.next_event("MESSAGE")
    assert event.keys() == {"requestContext", "body", "isBase64Encoded"}
    assert (event["body"], event["isBase64Encoded"]) == ("gr\u00fc\u00dfe", False)
    assert "messageId" in event["requestContext"]
    assert fixed(event) == CONTEXT | {"routeKey": "$default", "eventType": "MESSAGE"}


async def test_disconnect_event_has_code_and_reason_and_no_client_headers() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, connect(server, "?a=1", user_agent_header="tests") as client:
        await client.close(4000, "bye")
        event = await function.next_event("DISCONNECT")
    context = event.pop("requestContext")
    headers = {"Host": "sockets.example", "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    assert event == {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "isBase64Encoded": False,
    }
    ended = {"routeKey": "$disconnect", "eventType": "DISCONNECT"}
    assert fixed({"requestContext": context}) == CONTEXT | ended | {
        "disconnectStatusCode": 4000,
        "disconnectReason": "bye",
    }


async def test_all_events_of_a_connection_have_its_own_id() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server:
        for _ in range(2):
            async with connect(server) as client:
                await client.send("x")
                await function.next_event("MESSAGE")
            await function.next_event("DISCONNECT")
    ids = [event["requestContext"]["connectionId"] for event in function.events]
    assert [ids[0]] * 3 + [ids[3]] * 3 == ids
    assert ids[0] != ids[3]
    assert len({event["requestContext"]["requestId"] for event in function.events}) == 6


# Reading the documented events


def test_documented_events_are_read() -> None:
    connected = documented("websocket_connect")
    id_ = "AAAA1234AAAA123="
    assert read_socket_event(connected) == Connect(
        id_, connected["headers"], {"room": ["3", "7"], "quiet": [""]}, "192.0.2.1", ("v2.chat", "v1.chat")
    )
    assert read_socket_event(documented("websocket_message")) == Message(id_, "Zoë says hi 😀")
    reason = "Client-side close frame status not set"
    assert read_socket_event(documented("websocket_disconnect")) == Disconnect(id_, 1005, reason)


def test_all_values_of_headers_that_came_several_times_are_read() -> None:
    event = documented("websocket_connect")
    event["multiValueHeaders"]["X-A"] = ["1", "Zo\u00c3\u00ab"]
    read = read_socket_event(event)
    assert isinstance(read, Connect)
    assert read.repeated_headers == {"X-A": ["1", "Zoë"]}


def test_event_of_another_type_is_not_read() -> None:
    with pytest.raises(KeyError, match="eventType 'RESUME'"):
        read_socket_event(socket_event("RESUME"))


# From one half to the other

CLIENT = Client(ApiIdentity("abc123", "live", "sockets.example:8787"), ME, time.time(), "192.0.2.7", "tests")
FORWARDED = {"X-Amzn-Trace-Id", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto"}


def through_json(event: ProxyEvent) -> ProxyEvent:
    """As Lambda passes it on."""
    passed: ProxyEvent = json.loads(json.dumps(event))
    return passed


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/", {}),
        ("/live?room=3&room=7&quiet=", {"room": ["3", "7"], "quiet": [""]}),
        ("/?a+b=%C3%BC%26&a%20b=c&flag", {"a b": ["ü&", "c"], "flag": [""]}),
    ],
)
@pytest.mark.parametrize(
    ("headers", "read", "subprotocols"),
    [
        ([], {}, ()),
        ([("Origin", "https://app.example"), ("COOKIE", "a=1; b=ü")], {"Origin": "https://app.example"}, ()),
        ([("X-Twice", "1"), ("X-Twice", "2")], {"X-Twice": "2"}, ()),
        ([("Sec-WebSocket-Protocol", "v2.chat, v1.chat")], {}, ("v2.chat", "v1.chat")),
        ([("sec-websocket-protocol", "v2"), ("sec-websocket-protocol", "v1,, v0")], {}, ("v2", "v1", "v0")),
    ],
    ids=["none", "two", "twice", "subprotocols", "subprotocols twice"],
)
def test_connect_event_is_read_as_it_was_built(
    path: str,
    query: dict[str, list[str]],
    headers: list[tuple[str, str]],
    read: dict[str, str],
    subprotocols: tuple[str, ...],
) -> None:
    connect = read_socket_event(through_json(connect_event(CLIENT, path, headers)))
    assert isinstance(connect, Connect)
    assert (connect.connection_id, connect.ip) == (ME, "192.0.2.7")
    assert connect.query == query
    assert connect.subprotocols == subprotocols
    assert connect.headers.keys() == {name for name, _ in headers} | FORWARDED
    assert connect.headers.items() >= {**dict(headers), **read}.items()


@pytest.mark.parametrize("text", ["", " hi\n", "Zoë \x00 😀", "x" * 131_072])
def test_message_event_is_read_as_it_was_built(text: str) -> None:
    assert read_socket_event(through_json(message_event(CLIENT, text))) == Message(ME, text)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1005, "no status"), (4999, "Zoë 😀")])
def test_disconnect_event_is_read_as_it_was_built(code: int, reason: str) -> None:
    assert read_socket_event(through_json(disconnect_event(CLIENT, code, reason))) == Disconnect(ME, code, reason)


@pytest.mark.parametrize(
    ("result", "status", "headers"),
    [
        (Accepted(), 200, {}),
        (Accepted("v1.chat"), 200, {"Sec-WebSocket-Protocol": "v1.chat"}),
        (Refused(403), 403, {}),
        (Done(), 200, {}),
        (Failed(502), 502, {}),
    ],
)
def test_result_is_the_integrations_response(result: Any, status: int, headers: dict[str, str]) -> None:
    assert socket_response(result) == {"statusCode": status, "headers": headers, "body": ""}


# Surrogates: an event is JSON, which can contain unpaired ones; a backend's request is UTF-8, which cannot

HANDSHAKE_WITH_SURROGATES = socket_event(
    "CONNECT",
    headers={"X-\ud800": "a\udfffb", "X-Pair": "\U0001f600"},
    multiValueQueryStringParameters={"\udc00name": ["\ud83dvalue", "fine é"]},
)


def test_a_surrogate_of_a_handshake_becomes_a_question_mark() -> None:
    assert read_socket_event(HANDSHAKE_WITH_SURROGATES) == Connect(
        ME, {"X-?": "a?b", "X-Pair": "\U0001f600"}, {"?name": ["?value", "fine é"]}, "203.0.113.7", ()
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [("a\ud800", "a?"), ("\udfff\ud800", "??"), ("\U0001f600 é \0", "\U0001f600 é \0"), ("", "")],
)
def test_a_surrogate_of_a_text_or_a_reason_becomes_a_question_mark(written: str, read: str) -> None:
    assert read_socket_event(socket_event("MESSAGE", body=written)) == Message(ME, read)
    left = socket_event("DISCONNECT", context={"disconnectStatusCode": 1000, "disconnectReason": written})
    assert read_socket_event(left) == Disconnect(ME, 1000, read)


async def test_a_client_with_surrogates_is_served_to_its_end(world: World) -> None:
    world.client.will_reply(ACCEPT)
    assert (await world.websocket(HANDSHAKE_WITH_SURROGATES))["statusCode"] == 200
    world.client.will_reply()
    for event in (
        socket_event("MESSAGE", body="\ud800"),
        socket_event("DISCONNECT", context={"disconnectReason": "\ud800"}),
    ):
        assert (await world.websocket(event))["statusCode"] == 200
    opened, text, closed = (request["events"][0] for request in world.client.requests)
    assert (opened["type"], text["data"], closed["reason"]) == ("OPEN", "?", "?")
    assert [request["metadata"]["headers"]["X-?"] for request in world.client.requests] == ["a?b"] * 3
