"""The HTTP API's events: built as API Gateway builds them, and read as the gateway's values."""

from __future__ import annotations

import base64
import json

import pytest

from slip_sockets.apigateway.http_events import http_event, http_response, read_http_event
from slip_sockets.apigateway.requests import ApiIdentity, ProxyEvent
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.protocol.errors import InvalidEvents

from ..functions.conftest import event as documented

API = ApiIdentity("abc123", "$default", "control.example")


def posted(body: bytes, *headers: tuple[str, str]) -> ProxyEvent:
    return http_event(
        API, method="POST", path="/control/x", query="a=b", headers=headers, source_ip="127.0.0.1", body=body
    )


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64_encoded"),
    [
        ("application/json; charset=utf-8", "gr\u00fc\u00dfe", False),
        ("text/plain", "gr\u00fc\u00dfe", False),
        ("application/websocket-events", "Z3LDvMOfZQ==", True),
    ],
)
def test_http_event_encodes_bodies_of_types_that_are_not_text(
    content_type: str, body: str, *, is_base64_encoded: bool
) -> None:
    event = posted("gr\u00fc\u00dfe".encode(), ("Content-Type", content_type), ("X-Twice", "1"), ("x-twice", "2"))
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


def test_http_event_has_the_documented_keys() -> None:
    """Its headers are those that the client sent."""
    real, built = documented("control"), posted(b"{}", ("Content-Type", "application/json"))
    assert built.keys() == real.keys()
    assert built["requestContext"].keys() == real["requestContext"].keys()
    assert built["requestContext"]["http"].keys() == real["requestContext"]["http"].keys()


def test_documented_event_is_read() -> None:
    event = documented("control")
    request = read_http_event(event)
    assert request.headers == event["headers"]
    assert request.read_body() == event["body"].encode()
    encoded = event | {"body": base64.b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}
    assert read_http_event(encoded).read_body() == b"\xff\x00"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8", "image/png", ""])
@pytest.mark.parametrize(
    "body", [b"", b"{}", "Zoë \x00 😀".encode(), b"\xff\xfe"], ids=["empty", "JSON", "text", "bytes"]
)
def test_http_event_is_read_as_it_was_built(content_type: str, body: bytes) -> None:
    event = posted(body, ("Content-Type", content_type), ("AUTHORIZATION", "Bearer x"))
    request = read_http_event(json.loads(json.dumps(event)))
    assert request.headers == {"content-type": content_type, "authorization": "Bearer x"}
    assert request.read_body() == body


@pytest.mark.parametrize(
    "event", [{"body": "%%%", "isBase64Encoded": True}, {"body": "é", "isBase64Encoded": True}, {"body": "\ud800"}]
)
def test_body_that_cannot_be_decoded_is_invalid_only_once_it_is_read(event: ProxyEvent) -> None:
    """The token is checked before."""
    request = read_http_event(event)
    with pytest.raises(InvalidEvents, match=r"^the body cannot be decoded: "):
        request.read_body()


def test_event_without_headers_and_body_is_an_empty_request() -> None:
    request = read_http_event({"headers": None, "body": None})
    assert (request.headers, request.read_body()) == ({}, b"")


def test_response_is_that_of_the_function() -> None:
    response = HttpResponse(403, {"Content-Type": "application/json"}, '{"error":"nö"}'.encode())
    assert http_response(response) == {
        "statusCode": 403,
        "headers": {"Content-Type": "application/json"},
        "body": '{"error":"nö"}',
    }
