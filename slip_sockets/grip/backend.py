"""How the gateway and a backend talk in GRIP: WebSocket-over-HTTP."""

from __future__ import annotations

import http
from collections.abc import Sequence

import msgspec

from ..gateway.dialects import BackendRequest, FollowUp, Opening, Reply, Tick
from ..gateway.effects import Effect, NoteContentFilters, StartTimer
from ..gateway.errors import BackendFailed, BackendFault, NotAccepted, WhyNotAccepted
from ..gateway.values import Connect, HttpResponse, Publication
from ..http.codings import unknown_codings
from ..protocol.events import (
    MAX_TEXT_BYTES,
    Accept,
    Close,
    CloseConnection,
    Occupied,
    Open,
    SendText,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
    Vacated,
)
from .content import filtered, filtered_channels
from .controls import CONTROL_PREFIX, apply_control
from .filters import subscriptions
from .framing import CONTENT_TYPE, BrokenFraming, Event, decode, encode
from .handshake import headers_for_the_client, initial_state, message_prefix, request_headers, set_meta
from .routing import Routing
from .state import State
from .timers import DELAYED, set_interval
from .tokens import grip_sig

MAX_RESPONSE_BYTES = 1_000_000
"""Largest body of a response that Pushpin takes."""

_NO_STATUS = 1005
_CUT = 1006
_GOING_AWAY = 1001
_NORMAL = (0, 1000)


class GripBackend:
    """A BackendProtocol."""

    may_repeat = False
    has_patterns = False

    def __init__(self, routing: Routing | None = None) -> None:
        self._routing = routing or Routing()

    def initial_metadata(self, connect: Connect) -> bytes:
        return initial_state(connect, self._routing).encoded()

    def request(
        self,
        connection_id: str,
        metadata: bytes | None,
        events: Sequence[SocketEvent],
        *,
        user: str | None = None,
        secret: str,
        now: float,
    ) -> BackendRequest | None:
        state = State.read(metadata)
        if state is None or state.is_detached or any(isinstance(event, Occupied | Vacated) for event in events):
            return None
        headers = request_headers(connection_id, state, grip_sig(secret, now), self._routing.host)
        return BackendRequest(headers, encode(map(_event, events)), state.query, state.path)

    def reply(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], response: HttpResponse
    ) -> Reply:
        state = State.read(metadata)
        if state is None:
            raise AssertionError("the backend is called only for a connection with a state")
        if events and isinstance(events[0], Open):
            return _opening_reply(connection_id, state, response)
        try:
            received = _read(response)
        except _InvalidResponse as error:
            raise BackendFailed(error.fault, error.problem, status=response.status, ends_connection=True) from error
        if any(isinstance(event, Close) for event in events):
            return Reply([])  # the connection has ended
        if any(event.type == "OPEN" for event in received):
            problem = "responded with OPEN to a connection that is open"
            raise BackendFailed(BackendFault.INVALID_BODY, problem, status=response.status, ends_connection=True)
        return _Reading(connection_id, state).reply(received, response)

    def tick(self, connection_id: str, metadata: bytes | None, timer_id: str) -> Tick | None:
        state = State.read(metadata)
        if state is None:
            return None
        name, timer = next(((name, each) for name, each in state.timers.items() if each.id == timer_id), ("", None))
        if timer is None:
            return None
        if timer.text is None:
            return None if state.is_detached else Tick(calls_backend=True, again_after_s=timer.after_s)
        text = SendText(connection_id, timer.text)
        if name != DELAYED:
            return Tick([text], again_after_s=timer.after_s, if_idle_s=timer.after_s if timer.if_idle else None)
        del state.timers[name]
        return Tick([SetMetadata(connection_id, msgspec.Raw(state.encoded())), text])

    def filtered(self, metadata: bytes | None, publication: Publication) -> str | None:
        state = State.read(metadata)
        return None if state is None else filtered(state, publication)

    def opening(self, connect: Connect, actions: Sequence[Effect]) -> Opening:
        accept, *others = actions
        if not isinstance(accept, Accept):
            raise AssertionError("a reply to OPEN begins with Accept, or was an error")
        return Opening(accept.subprotocol, others)


class _InvalidResponse(Exception):
    """A backend's response that has what it must not have, which is the text, or lacks something."""

    def __init__(self, fault: BackendFault, text: str) -> None:
        super().__init__(text)
        self.fault = fault
        self.problem = f"responded with {text}"


def _read(response: HttpResponse) -> list[Event]:
    """Return the events of a response. Raises _InvalidResponse."""
    status, body = response.status, response.body
    if status != http.HTTPStatus.OK:
        raise _InvalidResponse(BackendFault.STATUS, f"{status}")
    if response.headers.get("content-type") != CONTENT_TYPE:
        raise _InvalidResponse(BackendFault.INVALID_BODY, f"a Content-Type other than {CONTENT_TYPE}")
    if unknown_codings(response.headers.get("content-encoding", "")):
        raise _InvalidResponse(BackendFault.INVALID_BODY, "a Content-Encoding that it was not offered")
    if len(body) > MAX_RESPONSE_BYTES:
        raise _InvalidResponse(BackendFault.TOO_LARGE, f"more than {MAX_RESPONSE_BYTES} bytes")
    try:
        return decode(body)
    except BrokenFraming as error:
        raise _InvalidResponse(BackendFault.INVALID_BODY, f"broken framing: {error}") from error


def _opening_reply(connection_id: str, state: State, response: HttpResponse) -> Reply:
    status, headers = response.status, response.headers
    if status != http.HTTPStatus.OK and status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
        client_status = status if status >= http.HTTPStatus.BAD_REQUEST else http.HTTPStatus.BAD_GATEWAY
        problem = f"the backend refused it with {status}"
        raise NotAccepted(WhyNotAccepted.REFUSED, problem, client_status=client_status)
    try:
        received = _read(response)
        if not received or received[0].type != "OPEN":
            raise _InvalidResponse(BackendFault.INVALID_BODY, "no OPEN at the beginning")
    except _InvalidResponse as error:
        client_status = http.HTTPStatus.BAD_GATEWAY if status == http.HTTPStatus.OK else http.HTTPStatus(status)
        raise BackendFailed(error.fault, error.problem, status=status, client_status=client_status) from error
    reading = _Reading(connection_id, state)
    state.prefix = message_prefix(headers.get("sec-websocket-extensions", ""))
    if names := headers_for_the_client(headers):
        reading.skip("headers", f"headers of the 101 other than the subprotocol: {', '.join(names)[:200]}")
    later = received[1:]
    if any(event.type == "OPEN" for event in later):
        later = [Event("DISCONNECT")]  # Pushpin lets the client in, and cuts it at once
    return reading.reply(later, response, Accept(connection_id, headers.get("sec-websocket-protocol")))


class _Reading:
    """Reads the events of a valid response, and changes the state accordingly."""

    def __init__(self, connection_id: str, state: State) -> None:
        self._connection_id = connection_id
        self._state = state
        self._before = state.encoded()
        self._subscriptions_before = subscriptions(state)
        self._filtered_before = filtered_channels(state)
        self._timers_before = set(state.timers.values())
        self._actions: list[Effect] = []
        self._skipped: list[str] = []
        self._is_cut = False

    def skip(self, kind: str, text: str) -> None:
        """Note what cannot be done, once for each kind."""
        if kind not in self._state.logged:
            self._state.logged.append(kind)
            self._skipped.append(text)

    def reply(self, received: Sequence[Event], response: HttpResponse, accept: Accept | None = None) -> Reply:
        state, connection_id = self._state, self._connection_id
        set_meta(state, response.headers)
        if (interval := response.headers.get("keep-alive-interval")) is not None:
            set_interval(state, interval, self.skip)
        for event in received:
            self._read(event)
            if event.type in ("CLOSE", "DISCONNECT"):
                break
        first: list[Effect] = [] if accept is None else [accept]
        # Before the state has them: where they fail, the backend's next reply asks for them again.
        first += [NoteContentFilters(channel) for channel in sorted(filtered_channels(state) - self._filtered_before)]
        started = [timer for timer in state.timers.values() if timer not in self._timers_before]
        first += [StartTimer(connection_id, timer.id, timer.after_s) for timer in started]
        if (metadata := state.encoded()) != self._before:
            self._check_size(response)
            first.append(SetMetadata(connection_id, msgspec.Raw(metadata)))
        before, now = self._subscriptions_before, subscriptions(state)
        first += [Subscribe(connection_id, channel) for channel in sorted(now - before)]
        first += [Unsubscribe(connection_id, channel) for channel in sorted(before - now)]
        follow_up = None
        if state.is_detached and not self._is_cut:
            attached = msgspec.structs.replace(state, is_detached=False)
            follow_up = FollowUp(attached.encoded(), [Close(connection_id)])
        return Reply([*first, *self._actions], tuple(self._skipped), follow_up)

    def _read(self, event: Event) -> None:
        content = event.content or b""
        match event.type:
            case "TEXT":
                self._read_text(content)
            case "CLOSE":
                self._read_close(content)
            case "DISCONNECT":
                # Pushpin cuts the connection at once, and the backend hears nothing more.
                self._state.is_detached = self._is_cut = True
                self._actions = [CloseConnection(self._connection_id)]
            case "BINARY" | "PING" | "PONG" as kind:
                self.skip(kind, f"{kind}: API Gateway sends texts only")

    def _read_text(self, content: bytes) -> None:
        prefix = self._state.prefix
        if prefix is not None:
            if content.startswith(CONTROL_PREFIX):
                due = apply_control(content.removeprefix(CONTROL_PREFIX), self._state, self.skip)
                if due is not None:
                    self._actions.append(SendText(self._connection_id, due))
                return
            encoded_prefix = prefix.encode("latin-1")
            if not content.startswith(encoded_prefix):
                return
            content = content.removeprefix(encoded_prefix)
        text = content.decode(errors="replace")
        if len(text.encode()) > MAX_TEXT_BYTES:
            self.skip("text-size", f"a text of more than {MAX_TEXT_BYTES} bytes")
        else:
            self._actions.append(SendText(self._connection_id, text))

    def _read_close(self, content: bytes) -> None:
        if len(content) >= 2 and int.from_bytes(content[:2]) not in _NORMAL:
            self.skip("close-code", "the code of a CLOSE: the client sees 1000")
        self._actions.append(CloseConnection(self._connection_id))

    def _check_size(self, response: HttpResponse) -> None:
        if self._state.is_too_large:
            problem = "responded with more Set-Meta headers and channels than the gateway stores"
            raise BackendFailed(
                BackendFault.TOO_LARGE,
                problem,
                status=response.status,
                ends_connection=True,
                client_status=http.HTTPStatus.BAD_GATEWAY,
            )


def _event(event: SocketEvent) -> Event:
    match event:
        case Open():
            return Event("OPEN")
        case Text(data=data):
            return Event("TEXT", data.encode() or None)
        case Close(code=code, reason=reason):
            return _close(code, reason)
        case Occupied() | Vacated():
            raise AssertionError("GRIP has no events of channels")


def _close(code: int | None, reason: str | None) -> Event:
    """Return the CLOSE of a client that closed, or DISCONNECT where the connection was lost or reached a limit.

    API Gateway closes with 1001 and "Going away" itself; a browser that leaves a page gives no reason.
    """
    if code == _CUT or (code == _GOING_AWAY and (reason or "").lower() == "going away"):
        return Event("DISCONNECT")
    if code is None or code == _NO_STATUS:
        return Event("CLOSE")
    return Event("CLOSE", code.to_bytes(2) + (reason or "").encode())
