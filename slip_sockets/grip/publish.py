"""How publishers call the control API in GRIP: `POST <control URI>/publish/`."""

from __future__ import annotations

import http
import re
from collections.abc import Mapping, Sequence

from ..gateway.dialects import Batch, Performed, Rejected
from ..gateway.values import HttpRequest, HttpResponse
from ..protocol.errors import InvalidEvents, InvalidToken
from .items import RefusedRequest, decode_items
from .tokens import authorize

MAX_BODY_BYTES = 1_000_000
"""Largest body that Pushpin takes."""

_TEXT = "text/plain"
_JSON = "application/json"
_ACCEPTABLE = {_TEXT: _TEXT, "text/*": _TEXT, "*/*": _TEXT, _JSON: _JSON, "application/*": _JSON}
_PATH = re.compile(r"(?:/[^/]+)*/publish/?")


class GripPublish:
    """A PublishProtocol."""

    def is_path(self, path: str) -> bool:
        return _PATH.fullmatch(path) is not None

    def authorize(self, request: HttpRequest, secrets: Sequence[str]) -> None:
        authorize(request.headers.get("authorization"), secrets)

    def decode(self, request: HttpRequest) -> Batch:
        if not self.is_path(request.path):
            raise RefusedRequest("Not Found", status=http.HTTPStatus.NOT_FOUND)
        if request.method != "POST":
            problem = f"Method not allowed: {request.method}."
            raise RefusedRequest(problem, status=http.HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        if _response_type(request) is None:
            problem = f"Not Acceptable. Supported formats are {_TEXT} and {_JSON}."
            raise RefusedRequest(problem, status=http.HTTPStatus.NOT_ACCEPTABLE)
        body = request.read_body()
        if len(body) > MAX_BODY_BYTES:
            raise RefusedRequest("Request body too large.")
        return decode_items(body)

    def respond(self, request: HttpRequest, result: Performed | Rejected) -> HttpResponse:
        match result:
            case Performed() if _response_type(request) == _JSON:
                return HttpResponse(http.HTTPStatus.OK, {"Content-Type": _JSON}, b'{"message":"Published"}\n')
            case Performed():
                return _text(http.HTTPStatus.OK, "Published")
            case InvalidToken():
                return _text(http.HTTPStatus.FORBIDDEN, "Invalid token")
            case RefusedRequest(text=text, status=status, headers=headers):
                return _text(status, text, headers)
            case InvalidEvents():
                return _text(http.HTTPStatus.BAD_REQUEST, str(result))
            case _:
                return _text(http.HTTPStatus.SERVICE_UNAVAILABLE, f"Not published: {result}")


def _text(status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(status, {"Content-Type": _TEXT, **(headers or {})}, f"{text}\n".encode())


def _response_type(request: HttpRequest) -> str | None:
    """Return the type of the response, as Pushpin chooses it: the last one in Accept that it has."""
    accept = request.headers.get("accept")
    if accept is None:
        return _TEXT
    listed = [_ACCEPTABLE.get(part.partition(";")[0].strip()) for part in accept.split(",")]
    return next((each for each in reversed(listed) if each is not None), None)
