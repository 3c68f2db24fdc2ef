"""The cases: each is a POST and the judge of its response."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..protocol.events import (
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
    Accept,
    Close,
    Occupied,
    Open,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Vacated,
    encode_metadata,
    encode_request,
)
from ..protocol.tokens import mint
from ..slip.backend import CONTENT_TYPE
from . import judge
from .judge import Verdict
from .target import Attempt
from .tokens import bad_tokens

OPENING, TEXTS, METADATA, OCCUPANCY, CLOSING, TOKENS, BODIES = (
    "Letting clients in",
    "Texts",
    "Metadata",
    "Channels with members",
    "Closing",
    "Tokens",
    "Bodies",
)


@dataclass(frozen=True, slots=True)
class Case:
    """`name` stays the same in later releases; `kind` is the event type on which the case depends.

    `hint` is the usual reason why the case fails. `query` is added to that of the backend's URL. `remember` is called
    with the response, so that later cases have what the gateway would have stored.
    """

    name: str
    group: str
    title: str
    kind: str
    headers: Mapping[str, str]
    body: bytes
    judge: Callable[[Attempt], Verdict]
    hint: str = ""
    query: str = ""
    remember: Callable[[Attempt], None] = lambda _: None


ANY_CLIENT = "Any client can connect like this: do not trust what it sends, and refuse it by a reply without ACCEPT"
UTF_8 = "It must stay UTF-8 all the way; MySQL needs utf8mb4 for it"
NOT_YOURS = "A client may send text that is not JSON, or JSON of another form: catch the error, and check the types"
NOT_STORED = (
    "The gateway sends the metadata that set_metadata stored last, and null if nothing was stored: after "
    "set_metadata(None), or when it has forgotten the connection; then it does not know its user either"
)
OCCUPANCY_HINT = "It comes only with OCCUPANCY_EVENTS=true, and then at least once: a second one must do no harm"
HINTS = {
    "open-query": ANY_CLIENT,
    "open-long-query": ANY_CLIENT,
    "open-headers": ANY_CLIENT,
    "open-bare": "Not every client sends each header or value: have a default",
    "open-ipv6": "An address may be an IPv6 address",
    "open-subprotocols": "Choose an offered one with accept(subprotocol=...), or choose none",
    "text-empty": "A client may send the empty text",
    "text-largest": "A text of the largest size is too large to be published with anything added: cut it first",
    "text-largest-emoji": "131,072 is a number of bytes, not of characters: cut by bytes",
    "text-largest-escaped": "In JSON it is six times as long: allow bodies of 1 MiB",
    "text-nul": "PostgreSQL and many C libraries refuse NUL: remove it, or refuse the text",
    "text-emoji": UTF_8,
    "text-right-to-left": UTF_8,
    "text-combining": UTF_8,
    "text-json": NOT_YOURS,
    "text-broken-json": NOT_YOURS,
    "text-json-null": NOT_YOURS,
    "text-json-number": NOT_YOURS,
    "text-json-deep": "json.loads raises RecursionError: catch that besides ValueError",
    "metadata-null": NOT_STORED,
    "occupied": OCCUPANCY_HINT,
    "occupied-again": OCCUPANCY_HINT,
    "vacated": OCCUPANCY_HINT,
    "close-again": "A CLOSE comes at least once: a second one must do no harm",
    "close-unknown": "code and reason are None if the gateway does not know them",
    "close-null": NOT_STORED,
}


ODD_QUERY = {"": [""], "name": [""], "twice": ["1", "2"], "☕": ["\u0645\u0631\u062d\u0628\u0627"], "nul": ["\0"]}
ODD_HEADERS = {"X-Empty": "", "X-Latin": "caf\u00e9 \u00ff", "X-Long": "x" * 8_000, "Cookie": "a=b; =; ;;"}
ODD_TEXTS = {
    "plain": ("hello", "hello"),
    "empty": ("the empty text", ""),
    "blank": ("only white space", " \t\r\n\u00a0"),
    "largest": ("128 KB, the largest", "x" * MAX_TEXT_BYTES),
    "largest-emoji": ("128 KB of emoji", "\N{HOT BEVERAGE}\ufe0f" * (MAX_TEXT_BYTES // 6)),
    "largest-escaped": ("128 KB of control characters", "\x01" * MAX_TEXT_BYTES),
    "nul": ("NUL and other control characters", "a\0b\x01\x1b[2J\x7f\ufeff"),
    "emoji": ("emoji of several code points", "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa"),
    "right-to-left": ("right-to-left, with overrides", "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe\u202c"),
    "combining": ("a letter with 500 accents", "e" + "\u0301" * 500),
    "json": ("JSON that looks like a reply", '{"events": [{"type": "CLOSE", "connectionId": "x"}]}'),
    "broken-json": ("JSON that breaks off", '{"type": "say", "text": "'),
    "json-null": ("JSON's null", "null"),
    "json-number": ("a number too large", "9" * 400),
    "json-deep": ("brackets 50,000 deep", "[" * 50_000 + "]" * 50_000),
    "html": ("a script for a page", "<script>alert('\"`${1}`\"')</script>"),
    "format": ("templates", "{{7*7}} %s %(a)s {0.__class__} ${x} \\u0000 '; DROP TABLE x; --"),
}
"""Each with its title, by name."""


@dataclass(frozen=True, slots=True)
class SimulatedClient:
    """A connection, and what its client sends when it opens. `user` is who is at it, once ACCEPT has said it."""

    connection_id: str
    jwt_secret: str
    headers: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    user: str | None = None

    def default_metadata(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Sequence[str]] | None = None,
        ip: str = "",
    ) -> dict[str, Any]:
        """Return OPEN's metadata; `headers` and `query` are added to the client's own."""
        usual = {"Host": "sockets.example", "User-Agent": "slip-sockets check", "Sec-WebSocket-Version": "13"}
        return {
            "headers": {**usual, **self.headers, **(headers or {})},
            "ip": ip or "203.0.113.7",
            "query": {**self.query, **(query or {})},
        }

    def signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {mint('WebSocketEvent', self.jwt_secret)}", "Content-Type": CONTENT_TYPE}

    def body(self, metadata: Any, *events: SocketEvent) -> bytes:
        user = None if any(isinstance(event, Open) for event in events) else self.user
        return encode_request(self.connection_id, encode_metadata(metadata), events, user)

    def forgotten(self) -> SimulatedClient:
        """Return it as it is after the gateway has forgotten what ACCEPT said."""
        return replace(self, user=None)


def first_opening(client: SimulatedClient) -> Case:
    """The case on which all others depend."""
    body = client.body(client.default_metadata(), Open(client.connection_id))

    def verdict(attempt: Attempt) -> Verdict:
        return judge.opening(attempt, client.connection_id, (), may_refuse=False)

    return Case("open", OPENING, "a client connects", "OPEN", client.signed(), body, verdict)


def openings(client: SimulatedClient) -> Iterator[Case]:
    """Openings that any client can send. The backend may refuse them."""
    cases: tuple[tuple[str, str, dict[str, Any], tuple[str, ...]], ...] = (
        ("query", "odd values in its query", client.default_metadata(query=ODD_QUERY), ()),
        ("long-query", "a query of 8,000 characters", client.default_metadata(query={"name": ["x" * 8_000]}), ()),
        ("headers", "odd headers", client.default_metadata(headers=ODD_HEADERS), ()),
        ("bare", "no query and no headers", {"headers": {}, "ip": "203.0.113.7", "query": {}}, ()),
        ("ipv6", "an IPv6 address", client.default_metadata(ip="2001:db8::7"), ()),
        (
            "subprotocols",
            "subprotocols to choose from",
            client.default_metadata(headers={"Sec-WebSocket-Protocol": "check.v2, check.v1"}),
            ("check.v2", "check.v1"),
        ),
    )
    for name, title, metadata, offered in cases:
        body = client.body(metadata, Open(client.connection_id))

        def verdict(attempt: Attempt, offered: tuple[str, ...] = offered) -> Verdict:
            return judge.opening(attempt, client.connection_id, offered, may_refuse=True)

        full = f"open-{name}"
        yield Case(full, OPENING, f"a client with {title}", "OPEN", client.signed(), body, verdict, HINTS.get(full, ""))


def texts(client: SimulatedClient, metadata: Any) -> Iterator[Case]:
    """Texts that any accepted client can send. `metadata` is what the backend stored when it accepted the client."""
    for name, (title, data) in ODD_TEXTS.items():
        yield _event_case(client, f"text-{name}", TEXTS, title, metadata, Text(client.connection_id, data))


def odd_metadata(client: SimulatedClient) -> Iterator[Case]:
    """Metadata that the backend did not store: null comes if the gateway has none (any more)."""
    odd: dict[str, tuple[str, Any]] = {
        "null": ("null: nothing is stored", None),
        "empty": ("an empty object", {}),
        "list": ("a list", [1, "two", None]),
        "text": ("a text", "metadata"),
        "largest": ("64 KiB, the largest", "x" * (MAX_METADATA_BYTES - 2)),
    }
    for name, (title, metadata) in odd.items():
        yield _event_case(
            client.forgotten() if name == "null" else client,
            f"metadata-{name}",
            METADATA,
            title,
            metadata,
            Text(client.connection_id, "hello"),
            is_soft=True,
        )


def occupancy(client: SimulatedClient, metadata: Any, channel: str) -> Iterator[Case]:
    """What becomes of a channel that the client joins as its first member, and leaves as its last."""
    cases: dict[str, tuple[str, SocketEvent]] = {
        "occupied": ("the first member has come (OCCUPIED)", Occupied(channel)),
        "occupied-again": ("the same OCCUPIED again: it comes at least once", Occupied(channel)),
        "vacated": ("the last member has left (VACATED)", Vacated(channel)),
    }
    for name, (title, event) in cases.items():
        yield _event_case(client, name, OCCUPANCY, title, metadata, event, is_soft=True)


def closings(client: SimulatedClient, metadata: Any) -> Iterator[Case]:
    id_ = client.connection_id
    closes = {
        "plain": ("the client leaves", Close(id_, 1000, "")),
        "again": ("the same CLOSE again: it comes at least once", Close(id_, 1000, "")),
        "cut": ("the connection is cut", Close(id_, 1006, "")),
        "reason": ("the client gives a long reason", Close(id_, 4999, "\N{HOT BEVERAGE}" * 41)),
        "unknown": ("code and reason are not known", Close(id_)),
    }
    for name, (title, event) in closes.items():
        yield _event_case(client, f"close-{name}", CLOSING, title, metadata, event)
    close, forgotten = Close(id_, 1006, ""), client.forgotten()
    yield _event_case(forgotten, "close-null", CLOSING, "nothing is stored", None, close, is_soft=True)


def tokens(client: SimulatedClient, metadata: Any) -> Iterator[Case]:
    id_ = client.connection_id
    events: dict[str, SocketEvent] = {"OPEN": Open(id_), "TEXT": Text(id_, "hello"), "CLOSE": Close(id_, 1000, "")}
    for name, (title, authorization) in bad_tokens(client.jwt_secret).items():
        # Whether each event type is protected, the two commonest faults show.
        for kind, event in events.items() if name in ("missing", "wrong-key") else [("OPEN", events["OPEN"])]:
            headers = {"Content-Type": CONTENT_TYPE}
            if authorization is not None:
                headers["Authorization"] = authorization
            body = client.body(client.default_metadata() if kind == "OPEN" else metadata, event)
            full = f"token-{name}-{kind.lower()}"
            yield Case(full, TOKENS, f"{title}, on {kind}", kind, headers, body, judge.token_refusal)
    scheme, _, token = client.signed()["Authorization"].partition(" ")
    headers = {"Authorization": f"{scheme.lower()} {token}", "Content-Type": CONTENT_TYPE}
    body = client.body(metadata, Text(id_, "hello"))
    title = "a valid token, its scheme in lower case"
    yield Case("token-scheme", TOKENS, title, "TEXT", headers, body, lambda attempt: judge.reply(attempt, "TEXT"))


def bodies(client: SimulatedClient, metadata: Any) -> Iterator[Case]:
    id_ = client.connection_id
    event = {"type": "TEXT", "connectionId": id_, "data": "hello"}
    whole = {"connectionId": id_, "metadata": metadata, "events": [event]}
    whole |= {} if client.user is None else {"user": client.user}

    def case(name: str, title: str, body: object, verdict: Callable[[Attempt], Verdict]) -> Case:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Case(f"body-{name}", BODIES, title, "TEXT", client.signed(), raw, verdict)

    yield case("empty", "an empty body", b"", judge.body_refusal)
    yield case("no-json", "not JSON", b'{"connectionId', judge.body_refusal)
    yield case("no-utf8", "not UTF-8", b'{"connectionId": "\xff\xfe"}', judge.body_refusal)
    yield case("list", "a list", [], judge.body_refusal)
    yield case("no-events", "no events", {"connectionId": id_, "metadata": metadata}, judge.body_refusal)
    yield case(
        "wrong-type", "a TEXT with a number as data", whole | {"events": [event | {"data": 7}]}, judge.body_refusal
    )

    def unknown(attempt: Attempt) -> Verdict:
        return judge.tolerance(attempt, "TEXT")

    def valid(attempt: Attempt) -> Verdict:
        return judge.reply(attempt, "TEXT")

    def softly_valid(attempt: Attempt) -> Verdict:
        return judge.softened(judge.reply(attempt, "TEXT"))

    yield case("unknown-event", "an unknown event type", whole | {"events": [{"type": "WAVE"}]}, unknown)
    new = {"fromTheFuture": {"a": [1]}}
    yield case("unknown-fields", "unknown fields", {**whole, **new, "events": [event | new]}, valid)
    yield case("two-events", "two events in one body", whole | {"events": [event, event]}, softly_valid)
    yield case("no-event", "an empty list of events", whole | {"events": []}, softly_valid)


class SlipSuite:
    """All cases of SLIP for one client."""

    def __init__(self, client: SimulatedClient) -> None:
        self._client = client
        self._metadata: Any = client.default_metadata()
        self._channel: str | None = None

    def first(self) -> Case:
        return replace(first_opening(self._client), remember=self._remember)

    def is_valid(self, opened: Attempt) -> bool:
        return judge.is_valid(opened)

    def others(self) -> Iterator[Case]:
        client, metadata = self._client, self._metadata
        yield from openings(client)
        yield from texts(client, metadata)
        yield from odd_metadata(client)
        if self._channel is not None:
            yield from occupancy(client, metadata, self._channel)
        yield from closings(client, metadata)
        yield from tokens(client, metadata)
        yield from bodies(client, metadata)

    def _remember(self, opened: Attempt) -> None:
        """Keep what the gateway would send with later events, and the first channel that the client is a member of."""
        events = judge.accepted_events(opened)
        users = [event.user for event in events if isinstance(event, Accept)]
        self._client = replace(self._client, user=next(iter(users), None))
        for event in events:
            if isinstance(event, SetMetadata) and event.connection_id == self._client.connection_id:
                self._metadata = event.metadata
        joined = [event.channel for event in events if isinstance(event, Subscribe) and event.presence]
        self._channel = next(iter(joined), None)
        self._metadata = msgspec.json.decode(encode_metadata(self._metadata))


def _event_case(
    client: SimulatedClient,
    name: str,
    group: str,
    title: str,
    metadata: Any,
    event: SocketEvent,
    *,
    is_soft: bool = False,
) -> Case:
    kind = type(event).__name__.upper()

    def verdict(attempt: Attempt) -> Verdict:
        found = judge.reply(attempt, kind)
        return judge.softened(found) if is_soft else found

    hint = HINTS.get(name, "")
    return Case(name, group, title, kind, client.signed(), client.body(metadata, event), verdict, hint)
