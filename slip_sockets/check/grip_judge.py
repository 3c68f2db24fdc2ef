"""Judges the response of a backend that speaks GRIP as the gateway does, and says how to fix a wrong one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from ..gateway.dialects import Reply
from ..gateway.errors import BackendFailed, NotAccepted
from ..gateway.values import HttpResponse
from ..grip.backend import MAX_RESPONSE_BYTES, GripBackend
from ..grip.controls import CONTROL_PREFIX, decode_control
from ..grip.framing import CONTENT_TYPE, BrokenFraming, Event, decode
from ..grip.state import State
from ..protocol.errors import ERROR_HEADER
from ..protocol.events import Close, Open, SetMetadata, SocketEvent
from .judge import Level, Verdict, excerpt, fault_of_body, fault_of_failure, fault_of_status
from .target import Attempt

INJECTED = "slip-sockets-check-injected"
"""A channel to which a client's text would subscribe it, if it were taken for the backend's."""

_KNOWN = ("OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT")
_SIGNED = (
    "The Grip-Sig is right. Has the backend's GRIP_URL JWT_SECRET as its key, and verify-iss=slip-sockets-gateway, as "
    "slip-sockets dev prints it?"
)
_FIXES = {
    400: "Does it accept the header Host, such as Django's ALLOWED_HOSTS? Give the one that clients name with --header",
    401: f"{_SIGNED} Does the route require a login? Give what it needs with --query and --header",
    403: f"{_SIGNED} Does it need a query or a header? Give them with --query and --header. Does it check for CSRF?",
    413: "Allow bodies of 1 MB",
}
_SEE_LIBRARIES = (
    "See docs/grip.md. The libraries gripcontrol, django-grip and @fanoutio/serve-grip write responses for you"
)

_PREFIX = "Begin each text for a client with the prefix, as send() of the libraries does"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: events of a connection with the state `state`. After Keep-Alive-Interval there may be none."""

    connection_id: str
    state: bytes
    events: Sequence[SocketEvent]

    @property
    def is_opening(self) -> bool:
        return any(isinstance(event, Open) for event in self.events)


def opening(sent: Sent, attempt: Attempt, offered: Collection[str], *, may_refuse: bool) -> Verdict:
    """Judge the response to OPEN. With `may_refuse` a status of 4xx is right too."""
    if may_refuse and attempt.failure is None and 400 <= attempt.status < 500:
        return Verdict(Level.RIGHT, f"refused with {attempt.status}, as is allowed")
    if (fault := _fault(sent, attempt)) is not None:
        return fault
    received = decode(attempt.body)
    if any(event.type == "OPEN" for event in received[1:]):
        return Verdict(Level.WRONG, "sent OPEN twice: the client is let in, and cut at once", "Send one OPEN, first")
    chosen = attempt.headers.get("sec-websocket-protocol", "")
    if chosen and chosen not in offered:
        finding = f"chose the subprotocol {chosen[:60]!r}, which the client did not offer: browsers close the socket"
        return Verdict(Level.WRONG, finding, "Choose one of the request's Sec-WebSocket-Protocol, or none")
    if (warning := _warning(sent, attempt)) is not None:
        return warning
    return Verdict(Level.RIGHT, "let in" + (f", with subprotocol {chosen}" if chosen else ""))


def reply_to_texts(sent: Sent, attempt: Attempt) -> Verdict:
    if (fault := _fault(sent, attempt)) is not None:
        return fault
    state = read_state(state_after(sent, attempt))
    if INJECTED in state.channels:
        finding = "sends a client's text back without a prefix, so that clients can send it control messages"
        return Verdict(Level.WRONG, finding, _PREFIX)
    if (warning := _warning(sent, attempt)) is not None:
        return warning
    count = len(decode(attempt.body))
    return Verdict(Level.RIGHT, f"{count} event{'' if count == 1 else 's'}")


def reply_to_close(sent: Sent, attempt: Attempt) -> Verdict:
    if (fault := _fault(sent, attempt)) is not None:
        return fault
    if not any(event.type == "CLOSE" for event in decode(attempt.body)):
        finding = "does not reply with CLOSE: behind Pushpin, the client is cut without a close frame"
        fix = "Reply to CLOSE with CLOSE: call close() of the context, with its close_code. Here it makes no difference"
        return Verdict(Level.WARNING, finding, fix)
    return Verdict(Level.RIGHT, "replied with CLOSE")


def reply_to_disconnect(sent: Sent, attempt: Attempt) -> Verdict:
    """Judge the response to DISCONNECT. It is ignored, but an error shows what the backend may have missed."""
    if (fault := _fault(sent, attempt)) is not None:
        return Verdict(Level.WARNING, fault.finding, fault.fix)
    return Verdict(Level.RIGHT, "valid")


def signature_refusal(sent: Sent, attempt: Attempt) -> Verdict:
    """Judge the response to a request with a bad Grip-Sig. GRIP leaves it to the application to refuse that."""
    if attempt.failure is not None or 300 <= attempt.status < 400:
        return _fault(sent, attempt) or Verdict(Level.WRONG, "no response")
    if attempt.status >= 500 and attempt.status != 501:  # 501 is serve-grip's own refusal
        fix = "Respond with 403 where the request is not signed"
        return Verdict(Level.WARNING, f"refused by an error, {attempt.status}{excerpt(attempt)}", fix)
    if not is_valid(sent, attempt):
        return Verdict(Level.RIGHT, f"refused with {attempt.status}")
    finding = "accepted: whoever reaches the backend can pretend to be the gateway"
    fix = (
        "The libraries leave it to you: respond with 403 unless request.grip.signed (django-grip) or validate_sig() "
        "(gripcontrol) is true. With serve-grip 2.0.0, await validateSig() of @fanoutio/grip: isSigned is true for any "
        "Grip-Sig. A backend that only the gateway can reach needs no check"
    )
    return Verdict(Level.WARNING, finding, fix)


def is_valid(sent: Sent, attempt: Attempt) -> bool:
    """Return whether the gateway would take the response, and let a client in."""
    return _fault(sent, attempt) is None


def state_after(sent: Sent, attempt: Attempt) -> bytes:
    """Return what the gateway would store of the connection after the response."""
    if not is_valid(sent, attempt):
        return sent.state
    stored = [action.metadata for action in _read(sent, attempt).actions if isinstance(action, SetMetadata)]
    return bytes(msgspec.json.encode(stored[0])) if stored else sent.state


def _read(sent: Sent, attempt: Attempt) -> Reply:
    response = HttpResponse(attempt.status, attempt.headers, attempt.body)
    return GripBackend().reply(sent.connection_id, sent.state, sent.events, response)


def read_state(encoded: bytes) -> State:
    """Return a state that is GRIP's own."""
    state = State.read(encoded)
    if state is None:
        raise AssertionError("the state is GRIP's own")
    return state


def _fault(sent: Sent, attempt: Attempt) -> Verdict | None:
    """Return why the gateway would not take the response, None if it would."""
    then = _consequence(sent)
    if (fault := fault_of_failure(attempt, then)) is not None:
        return fault
    try:
        _read(sent, attempt)
    except (BackendFailed, NotAccepted) as error:
        if ERROR_HEADER.lower() in attempt.headers:
            finding = f"responded with {attempt.status}{excerpt(attempt)}, as backends do that speak SLIP: {then}"
            return Verdict(Level.WRONG, finding, "Leave out --protocol grip, and BACKEND_PROTOCOL")
        if attempt.status != 200:
            otherwise = "Respond with 200" if not sent.is_opening else "To refuse a client, respond with 403"
            return fault_of_status(attempt, then, _FIXES if sent.is_opening else {413: _FIXES[413]}, otherwise)
        if (fault := fault_of_body(attempt, then)) is not None:
            return fault
        return Verdict(Level.WRONG, f"{error}: {then}", _fix(sent, attempt))
    return None


def _consequence(sent: Sent) -> str:
    if sent.is_opening:
        return "the client is refused"
    if any(isinstance(event, Close) for event in sent.events):
        return "the gateway does not repeat it, so your backend may miss that the client has left"
    return "the connection is closed, and your backend is not notified"


def _fix(sent: Sent, attempt: Attempt) -> str:
    """Return what to do about a response with status 200 that is not valid."""
    if attempt.headers.get("content-type", "") != CONTENT_TYPE:
        return f"Set Content-Type to exactly {CONTENT_TYPE}, without a charset"
    if len(attempt.body) > MAX_RESPONSE_BYTES:
        return "Reply with less; publish the rest"
    try:
        received = decode(attempt.body)
    except BrokenFraming:
        return "Each event is TYPE CRLF, or TYPE, a space, the number of bytes in hexadecimal, CRLF, the content, CRLF"
    if sent.is_opening and (not received or received[0].type != "OPEN"):
        return "Begin the reply to OPEN with OPEN, as accept() of the libraries does. To refuse, respond with 403"
    if not sent.is_opening and any(event.type == "OPEN" for event in received):
        return "Reply with OPEN to OPEN alone: call accept() if is_opening()"
    return _SEE_LIBRARIES


def _warning(sent: Sent, attempt: Attempt) -> Verdict | None:
    """Return what of a valid response has no effect, None if all has."""
    received = decode(attempt.body)
    prefix = read_state(state_after(sent, attempt)).prefix
    if prefix is None and sent.is_opening:
        finding = "let in, without GRIP: it can subscribe to no channel, and c: and m: go to the client as they are"
        return Verdict(Level.WARNING, finding, "Respond to OPEN with the header Sec-WebSocket-Extensions: grip")
    for event in received:
        if (ignored := _ignored(event, prefix)) is not None:
            what, fix = ignored
            return Verdict(Level.WARNING, f"sent {what}, which is ignored", fix)
        if event.type in ("CLOSE", "DISCONNECT"):
            break
    if skipped := _read(sent, attempt).skipped:
        finding = f"asks for what API Gateway cannot do: {skipped[0]}"
        return Verdict(Level.WARNING, finding, "docs/grip.md has a table of what is different")
    return None


def _ignored(event: Event, prefix: str | None) -> tuple[str, str] | None:
    """Return what is silently ignored of an event, and what to do."""
    content = event.content or b""
    if event.type not in _KNOWN:
        return f"an event of the unknown type {event.type[:40]!r}", _SEE_LIBRARIES
    if event.type != "TEXT" or prefix is None:
        return None
    if content.startswith(CONTROL_PREFIX):
        if decode_control(content.removeprefix(CONTROL_PREFIX)) is not None:
            return None
        return f"the control message {content[:60].decode(errors='replace')!r}", _SEE_LIBRARIES
    if not content.startswith(prefix.encode("latin-1")):
        return f"a text without the prefix {prefix!r}", _PREFIX
    return None
