"""Judges a backend's response as the gateway does, and says how to fix a wrong one. Pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..apigateway.connection_ids import has_usual_form
from ..gateway.errors import BackendFailed, HttpFailure, NotAccepted, WhyNotAccepted
from ..gateway.plan_open import check_user
from ..gateway.values import HttpResponse
from ..http.codings import unknown_codings
from ..protocol.errors import ERROR_HEADER, BadToken, ExpiredToken
from ..protocol.events import Action
from ..protocol.json_faults import page_in
from ..protocol.quoting import printable
from ..slip.backend import read_opening, read_response
from . import fronts, redirects
from .target import Attempt


class Level(enum.StrEnum):
    RIGHT = "right"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`finding` completes the sentence "the backend ..."; `fix` is empty if all is right."""

    level: Level
    finding: str
    fix: str = ""


SEE_EVENTS = "The README has all events of a reply; slip_sockets.Connection writes them for you"
BY_THE_LIBRARY = "The library's parse_request checks all of that, and the adapters of the frameworks call it"

DROPPED = (
    "Let the server in front of it pass the header on, and put no other one in its place: with mod_wsgi by "
    "WSGIPassAuthorization On, with CGI and FastCGI under Apache by CGIPassAuth On, with CloudFront by an origin "
    "request policy that has Authorization"
)
COMPARED_STATUSES = (400, 401, 403, 422)
"""With these a backend may refuse a token, or a POST without one."""
_VARYING = re.compile(rb"[0-9A-Za-z_+/=-]{16,}|[0-9]+")
"""Request ids, times and nonces, which differ between two responses that are otherwise the same."""
_FIXES_OF_TOKENS = {
    BadToken.__name__: "The token is right, and arrived. Give your backend and this command the same JWT_SECRET",
    ExpiredToken.__name__: "The token is new, and arrived. Set the clocks of your backend and of this machine right",
}


def reply(attempt: Attempt, kind: str) -> Verdict:
    """Judge the response to an event of `kind`, sent with a valid token and body."""
    fault = _fault(attempt, kind)
    if fault is not None:
        return fault
    events = _events(attempt)
    return Verdict(Level.RIGHT, f"{len(events)} event{'' if len(events) == 1 else 's'}")


def opening(attempt: Attempt, connection_id: str, offered: Collection[str], *, may_refuse: bool) -> Verdict:
    """Judge the response to OPEN. With `may_refuse` a valid refusal is right too."""
    fault = _fault(attempt, "OPEN")
    if fault is not None:
        return fault
    events = _events(attempt)
    try:
        opening = read_opening(connection_id, offered, events)
        check_user(opening.user, has_usual_form)
    except BackendFailed as error:
        fix = "Name a user by an id of your application, not by the connection's"
        return Verdict(Level.WRONG, f"{error}: the client is refused", fix)
    except NotAccepted as error:
        if may_refuse and error.why is WhyNotAccepted.NO_ACCEPT:
            return Verdict(Level.RIGHT, "refused, as is allowed")
        return Verdict(Level.WRONG, f"the client is not let in: {error}", _FIXES_OF_OPENING[error.why])
    chosen = f", with subprotocol {opening.subprotocol}" if opening.subprotocol else ""
    who = f", as {printable(opening.user)}" if opening.user else ""
    return Verdict(Level.RIGHT, f"let in{who}{chosen}")


def token_refusal(attempt: Attempt) -> Verdict:
    """Judge the response to a POST with a bad token."""
    if attempt.failure is not None or 300 <= attempt.status < 400 or attempt.status in (404, 405):
        return _fault(attempt, "OPEN") or Verdict(Level.WRONG, "no response")
    if attempt.status == 403:
        return Verdict(Level.RIGHT, "refused")
    if attempt.status == 401:
        return Verdict(Level.RIGHT, "refused, with 401 instead of the protocol's 403")
    if 200 <= attempt.status < 300:
        finding = f"accepted, with {attempt.status}: anybody can pretend to be the gateway"
        fix = "Respond with 403 unless the token is signed with JWT_SECRET by HS256, for the audience WebSocketEvent"
        return Verdict(Level.WRONG, finding, f"{fix}, by slip-sockets, and not expired. {BY_THE_LIBRARY}")
    if attempt.status >= 500:
        fix = "Respond with 403: catch InvalidToken of parse_request, or use the adapter of your framework"
        return Verdict(Level.WRONG, f"refused by an error, {attempt.status}{excerpt(attempt)}", fix)
    finding = f"refused with {attempt.status} instead of 403{excerpt(attempt)}"
    return Verdict(Level.WARNING, finding, "Check the token before the body, and respond with 403")


def body_refusal(attempt: Attempt) -> Verdict:
    """Judge the response to a body that is not valid, sent with a valid token."""
    if attempt.failure is not None or 300 <= attempt.status < 400:
        return _fault(attempt, "TEXT") or Verdict(Level.WRONG, "no response")
    fix = "Respond with 400: catch InvalidEvents of parse_request, or use the adapter of your framework"
    if attempt.status >= 500:
        return Verdict(Level.WRONG, f"refused by an error, {attempt.status}{excerpt(attempt)}", fix)
    if 200 <= attempt.status < 300:
        return Verdict(Level.WARNING, f"accepted, with {attempt.status}", fix)
    return Verdict(Level.RIGHT, f"refused with {attempt.status}")


def tolerance(attempt: Attempt, kind: str) -> Verdict:
    """Judge the response to an unusual body, which a backend need not understand: it may refuse it, but not fail."""
    if 400 <= attempt.status < 500 and attempt.status not in (404, 405):
        return Verdict(Level.RIGHT, f"refused with {attempt.status}")
    return reply(attempt, kind)


def softened(verdict: Verdict) -> Verdict:
    """Make a warning of a problem that few applications can have."""
    return Verdict(Level.WARNING, verdict.finding, verdict.fix) if verdict.level is Level.WRONG else verdict


def with_pace(verdict: Verdict, attempt: Attempt, kind: str, slow_s: float) -> Verdict:
    """Make a warning of a right response that took longer than `slow_s`."""
    if verdict.level is not Level.RIGHT or attempt.seconds <= slow_s:
        return verdict
    waits = {"OPEN": "The client waits that long to be let in", "TEXT": "The text has no effect for that long"}
    fix = f"{waits.get(kind, 'The gateway waits that long')}. Respond first, do slow work afterwards, then publish"
    return Verdict(Level.WARNING, f"{verdict.finding}, but slow: {attempt.seconds:.1f} s", fix)


def may_lack_the_token(attempt: Attempt) -> bool:
    """Return whether the response may be a refusal for a token that did not arrive, and does not say so."""
    is_ours = ERROR_HEADER.lower() in attempt.headers
    is_asked = attempt.failure is None and attempt.status in COMPARED_STATUSES and not is_ours
    return is_asked and fronts.explain(attempt) is None


def compared(verdict: Verdict, attempt: Attempt, without: Attempt) -> Verdict:
    """Complete the verdict on a refusal by the response to the same POST without Authorization."""
    if without.failure is not None:
        return verdict
    if (attempt.status, _lasting(attempt)) == (without.status, _lasting(without)):
        finding = f"{verdict.finding}. It responds in the same way to that POST without the header Authorization"
        end = "" if verdict.fix.endswith("?") else "."
        fix = f"{verdict.fix}{end} Is the header dropped on its way, or ignored? {DROPPED}"
        return Verdict(verdict.level, finding, fix)
    finding = f"{verdict.finding}. The header Authorization arrives: without it, it responds with {without.status}"
    if without.status == attempt.status:
        finding += f"{excerpt(without)}, too, but in another way"
    return Verdict(verdict.level, finding, verdict.fix)


def _lasting(attempt: Attempt) -> bytes:
    return _VARYING.sub(b"", attempt.body)


def accepted_events(attempt: Attempt) -> Sequence[Action]:
    """Return the events of a response; an invalid one has none."""
    try:
        return _events(attempt) if attempt.failure is None else []
    except BackendFailed:
        return []


def is_valid(attempt: Attempt) -> bool:
    """Return whether the gateway would take the response."""
    return attempt.failure is None and _fault(attempt, "OPEN") is None


def _events(attempt: Attempt) -> Sequence[Action]:
    return read_response(HttpResponse(attempt.status, attempt.headers, attempt.body))


def _fault(attempt: Attempt, kind: str) -> Verdict | None:
    """Return why the gateway would not take the response, None if it would."""
    then = _consequence(kind, is_repeated=attempt.failure is not HttpFailure.TOO_LARGE)
    if (fault := fault_of_failure(attempt, then)) is not None:
        return fault
    try:
        _events(attempt)
    except BackendFailed as error:
        then = _consequence(kind, is_repeated=error.is_retryable)
        if 200 <= attempt.status < 300:
            return fault_of_body(attempt, then) or Verdict(Level.WRONG, f"{error}: {then}", SEE_EVENTS)
        if error.lacks_token:
            return Verdict(
                Level.WRONG, f"got no token: the header Authorization is dropped on its way: {then}", DROPPED
            )
        return _fault_of_status(attempt, kind, then)
    return None


def fault_of_failure(attempt: Attempt, then: str) -> Verdict | None:
    """Return why there is no whole response, None if there is. `then` is what happens to the event."""
    match attempt.failure:
        case HttpFailure.UNREACHABLE | HttpFailure.TLS | HttpFailure.INVALID_URL:
            return Verdict(Level.WRONG, f"cannot be reached any more: {attempt.reason}", "Did it end? See its log")
        case HttpFailure.NOT_HTTP:
            fix = "See what listens at the URL: is it the backend, or something in between?"
            return Verdict(Level.WRONG, f"sent a response that is not valid HTTP ({attempt.reason}): {then}", fix)
        case HttpFailure.BROKEN_OFF:
            finding = f"broke off without a whole response ({attempt.reason}): {then}"
            return Verdict(Level.WRONG, finding, "See the backend's log: did the worker end, or a proxy cut it short?")
        case HttpFailure.TIMEOUT:
            finding = f"hangs: no response within {attempt.seconds:.3g} s: {then}"
            return Verdict(
                Level.WRONG, finding, "See where the handler waits. Respond first, and do slow work afterwards"
            )
        case HttpFailure.TOO_LARGE:
            finding = f"responded with {attempt.reason}: {then}"
            return Verdict(Level.WRONG, finding, "Reply with fewer events; publish the others through the control API")
        case None:
            return None


def _consequence(kind: str, *, is_repeated: bool) -> str:
    """Return what happens to an event when its response is not valid."""
    if kind == "OPEN":
        return "the client is refused"
    if kind == "TEXT":
        return "the text is lost, and the client is not notified"
    if is_repeated:
        return f"the gateway repeats {kind} for 6 hours, then it becomes a dead letter"
    missed = "the client has left" if kind == "CLOSE" else "the channel has members, or none any more"
    return f"the gateway does not repeat {kind}, so your backend misses that {missed}"


def _fault_of_status(attempt: Attempt, kind: str, then: str) -> Verdict:
    if fix := _FIXES_OF_TOKENS.get(attempt.headers.get(ERROR_HEADER.lower(), "")):
        return Verdict(Level.WRONG, f"responded with {attempt.status}{excerpt(attempt)}: {then}", fix)
    same = "The token is right. Do your backend and this command have the same JWT_SECRET, and the same time?"
    fixes = {
        400: "The body is valid. If the library refused it, the response's body has the reason",
        401: f"{same} Does the route require a login?",
        403: f"{same} Is the route exempt from CSRF checks?",
    }
    otherwise = "To refuse a client, respond with 200 without ACCEPT" if kind == "OPEN" else "Respond with a 2xx status"
    return fault_of_status(attempt, then, fixes, otherwise)


def fault_of_status(attempt: Attempt, then: str, fixes: Mapping[int, str], otherwise: str) -> Verdict:
    """Judge a response by its status alone. `fixes` are those of a dialect for some statuses."""
    status = attempt.status
    if 300 <= status < 400:
        place, route = redirects.explain(attempt.url, attempt.headers.get("location", ""))
        return Verdict(Level.WRONG, f"redirects, with {status}, to {place}: {then}", route)
    if (front := fronts.explain(attempt)) is not None:
        return Verdict(Level.WRONG, f"{front[0]}: {then}", front[1])
    if status >= 500:
        otherwise = "See the backend's log for the error"
    fix = {**_FIXES_OF_STATUSES, **fixes}.get(status, otherwise)
    return Verdict(Level.WRONG, f"responded with {status}{excerpt(attempt)}: {then}", fix)


def fault_of_body(attempt: Attempt, then: str) -> Verdict | None:
    """Return why a body is something else than a dialect's, None if it may be that."""
    status = attempt.status
    if codings := unknown_codings(attempt.headers.get("content-encoding", "")):
        named = ascii(", ".join(codings)[:40])[1:-1]
        finding = f"responded with {status} and a body with Content-Encoding {named}, which was not asked for: {then}"
        fix = "The gateway accepts gzip and deflate, as its Accept-Encoding says. Let the backend or its proxy heed it"
        return Verdict(Level.WRONG, finding, fix)
    if (front := fronts.explain(attempt)) is not None:
        return Verdict(Level.WRONG, f"{front[0]}: {then}", front[1])
    if page := page_in(attempt.body):
        finding = f"responded with {status} and {page} instead of events: {then}"
        fix = "Point TARGET_URL at the route that takes the gateway's POSTs. Does a login or a proxy respond?"
        return Verdict(Level.WRONG, finding, fix)
    return None


_FIXES_OF_STATUSES = {
    404: "There is no such route. Point TARGET_URL at the route that takes the gateway's POSTs",
    405: "The route takes no POST. Make it take POST, or point TARGET_URL at the route that does",
    413: "Allow bodies of 1 MiB: a text has up to 128 KB, metadata up to 64 KiB, and JSON escapes make both longer",
    415: "Accept the Content-Type application/websocket-events",
    429: "Exempt the route from your rate limit",
}
_FIXES_OF_OPENING = {
    WhyNotAccepted.METADATA_FIRST: "Put ACCEPT first, as Connection.response() of the library does",
    WhyNotAccepted.OTHER_CONNECTION: "Reply with the connectionId of the event",
    WhyNotAccepted.SUBPROTOCOL: "Choose one that the client offers in Sec-WebSocket-Protocol, or none",
    WhyNotAccepted.NO_ACCEPT: (
        "Reply to OPEN with ACCEPT. If your backend needs a query, a cookie or another header to let a client in, give "
        "them with --query and --header"
    ),
}


def excerpt(attempt: Attempt) -> str:
    """Return the beginning of a response's body, if it is plain text."""
    if unknown_codings(attempt.headers.get("content-encoding", "")):
        return ""
    text = " ".join(attempt.body[:400].decode(errors="replace").split())
    if not text or text.startswith(("<", str(attempt.status))):  # HTML, or the status in words
        return ""
    shown = printable(text)
    return f" ({shown[:117]}...)" if len(shown) > 120 else f" ({shown})"
