"""The events that the functions get, for connections by number."""

from __future__ import annotations

from typing import Any

import msgspec

from slip_sockets.apigateway.requests import ApiIdentity
from slip_sockets.apigateway.socket_events import Client, connect_event, disconnect_event, message_event
from slip_sockets.aws.queue import encode
from slip_sockets.gateway.deferred import Continuation
from slip_sockets.protocol.events import SendText

from ..stubs import connection_ids
from ..stubs.lambda_calls import control_event

TEXT = "x" * 64
CHANNEL = "lobby"
_API = ApiIdentity("abcd1234", "live", "abcd1234.execute-api.us-east-1.amazonaws.com")
_USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_HEADERS = {
    "Host": _API.domain_name,
    "Origin": "https://app.example",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "User-Agent": _USER_AGENT,
}


def connection_id(number: int) -> str:
    """Of a filling that does not exist: these connections connect."""
    return connection_ids.connection_id(1 << 16, number)


def connect(number: int) -> dict[str, Any]:
    return connect_event(_client(number), "/", _HEADERS.items())


def message(number: int) -> dict[str, Any]:
    return message_event(_client(number), TEXT)


def disconnect(number: int) -> dict[str, Any]:
    return disconnect_event(_client(number), 1001, "")


def publish() -> dict[str, Any]:
    """Publish to one subscriber, if `connect` was handled once."""
    event = {"type": "PUBLISH_TEXT", "channelId": CHANNEL, "data": TEXT}
    return control_event(msgspec.json.encode({"events": [event]}))


def deferred(number: int) -> dict[str, Any]:
    """A text that waited until the socket was open."""
    id_ = connection_id(number)
    attributes = {"ApproximateReceiveCount": "1", "MessageGroupId": id_, "SentTimestamp": "1707502303450"}
    body = encode(Continuation(id_, [SendText(id_, TEXT)]))
    record = {"messageId": "m", "receiptHandle": "r", "body": body, "attributes": attributes}
    return {"Records": [record | {"eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:bench.fifo"}]}


def _client(number: int) -> Client:
    return Client(_API, connection_id(number), 1707502303.419, "192.0.2.1", _USER_AGENT)
