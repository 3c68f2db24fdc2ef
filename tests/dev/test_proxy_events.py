"""The events that the edge hands to a function are API Gateway's, key by key."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from slip_sockets.dev.proxy_events import ApiIdentity, http_event
from slip_sockets.gateway.proxy import ProxyEvent

from ..contract.raw import HANDSHAKE, raw_client
from ..contract.wire import connect
from .edges import RecordingFunction, edge_with

ID = re.compile(r"[A-Za-z0-9_-]{15}=")
CLF_TIME = re.compile(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000")
ID_KEYS = {"connectionId", "requestId", "extendedRequestId", "messageId"}
TIME_KEYS = {"requestTime", "connectedAt", "requestTimeEpoch"}


def fixed(event: ProxyEvent) -> dict[str, Any]:
    """Return a proxy event's context without what differs each time, after having looked at that."""
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


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64_encoded"),
    [
        ("application/json; charset=utf-8", "gr\u00fc\u00dfe", False),
        ("text/plain", "gr\u00fc\u00dfe", False),
        ("application/websocket-events", "Z3LDvMOfZQ==", True),
    ],
)
def test_http_event_encodes_bodies_of_types_that_are_no_text(
    content_type: str, body: str, *, is_base64_encoded: bool
) -> None:
    event = http_event(
        ApiIdentity("abc123", "$default", "control.example"),
        method="POST",
        path="/control/x",
        query="a=b",
        headers=[("Content-Type", content_type), ("X-Twice", "1"), ("x-twice", "2")],
        source_ip="127.0.0.1",
        body="gr\u00fc\u00dfe".encode(),
    )
    assert (event["body"], event["isBase64Encoded"]) == (body, is_base64_encoded)
    assert event["headers"] == {"content-type": content_type, "x-twice": "1,2"}
    assert (event["version"], event["rawPath"], event["rawQueryString"]) == ("2.0", "/control/x", "a=b")
    assert event["requestContext"]["http"] == {
        "method": "POST",
        "path": "/control/x",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "",
    }


async def test_connect_event_is_api_gateways() -> None:
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


async def test_events_of_a_connection_share_its_id_and_nobody_elses() -> None:
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
