"""Builds the proxy events that API Gateway hands to its integrations.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-integration-requests.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..gateway.proxy import ProxyEvent

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def new_connection_id() -> str:
    """Return an id as API Gateway's look: 15 letters of base64url and `=`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(11)).decode()


@dataclass(frozen=True, slots=True)
class ApiIdentity:
    """The API that events say they come from."""

    api_id: str
    stage: str
    domain_name: str


@dataclass(frozen=True, slots=True)
class Client:
    """What every event of a connection repeats. `connected_at` is Unix seconds."""

    api: ApiIdentity
    connection_id: str
    connected_at: float
    source_ip: str
    user_agent: str | None


def connect_event(client: Client, path: str, headers: Iterable[tuple[str, str]]) -> ProxyEvent:
    """Return the $connect event. `path` is the request target, `headers` as the client sent them."""
    forwarded = (
        ("X-Amzn-Trace-Id", f"Root=1-{int(client.connected_at):08x}-{secrets.token_hex(12)}"),
        ("X-Forwarded-For", client.source_ip),
        ("X-Forwarded-Port", str(urlsplit(f"//{client.api.domain_name}").port or 443)),
        ("X-Forwarded-Proto", "http"),
    )
    multi_headers = _grouped([*headers, *forwarded])
    event: ProxyEvent = {
        "headers": {name: values[-1] for name, values in multi_headers.items()},
        "multiValueHeaders": multi_headers,
        "requestContext": _context(client, "$connect", "CONNECT"),
        "isBase64Encoded": False,
    }
    query = _grouped(parse_qsl(urlsplit(path).query, keep_blank_values=True))
    if query:
        event["queryStringParameters"] = {name: values[-1] for name, values in query.items()}
        event["multiValueQueryStringParameters"] = query
    return event


def message_event(client: Client, body: str) -> ProxyEvent:
    """Return the $default event: no headers, no query."""
    context = _context(client, "$default", "MESSAGE")
    return {"requestContext": context | {"messageId": _request_id()}, "body": body, "isBase64Encoded": False}


def disconnect_event(client: Client, code: int, reason: str) -> ProxyEvent:
    """Return the $disconnect event; its headers are API Gateway's own and tell nothing."""
    headers = {"Host": client.api.domain_name, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    context = _context(client, "$disconnect", "DISCONNECT")
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": context | {"disconnectStatusCode": code, "disconnectReason": reason},
        "isBase64Encoded": False,
    }


def http_event(
    api: ApiIdentity,
    *,
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    source_ip: str,
    body: bytes,
) -> ProxyEvent:
    """Return an HTTP API's event, payload format 2.0. Bodies of types that are no text come as base64."""
    joined = {name: ",".join(values) for name, values in _grouped((n.lower(), v) for n, v in headers).items()}
    now = time.time()
    text = _decoded(body) if _is_text(joined.get("content-type", "")) else None
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": joined,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": api.api_id,
            "domainName": api.domain_name,
            "domainPrefix": api.domain_name.split(".")[0],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": joined.get("user-agent", ""),
            },
            "requestId": _request_id(),
            "routeKey": "$default",
            "stage": "$default",
            "time": _clf_time(now),
            "timeEpoch": int(now * 1000),
        },
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


def _context(client: Client, route_key: str, event_type: str) -> dict[str, Any]:
    now = time.time()
    identity = {"sourceIp": client.source_ip}
    if client.user_agent is not None:
        identity["userAgent"] = client.user_agent
    request_id = _request_id()
    return {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": _clf_time(now),
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


def _request_id() -> str:
    return base64.b64encode(secrets.token_bytes(11)).decode()


def _clf_time(now: float) -> str:
    at = time.gmtime(now)
    return f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{time.strftime('%H:%M:%S', at)} +0000"


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in pairs:
        grouped.setdefault(name, []).append(value)
    return grouped


def _is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return (
        not kind
        or kind.startswith("text/")
        or kind in ("application/json", "application/xml", "application/javascript")
    )


def _decoded(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
