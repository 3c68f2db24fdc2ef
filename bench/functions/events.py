"""The events that the functions get, for connections by number."""

from __future__ import annotations

from typing import Any

import msgspec

from slip_sockets.aws.queue import encode
from slip_sockets.events import SendText
from slip_sockets.gateway.ports import Continuation

from ..fan_out.lambda_calls import control_event
from ..fan_out.subscribers import connection_id

TEXT = "x" * 64
CHANNEL = "lobby"
_CLIENT = {
    "Host": "abcd1234.execute-api.us-east-1.amazonaws.com",
    "Origin": "https://app.example",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "X-Amzn-Trace-Id": "Root=1-65c66e4f-5f3f1cb34a9ccf2c6b3d1a20",
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Proto": "https",
}


def whose(number: int) -> str:
    return connection_id(1 << 16, number)


def connect(number: int) -> dict[str, Any]:
    more = {name: [value] for name, value in _CLIENT.items()}
    return _event(number, "CONNECT", headers=_CLIENT, multiValueHeaders=more)


def frame(number: int) -> dict[str, Any]:
    return _event(number, "MESSAGE", body=TEXT)


def disconnect(number: int) -> dict[str, Any]:
    event = _event(number, "DISCONNECT", headers={"Host": _CLIENT["Host"]})
    event["requestContext"] |= {"disconnectStatusCode": 1001, "disconnectReason": ""}
    return event


def publish() -> dict[str, Any]:
    """To one subscriber, if `connect` was handled once."""
    event = {"type": "PUBLISH_TEXT", "channelId": CHANNEL, "data": TEXT}
    return control_event(msgspec.json.encode({"events": [event]}).decode())


def deferred(number: int) -> dict[str, Any]:
    """A text that waited until the socket was open."""
    attributes = {"ApproximateReceiveCount": "1", "MessageGroupId": whose(number)}
    body = encode(Continuation(whose(number), [SendText(whose(number), TEXT)]))
    return {"Records": [{"messageId": "m", "receiptHandle": "r", "body": body, "attributes": attributes}]}


def _event(number: int, kind: str, **more: object) -> dict[str, Any]:
    context = {
        "connectedAt": 1707502303419,
        "connectionId": whose(number),
        "domainName": _CLIENT["Host"],
        "eventType": kind,
        "identity": {"sourceIp": "192.0.2.1"},
        "requestId": "CCCC9012CCCC901=",
        "stage": "live",
    }
    return {"requestContext": context, "isBase64Encoded": False, **more}
