"""How publishers call the control API in SLIP: a batch of events with a JWT."""

from __future__ import annotations

import http
from collections.abc import Sequence

from ..gateway.dialects import Batch, Performed, Rejected
from ..gateway.errors import ActionFailed
from ..gateway.values import HttpRequest, HttpResponse
from ..protocol.bodies import encode_done, encode_invalid, encode_not_done
from ..protocol.errors import InvalidEvents, InvalidToken
from ..protocol.events import decode_control
from ..protocol.tokens import bearer_token, verify

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class SlipPublish:
    """A PublishProtocol."""

    def authorize(self, request: HttpRequest, secrets: Sequence[str]) -> None:
        verify(bearer_token(request.headers.get("authorization")), "ControlEvent", secrets)

    def decode(self, request: HttpRequest) -> Batch:
        return Batch(decode_control(request.read_body()))

    def respond(self, request: HttpRequest, result: Performed | Rejected) -> HttpResponse:
        match result:
            case Performed(reports):
                return HttpResponse(http.HTTPStatus.OK, _JSON, encode_done(reports))
            case InvalidToken():
                return HttpResponse(http.HTTPStatus.FORBIDDEN, _TEXT, b"Invalid token")
            case InvalidEvents():
                return HttpResponse(http.HTTPStatus.BAD_REQUEST, _JSON, encode_invalid(result))
            case ActionFailed(index=index):
                return HttpResponse(http.HTTPStatus.SERVICE_UNAVAILABLE, _JSON, encode_not_done(index, result))
            case _:
                return HttpResponse(http.HTTPStatus.SERVICE_UNAVAILABLE, _JSON, encode_not_done(0, result))
