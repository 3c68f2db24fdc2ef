"""The WebSocket API's events, built as API Gateway builds them for a Lambda function and read as the gateway's values.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-requests.html
"""

from __future__ import annotations

import http
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from ..gateway.values import Accepted, Connect, Disconnect, Done, Failed, Message, Refused
from .requests import ApiIdentity, ProxyEvent, ProxyResponse, clf_time, grouped, new_request_id, proxy_response


class Client(msgspec.Struct, frozen=True):
    """The data that all events of a connection have. `connected_at` is Unix seconds."""

    api: ApiIdentity
    connection_id: str
    connected_at: float
    source_ip: str
    user_agent: str | None


# Building


def connect_event(client: Client, path: str, headers: Iterable[tuple[str, str]]) -> ProxyEvent:
    """Return the $connect event. `path` is the request target, `headers` as the client sent them."""
    forwarded = (
        ("X-Amzn-Trace-Id", f"Root=1-{int(client.connected_at):08x}-{secrets.token_hex(12)}"),
        ("X-Forwarded-For", client.source_ip),
        ("X-Forwarded-Port", str(urlsplit(f"//{client.api.domain_name}").port or 443)),
        ("X-Forwarded-Proto", "http"),
    )
    written = [*headers, *forwarded]
    names = {name.lower(): name for name, _ in written}  # of several spellings the last, which has the last value
    multi_headers = grouped((names[name.lower()], value) for name, value in written)
    event: ProxyEvent = {
        "headers": {name: values[-1] for name, values in multi_headers.items()},
        "multiValueHeaders": multi_headers,
        "requestContext": _context(client, "$connect", "CONNECT"),
        "isBase64Encoded": False,
    }
    query = grouped(parse_qsl(urlsplit(path).query, keep_blank_values=True))
    if query:
        event["queryStringParameters"] = {name: values[-1] for name, values in query.items()}
        event["multiValueQueryStringParameters"] = query
    return event


def message_event(client: Client, body: str) -> ProxyEvent:
    """Return the $default event. It has neither headers nor a query."""
    context = _context(client, "$default", "MESSAGE")
    return {"requestContext": context | {"messageId": new_request_id()}, "body": body, "isBase64Encoded": False}


def disconnect_event(client: Client, code: int, reason: str) -> ProxyEvent:
    """Return the $disconnect event. Its headers are API Gateway's own and carry no information."""
    headers = {"Host": client.api.domain_name, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    context = _context(client, "$disconnect", "DISCONNECT")
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": context | {"disconnectStatusCode": code, "disconnectReason": reason},
        "isBase64Encoded": False,
    }


def _context(client: Client, route_key: str, event_type: str) -> dict[str, Any]:
    now = time.time()
    identity = {"sourceIp": client.source_ip}
    if client.user_agent is not None:
        identity["userAgent"] = client.user_agent
    request_id = new_request_id()
    return {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": clf_time(now),
        "messageDirection": "IN",
        "stage": client.api.stage,
        "connectedAt": int(client.connected_at * 1000),
        "requestTimeEpoch": int(now * 1000),
        "identity": identity,
        "requestId": request_id,
        "domainName": client.api.domain_name,
        "connectionId": client.connection_id,
        "apiId": client.api.api_id,
    }


# Reading


def read_socket_event(event: ProxyEvent) -> Connect | Message | Disconnect:
    """Raises KeyError where `event` is not one of API Gateway's."""
    context = event["requestContext"]
    connection_id: str = context["connectionId"]
    match context["eventType"]:
        case "CONNECT":
            # Of several spellings of a name the last stays.
            headers = {name.lower(): (name, value) for name, value in (event.get("headers") or {}).items()}
            all_headers = event.get("multiValueHeaders") or {}
            query = event.get("multiValueQueryStringParameters") or {}
            return Connect(
                connection_id,
                {_utf8(name): _header_value(value) for name, value in headers.values()},
                {_utf8(name): [_utf8(value) for value in values] for name, values in query.items()},
                context.get("identity", {}).get("sourceIp"),
                _subprotocols(all_headers),
                {
                    _utf8(name): [_header_value(value) for value in values]
                    for name, values in all_headers.items()
                    if len(values) > 1
                },
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
    """Replace unpaired surrogates by `?`. An event is JSON, which can contain them; UTF-8, and so a backend's request,
    cannot.

    To refuse them would mean a 500 for a client that may not even have sent them.
    """
    return text if text.isascii() else text.encode(errors="replace").decode()


def _header_value(value: str) -> str:
    """Return a header's value, read as UTF-8 where its bytes are UTF-8, otherwise as Latin-1.

    The development server's edge reads them as Latin-1, as HTTP's specification has it; AWS documents nothing.
    """
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return _utf8(value)


def _subprotocols(headers: Mapping[str, list[str]]) -> tuple[str, ...]:
    values = [value for name, values in headers.items() if name.lower() == "sec-websocket-protocol" for value in values]
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def socket_response(result: Accepted | Refused | Done | Failed) -> ProxyResponse:
    """Return the integration's response. API Gateway heeds the status; of headers, only $connect's subprotocol."""
    match result:
        case Accepted(subprotocol):
            headers = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol is not None else {}
            return proxy_response(http.HTTPStatus.OK, headers)
        case Done():
            return proxy_response(http.HTTPStatus.OK)
        case Refused(status) | Failed(status):
            return proxy_response(status)
