"""What is wrong with a backend that fails, and what to do about it."""

from __future__ import annotations

import http
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidEvents
from ...events import Accept, decode_answer

if TYPE_CHECKING:
    from .recorder import Exchange

NOT_VALID = "with a body that is not valid: "
"""As the gateway's log says it."""


@dataclass(frozen=True, slots=True)
class Advice:
    what: str
    todo: str


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


def advise(kind: str, exchange: Exchange, lines: Sequence[tuple[str, str]]) -> Advice | None:
    """Return what is wrong with the backend's part in an event; None where nothing is.

    `lines` are levels and texts of the log about it. A client that is not let in is no failure.
    """
    if exchange.error is not None:
        return _unreached(exchange.error)
    status = exchange.status or 0
    if 300 <= status < 400:
        todo = (
            "No redirect is followed. Set TARGET_URL to where it leads; often a slash at the end is all that is wrong"
        )
        return Advice(f"Your backend redirects ({_phrase(status)})", todo)
    if not 200 <= status < 300:
        todo = _BY_STATUS.get(status, "Look at its log: the error is its own")
        return Advice(f"Your backend answered {_phrase(status)}", todo)
    return _unsuitable(kind, exchange, lines)


def _unreached(error: str) -> Advice:
    if error.startswith("not within"):
        todo = (
            "Look at what it waits for. Work that takes longer belongs into a task of its own, whose result you publish"
        )
        return Advice(f"Your backend did not answer {error}", todo)
    if "more than" in error:
        return Advice(f"Your backend's answer has {error}", "Answer with the events alone")
    if "TLS" in error or "certificate" in error:
        return Advice(f"Your backend cannot be reached: {error}", "If it speaks http, begin --target-url with http://")
    todo = "Start it, or correct --target-url: is it the port that it listens at?"
    return Advice(f"Your backend cannot be reached: {error}", todo)


def _unsuitable(kind: str, exchange: Exchange, lines: Sequence[tuple[str, str]]) -> Advice | None:
    said = next((text.partition(NOT_VALID)[2] for _, text in lines if NOT_VALID in text), None)
    if said is not None:
        todo = 'Answer with {"events": [...]} as `connection.answer()` makes it, or with an empty body'
        return Advice(f"Your backend's answer is not valid: {said}", todo)
    if kind != "OPEN" or exchange.answer is None:
        return None
    try:
        events = decode_answer(exchange.answer.kept) if exchange.answer.kept.strip() else []
    except InvalidEvents:  # cut here; the gateway saw it whole
        return None
    if not any(isinstance(event, Accept) for event in events):
        return None
    refused = next((text for level, text in lines if level == "WARNING" and "refused with 400" in text), None)
    if refused is None:
        return None
    return Advice(
        f"Your backend's ACCEPT does not count: {refused}",
        "ACCEPT comes before SET_METADATA, with a subprotocol that was offered",
    )


def _phrase(status: int) -> str:
    try:
        return f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
