"""API Gateway's proxy events, as a Lambda function gets them, and the responses it gives: plain dictionaries.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-requests.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidEvents

ProxyEvent = dict[str, Any]
ProxyResponse = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Connect:
    """A client asks to connect. `headers` as it wrote the names, `query` name to values, `subprotocols` as offered."""

    connection_id: str
    headers: Mapping[str, str]
    query: Mapping[str, list[str]]
    ip: str | None
    subprotocols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A client sent a frame."""

    connection_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """A client has left; `code` and `reason` where API Gateway tells them."""

    connection_id: str
    code: int | None
    reason: str | None


def parse_websocket_event(event: ProxyEvent) -> Connect | Message | Disconnect:
    """Raises KeyError where `event` is none of API Gateway's."""
    context = event["requestContext"]
    connection_id: str = context["connectionId"]
    match context["eventType"]:
        case "CONNECT":
            headers = event.get("headers") or {}
            query = event.get("multiValueQueryStringParameters") or {}
            return Connect(
                connection_id,
                {_utf8(name): _utf8(value) for name, value in headers.items()},
                {_utf8(name): [_utf8(value) for value in values] for name, values in query.items()},
                context.get("identity", {}).get("sourceIp"),
                _subprotocols(event.get("multiValueHeaders") or {}),
            )
        case "MESSAGE":
            return Message(connection_id, _utf8(event.get("body") or ""))
        case "DISCONNECT":
            reason = context.get("disconnectReason")
            code = context.get("disconnectStatusCode")
            return Disconnect(connection_id, code, None if reason is None else _utf8(reason))
        case other:
            raise KeyError(f"eventType {other!r}")


def _utf8(text: str) -> str:
    """An event is JSON, which can say an unpaired surrogate; UTF-8, and so a backend's request, cannot: it becomes `?`.

    Refusing it would be an answer of 500 to a client that may not even have sent it.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def _subprotocols(headers: Mapping[str, list[str]]) -> tuple[str, ...]:
    values = [value for name, values in headers.items() if name.lower() == "sec-websocket-protocol" for value in values]
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@dataclass(frozen=True, slots=True)
class ControlCall:
    """A POST to the control API. `body` is read only after the token has been checked."""

    authorization: str | None
    raw_body: str
    is_base64_encoded: bool

    def body(self) -> bytes:
        """Raises InvalidEvents where the body is not the base64 that API Gateway says it is, or no UTF-8."""
        try:
            return base64.b64decode(self.raw_body, validate=True) if self.is_base64_encoded else self.raw_body.encode()
        except ValueError as error:  # Python's errors about base64 and UTF-8 are several
            raise InvalidEvents(f"the body cannot be decoded: {error}") from error


def parse_control_event(event: ProxyEvent) -> ControlCall:
    """Understand an HTTP API's event (payload format 2.0)."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return ControlCall(headers.get("authorization"), event.get("body") or "", bool(event.get("isBase64Encoded", False)))


def response(status: int, headers: Mapping[str, str] | None = None, body: str = "") -> ProxyResponse:
    """Return a proxy response. API Gateway heeds the status; of a $connect's headers only Sec-WebSocket-Protocol."""
    return {"statusCode": int(status), "headers": dict(headers or {}), "body": body}
