"""The cases of GRIP: what the gateway sends to a backend that speaks WebSocket-over-HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from ..apigateway.connection_ids import new_connection_id
from ..gateway.values import Connect
from ..grip.backend import GripBackend
from ..protocol.events import Close, Open, SocketEvent, Text
from . import grip_judge
from .cases import CLOSING, HINTS, ODD_HEADERS, ODD_QUERY, ODD_TEXTS, OPENING, TEXTS, TOKENS, Case
from .grip_judge import INJECTED, Sent
from .judge import Verdict
from .target import Attempt
from .tokens import bad_signatures

_SUBPROTOCOLS = ("check.v2", "check.v1")
_ANY_CLIENT = "Any client can connect like this: do not trust what it sends, and refuse it with a status such as 403"
_HINTS = {name: hint for name, hint in HINTS.items() if name.startswith("text-")} | {
    "open-query": _ANY_CLIENT,
    "open-long-query": _ANY_CLIENT,
    "open-headers": _ANY_CLIENT,
    "open-subprotocols": "Choose an offered one in the header Sec-WebSocket-Protocol, or choose none",
    "text-empty": "It comes as TEXT without a length",
    "text-several": "Texts that wait come in one request: handle all, while can_recv()",
    "text-line-breaks": "The length counts: do not split the body at line breaks",
    "close-no-code": "A CLOSE without a code has no content: close_code is None",
    "disconnect": "recv() of the libraries raises an error for DISCONNECT: catch it",
}


class GripSuite:
    """All cases of GRIP. Its client names the backend's own host, if `headers` have no other."""

    def __init__(self, url: str, secret: str, headers: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> None:
        host = urlsplit(url).netloc.rpartition("@")[2]
        usual = {"Host": host, "User-Agent": "slip-sockets check", "Sec-WebSocket-Version": "13"}
        self._secret = secret
        self._headers = {**usual, **headers}
        self._query = query
        self._id, self._state = self._new_connection()

    def first(self) -> Case:
        return self._opening("open", "a client connects", self._id, self._state, may_refuse=False)

    def is_valid(self, opened: Attempt) -> bool:
        return grip_judge.is_valid(Sent(self._id, self._state, [Open(self._id)]), opened)

    def others(self) -> Iterator[Case]:
        yield from self._openings()
        yield from self._texts()
        yield from self._closings()
        yield from self._signatures()

    def _openings(self) -> Iterator[Case]:
        """Openings that any client can send. The backend may refuse them."""
        offered = {"Sec-WebSocket-Protocol": ", ".join(_SUBPROTOCOLS)}
        openings = {
            "open-query": ("odd values in its query", self._new_connection(query=ODD_QUERY), ()),
            "open-long-query": ("a query of 8,000 characters", self._new_connection(query={"name": ["x" * 8_000]}), ()),
            "open-headers": ("odd headers", self._new_connection(headers=ODD_HEADERS), ()),
            "open-subprotocols": ("subprotocols to choose from", self._new_connection(headers=offered), _SUBPROTOCOLS),
        }
        for name, (title, connection, subprotocols) in openings.items():
            yield self._opening(name, f"a client with {title}", *connection, may_refuse=True, offered=subprotocols)

    def _texts(self) -> Iterator[Case]:
        """Texts that any accepted client can send."""
        odd = {f"text-{name}": (title, [data]) for name, (title, data) in ODD_TEXTS.items()}
        odd |= {
            "text-several": ("three texts in one request", ["one", "", "three"]),
            "text-line-breaks": ("line breaks, and what looks like events", ["a\r\nTEXT 5\r\nhello\r\nCLOSE\r\n"]),
            "text-control": ("what looks like a control message", [f'c:{{"type":"subscribe","channel":"{INJECTED}"}}']),
        }
        for name, (title, texts) in odd.items():
            if name != "text-largest-escaped":  # it is large in JSON alone
                events = [Text(self._id, data) for data in texts]
                yield self._event(name, TEXTS, title, events, grip_judge.reply_to_texts)

        if any(timer.text is None for timer in grip_judge.read_state(self._state).timers.values()):
            title = "no event, as after Keep-Alive-Interval"
            yield self._event("text-none", TEXTS, title, [], grip_judge.reply_to_texts)

    def _closings(self) -> Iterator[Case]:
        closes = {
            "close-plain": ("the client leaves", Close(self._id, 1000, "")),
            "close-reason": (
                "the client gives a code and a long reason",
                Close(self._id, 4999, "\N{HOT BEVERAGE}" * 41),
            ),
            "close-no-code": ("the client gives no code", Close(self._id)),
        }
        for name, (title, event) in closes.items():
            yield self._event(name, CLOSING, title, [event], grip_judge.reply_to_close)
        cut, title = [Close(self._id, 1006, "")], "the connection is cut (DISCONNECT)"
        yield self._event("disconnect", CLOSING, title, cut, grip_judge.reply_to_disconnect)

    def _signatures(self) -> Iterator[Case]:
        for name, (title, signature) in bad_signatures(self._secret).items():
            # Whether each event type is protected, the two commonest faults show.
            for kind in ("OPEN", "TEXT") if name in ("missing", "wrong-key") else ("OPEN",):
                connection_id, state = self._new_connection() if kind == "OPEN" else (self._id, self._state)
                event = Open(connection_id) if kind == "OPEN" else Text(connection_id, "hello")
                sent = Sent(connection_id, state, [event])
                full = f"token-{name}-{kind.lower()}"
                case = self._case(full, TOKENS, f"{title}, on {kind}", sent, grip_judge.signature_refusal)
                headers = {name: value for name, value in case.headers.items() if name != "Grip-Sig"}
                yield replace(case, headers=headers if signature is None else {**headers, "Grip-Sig": signature})

    def _opening(
        self,
        name: str,
        title: str,
        connection_id: str,
        state: bytes,
        *,
        may_refuse: bool,
        offered: Sequence[str] = (),
    ) -> Case:
        def verdict(sent: Sent, attempt: Attempt) -> Verdict:
            return grip_judge.opening(sent, attempt, offered, may_refuse=may_refuse)

        return self._case(name, OPENING, title, Sent(connection_id, state, [Open(connection_id)]), verdict)

    def _event(
        self,
        name: str,
        group: str,
        title: str,
        events: Sequence[SocketEvent],
        verdict: Callable[[Sent, Attempt], Verdict],
    ) -> Case:
        return self._case(name, group, title, Sent(self._id, self._state, events), verdict)

    def _case(
        self,
        name: str,
        group: str,
        title: str,
        sent: Sent,
        verdict: Callable[[Sent, Attempt], Verdict],
    ) -> Case:
        events = sent.events
        request = GripBackend().request(sent.connection_id, sent.state, events, secret=self._secret, now=time.time())
        assert request is not None  # noqa: S101 - `_remember` keeps no state that is detached

        def remember(attempt: Attempt) -> None:
            if sent.connection_id == self._id:
                self._remember(sent, attempt)

        return Case(
            name,
            group,
            title,
            type(events[0]).__name__.upper() if events else "",
            request.headers,
            request.body,
            lambda attempt: verdict(sent, attempt),
            _HINTS.get(name, ""),
            request.query,
            remember,
        )

    def _remember(self, sent: Sent, attempt: Attempt) -> None:
        """Keep what the gateway would store, so that Meta headers come back; but stay attached."""
        state = grip_judge.read_state(grip_judge.state_after(sent, attempt))
        state.is_detached = False
        state.channels.pop(INJECTED, None)
        self._state = state.encoded()

    def _new_connection(
        self, headers: Mapping[str, str] | None = None, query: Mapping[str, Sequence[str]] | None = None
    ) -> tuple[str, bytes]:
        """Return a connection's id, and its state."""
        connection_id = new_connection_id()
        named = {**self._headers, **(headers or {})}
        connect = Connect(connection_id, named, {**self._query, **(query or {})}, None, ())
        return connection_id, GripBackend().initial_metadata(connect)
