"""The HTTP API's events (payload format 2.0), built as API Gateway builds them and read as the gateway's values.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable

from ..gateway.values import HttpRequest, HttpResponse
from ..protocol.errors import InvalidEvents
from .requests import ApiIdentity, ProxyEvent, ProxyResponse, clf_time, grouped, new_request_id, proxy_response


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
    """Return an HTTP API's event. A body of a type other than text comes as base64."""
    joined = {name: ",".join(values) for name, values in grouped((n.lower(), v) for n, v in headers).items()}
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
            "requestId": new_request_id(),
            "routeKey": "$default",
            "stage": "$default",
            "time": clf_time(now),
            "timeEpoch": int(now * 1000),
        },
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


def read_http_event(event: ProxyEvent) -> HttpRequest:
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}

    def read_body() -> bytes:
        body: str = event.get("body") or ""
        try:
            return base64.b64decode(body, validate=True) if event.get("isBase64Encoded", False) else body.encode()
        except ValueError as error:  # Python's errors about base64 and UTF-8 are several
            raise InvalidEvents(f"the body cannot be decoded: {error}") from error

    http = event.get("requestContext", {}).get("http", {})
    return HttpRequest(headers, read_body, http.get("method", "POST"), event.get("rawPath", "/"))


def http_response(response: HttpResponse) -> ProxyResponse:
    return proxy_response(response.status, response.headers, response.body.decode())


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
