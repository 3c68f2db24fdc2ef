"""What is wrong with a backend that fails, and how to fix it."""

from __future__ import annotations

import http
from dataclasses import dataclass

from ..gateway.errors import BackendFailed, BackendFault, NotAccepted, WhyNotAccepted
from ..protocol.errors import InvalidEvents


@dataclass(frozen=True, slots=True)
class Advice:
    problem: str
    fix: str


_REFUSED = "It did not take the token. Check that it has the same JWT_SECRET as this server"
_BY_STATUS = {
    401: f"{_REFUSED}, and that nothing else guards its route, such as a login",
    403: f"{_REFUSED}, and that its route is exempt from what is for browsers, such as CSRF tokens",
    404: "It has no such route. Compare the path with your route's, also the slash at its end",
    405: "Its route does not take POST. Is it the right path? Otherwise allow that method",
    411: "It wants another request than the gateway sends. Look at its log",
    413: "Its limit for bodies is too low. Allow at least 256 KB",
    415: "It does not take this content type. Read the raw body: the gateway sends application/websocket-events",
    429: "It throttles. Exempt its route from rate limits, or raise them",
}
_DROPPED = (
    "Let the server in front of it pass the header on: mod_wsgi does with WSGIPassAuthorization On, CGI and FastCGI "
    "under Apache with CGIPassAuth On"
)
_REDIRECTS = "No redirect is followed. Set TARGET_URL to where it leads; often only a slash at the end is wrong"
TOO_SLOW = "Look at what it waits for. Work that takes longer belongs into a task of its own that publishes the result"
_SLIP_BODY = 'Respond with {"events": [...]} as `connection.response()` makes it, or with an empty body'
_GRIP_BODY = (
    "Respond with 200, Content-Type: application/websocket-events and events in the framing of WebSocket-over-HTTP, "
    "as a GRIP library does"
)
_NOT_ACCEPTED = "ACCEPT comes before SET_METADATA, with a subprotocol that was offered"


def advise(error: BackendFailed | None, not_accepted: NotAccepted | None, *, is_broken_off: bool) -> Advice | None:
    """Return what is wrong with the backend's response; None where nothing is.

    `is_broken_off` says that the event's time ended while the backend was being waited for. A client that is
    deliberately not let in is not a failure.
    """
    if is_broken_off:
        return Advice("Your backend did not respond before the event's time was over", TOO_SLOW)
    if error is not None:
        return _of_failure(error)
    if not_accepted is not None and not_accepted.why not in (WhyNotAccepted.NO_ACCEPT, WhyNotAccepted.REFUSED):
        return Advice(f"Your backend's ACCEPT does not count: {not_accepted}", _NOT_ACCEPTED)
    return None


def _of_failure(error: BackendFailed) -> Advice | None:
    cause = error.__cause__
    match error.fault:
        case BackendFault.NO_SECRET:
            return None
        case BackendFault.TIMEOUT:
            return Advice(f"Your backend did not respond: {cause}", TOO_SLOW)
        case BackendFault.TOO_LARGE:
            return Advice(f"Your backend's response has {cause}", "Respond with the events alone")
        case BackendFault.TLS:
            problem, _, fix = str(cause).partition(". ")
            return Advice(
                f"Your backend cannot be reached: {problem}",
                fix or "If it speaks http, begin --target-url with http://",
            )
        case BackendFault.UNREACHABLE:
            fix = "Start it, or correct --target-url: is it the port that it listens at?"
            return Advice(f"Your backend cannot be reached: {cause}", fix)
        case BackendFault.INVALID_BODY:
            fix = _SLIP_BODY if isinstance(cause, InvalidEvents) else _GRIP_BODY
            return Advice(f"Your backend's response is not valid: {cause}", fix)
        case BackendFault.STATUS:
            status = error.status or 0
            if error.lacks_token:
                return Advice("The header Authorization did not reach your backend: it is dropped on its way", _DROPPED)
            if 300 <= status < 400:
                return Advice(f"Your backend redirects ({_phrase(status)})", _REDIRECTS)
            fix = _BY_STATUS.get(status, "Look at its log: the error is its own")
            return Advice(f"Your backend responded with {_phrase(status)}", fix)


def _phrase(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
