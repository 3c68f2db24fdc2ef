"""What a backend's answer is worth, in the gateway's eyes, and how to mend what is wrong. Pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..errors import InvalidEvents
from ..events import AnswerEvent
from ..gateway.backend import MAX_ANSWER_BYTES, BackendFailed, read_answer
from ..gateway.plan import plan_open
from .exchange import Exchange, Failure


class Level(enum.StrEnum):
    RIGHT = "right"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`what` was seen, and, unless all is right, how to `mend` it."""

    level: Level
    what: str
    mend: str = ""


SEE_EVENTS = 'The README has all events under "What a backend can say"; slip_sockets.Connection writes them for you'
BY_THE_LIBRARY = "The library's parse_request checks all that, and the adapters of the frameworks call it"


def answer(exchange: Exchange, kind: str) -> Verdict:
    """Judge the answer to an event of `kind` whose token and body were right."""
    fault = _fault(exchange, kind)
    if fault is not None:
        return fault
    events = _events(exchange)
    return Verdict(Level.RIGHT, f"{len(events)} event{'' if len(events) == 1 else 's'}")


def opening(exchange: Exchange, connection_id: str, offered: Collection[str], *, may_refuse: bool) -> Verdict:
    """Judge the answer to OPEN. With `may_refuse` a client may be turned away, but in order."""
    fault = _fault(exchange, "OPEN")
    if fault is not None:
        return fault
    events = _events(exchange)
    try:
        plan = plan_open(connection_id, offered, events, b"null")
    except InvalidEvents as error:
        if may_refuse and not any(event.__struct_config__.tag == "ACCEPT" for event in events):
            return Verdict(Level.RIGHT, "turned away, in order")
        return Verdict(Level.WRONG, f"the client is not let in: {error}", _mend_of_opening(str(error)))
    chosen = f", with subprotocol {plan.subprotocol}" if plan.subprotocol else ""
    return Verdict(Level.RIGHT, f"let in{chosen}")


def token_refusal(exchange: Exchange) -> Verdict:
    """Judge the answer to a POST whose token is bad."""
    if exchange.failure is not None or 300 <= exchange.status < 400 or exchange.status in (404, 405):
        return _fault(exchange, "OPEN") or Verdict(Level.WRONG, "no answer")
    if exchange.status == 403:
        return Verdict(Level.RIGHT, "refused")
    if exchange.status == 401:
        return Verdict(Level.RIGHT, "refused, with 401 where the protocol has 403")
    if 200 <= exchange.status < 300:
        what = f"accepted, with {exchange.status}: anybody can pretend to be the gateway"
        mend = "Answer 403 unless the token is signed with JWT_SECRET by HS256, for the audience WebSocketEvent"
        return Verdict(Level.WRONG, what, f"{mend}, by slip-sockets, and not expired. {BY_THE_LIBRARY}")
    if exchange.status >= 500:
        mend = "Answer 403: catch InvalidToken of parse_request, or use the adapter of your framework"
        return Verdict(Level.WRONG, f"refused by an error, {exchange.status}{_excerpt(exchange)}", mend)
    what = f"refused with {exchange.status} instead of 403{_excerpt(exchange)}"
    return Verdict(Level.WARNING, what, "Look at the token before the body, and answer 403")


def body_refusal(exchange: Exchange) -> Verdict:
    """Judge the answer to a body that is none of the protocol's, with a right token."""
    if exchange.failure is not None or 300 <= exchange.status < 400:
        return _fault(exchange, "TEXT") or Verdict(Level.WRONG, "no answer")
    mend = "Answer 400: catch InvalidEvents of parse_request, or use the adapter of your framework"
    if exchange.status >= 500:
        return Verdict(Level.WRONG, f"refused by an error, {exchange.status}{_excerpt(exchange)}", mend)
    if 200 <= exchange.status < 300:
        return Verdict(Level.WARNING, f"accepted, with {exchange.status}", mend)
    return Verdict(Level.RIGHT, f"refused with {exchange.status}")


def tolerance(exchange: Exchange, kind: str) -> Verdict:
    """Judge the answer to what is unusual, and need not be understood: a refusal will do, an error will not."""
    if 400 <= exchange.status < 500 and exchange.status not in (404, 405):
        return Verdict(Level.RIGHT, f"refused with {exchange.status}")
    return answer(exchange, kind)


def softened(verdict: Verdict) -> Verdict:
    """Take what is wrong for something to look at: it needs what few applications do."""
    return Verdict(Level.WARNING, verdict.what, verdict.mend) if verdict.level is Level.WRONG else verdict


def with_pace(verdict: Verdict, exchange: Exchange, kind: str, slow_s: float) -> Verdict:
    """Note that an answer which is right otherwise took longer than `slow_s`."""
    if verdict.level is not Level.RIGHT or exchange.seconds <= slow_s:
        return verdict
    waits = {"OPEN": "The client waits so long to be let in", "TEXT": "All that follows from the text waits so long"}
    mend = f"{waits.get(kind, 'The gateway waits so long')}. Answer first, and do slow work afterwards: then publish"
    return Verdict(Level.WARNING, f"{verdict.what}, but slow: {exchange.seconds:.1f} s", mend)


def accepted_events(exchange: Exchange) -> Sequence[AnswerEvent]:
    """Return the events of an answer, none where it is not valid."""
    try:
        return _events(exchange) if exchange.failure is None else []
    except BackendFailed:
        return []


def is_answer(exchange: Exchange) -> bool:
    """Tell whether the gateway would take it."""
    return exchange.failure is None and _fault(exchange, "OPEN") is None


def _events(exchange: Exchange) -> Sequence[AnswerEvent]:
    return read_answer(exchange.status, exchange.body)


def _fault(exchange: Exchange, kind: str) -> Verdict | None:
    """Return what keeps the gateway from taking the answer, None where nothing does."""
    then = _consequence(kind, is_repeated=exchange.failure is not Failure.TOO_LARGE)
    match exchange.failure:
        case Failure.UNREACHABLE:
            return Verdict(Level.WRONG, f"cannot be reached any more: {exchange.reason}", "Has it ended? See its log")
        case Failure.BROKEN_OFF:
            what = f"broke off without a whole answer ({exchange.reason}): {then}"
            return Verdict(Level.WRONG, what, "See the backend's log: did the worker end, or a proxy cut it short?")
        case Failure.TIMEOUT:
            what = f"hangs: no answer within {exchange.seconds:.3g} s: {then}"
            return Verdict(Level.WRONG, what, "See where the handler waits. Answer first, and do slow work afterwards")
        case Failure.TOO_LARGE:
            what = f"answered with more than {MAX_ANSWER_BYTES} bytes: {then}"
            return Verdict(Level.WRONG, what, "Answer with fewer events; publish the rest through the control API")
        case None:
            pass
    try:
        _events(exchange)
    except BackendFailed as error:
        then = _consequence(kind, is_repeated=error.retryable)
        if 200 <= exchange.status < 300:
            return _fault_of_body(exchange, error, then)
        return _fault_of_status(exchange, kind, then)
    return None


def _consequence(kind: str, *, is_repeated: bool) -> str:
    """Return what becomes of an event that the backend did not take."""
    if kind == "OPEN":
        return "the client is refused"
    if kind == "TEXT":
        return "the text is lost, and the client is told nothing"
    if is_repeated:
        return "the gateway repeats CLOSE for 6 hours, then it goes to the dead-letter queue"
    return "the gateway does not repeat CLOSE, and nobody learns that the client has left"


def _fault_of_status(exchange: Exchange, kind: str, then: str) -> Verdict:
    status = exchange.status
    what = f"answered {status}{_excerpt(exchange)}: {then}"
    if 300 <= status < 400:
        where = exchange.headers.get("location", "")
        what = f"redirects, with {status}, to {where or 'nowhere'}: {then}"
        hint = "is a slash at the end missing, or https? Does a login stand before the route?"
        return Verdict(
            Level.WRONG, what, f"The gateway follows no redirect. Point TARGET_URL at the route itself: {hint}"
        )
    same = "The token is right. Is JWT_SECRET the same in the backend and here, and the time?"
    mends = {
        400: "The body is one of the gateway's. If the library refused it, the answer's body says why",
        401: f"{same} Does a login stand before the route?",
        403: f"{same} Is the route exempt from CSRF checks?",
        404: "There is no such route. Point TARGET_URL at the route that takes the gateway's POSTs",
        405: "The route takes no POST. Make it take POST, or point TARGET_URL at the one that does",
        413: "Allow bodies of 1 MiB: a text has up to 128 KB, metadata up to 64 KiB, and JSON escapes make both longer",
        415: "Take the Content-Type application/websocket-events",
        429: "Let the gateway through your rate limit",
    }
    otherwise = "See the backend's log for the error" if status >= 500 else "Answer a 2xx status"
    if kind == "OPEN" and status not in mends and status < 500:
        otherwise = "To turn a client away, answer 200 without ACCEPT"
    return Verdict(Level.WRONG, what, mends.get(status, otherwise))


def _fault_of_body(exchange: Exchange, error: BackendFailed, then: str) -> Verdict:
    status = exchange.status
    if exchange.body.lstrip().startswith(b"<"):
        what = f"answered {status} with a page of HTML instead of events: {then}"
        mend = "Point TARGET_URL at the route that takes the gateway's POSTs. Does a login or a proxy answer instead?"
        return Verdict(Level.WRONG, what, mend)
    return Verdict(Level.WRONG, f"{error}: {then}", SEE_EVENTS)


def _mend_of_opening(problem: str) -> str:
    if "SET_METADATA stands before" in problem:
        return "Put ACCEPT first; Connection.answer() of the library does"
    if "another connection" in problem:
        return "Answer with the connectionId of the event"
    if "subprotocol" in problem:
        return "Choose one that the client offers in Sec-WebSocket-Protocol, or none"
    need = "If it needs a query, a cookie or another header to let a client in, give them with --query and --header"
    return f"Answer OPEN with ACCEPT. {need}"


def _excerpt(exchange: Exchange) -> str:
    """Return the beginning of a plain text that came with a status."""
    text = " ".join(exchange.body[:400].decode(errors="replace").split())
    if not text or text.startswith(("<", str(exchange.status))):  # a page, or the status in words
        return ""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return f" ({printable[:117]}...)" if len(printable) > 120 else f" ({printable})"
