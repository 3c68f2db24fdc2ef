"""Whatever a backend responds or a publisher posts: it is done, or refused with an error that is meant for it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slip_sockets.gateway.dialects import Batch, Reply
from slip_sockets.gateway.effects import NoteContentFilters, NotePatterns, Recover, StartTimer
from slip_sockets.gateway.errors import BackendFailed, NotAccepted
from slip_sockets.gateway.values import HttpRequest, HttpResponse, Publication
from slip_sockets.grip.backend import GripBackend
from slip_sockets.grip.filters import FILTERS
from slip_sockets.grip.framing import CONTENT_TYPE, Event, encode
from slip_sockets.grip.handshake import message_prefix
from slip_sockets.grip.publish import GripPublish
from slip_sockets.grip.state import State
from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import Close, Open, SetMetadata, SocketEvent, Text, check

from ..gateway.doubles import ME, SECRET, START

NAMES = st.sampled_from(["", "a", "lobby", "x" * 2_000, "\ud800", "$connection:a", "\0"])
VALUES = NAMES | st.none() | st.booleans() | st.integers() | st.floats() | st.lists(NAMES, max_size=3)


def controls(keys: list[str], types: list[str]) -> st.SearchStrategy[bytes]:
    fields: st.SearchStrategy[dict[str, Any]] = st.dictionaries(st.sampled_from(keys), VALUES)
    return st.builds(
        lambda kind, more: b"c:" + json.dumps({"type": kind, **more}).encode(errors="replace"),
        st.sampled_from(types),
        fields,
    )


CONTROLS = controls(
    ["channel", "filters", "name", "value", "timeout", "content"],
    ["subscribe", "unsubscribe", "detach", "set-meta", "keep-alive", "send-delayed", "session", "x"],
)
CONTENTS = st.none() | st.binary(max_size=40) | CONTROLS | st.builds(lambda text: b"m:" + text, st.binary(max_size=40))
EVENTS = st.builds(
    Event, st.sampled_from(["OPEN", "TEXT", "TEXT", "TEXT", "BINARY", "PING", "CLOSE", "DISCONNECT", "X"]), CONTENTS
)
BODIES = st.binary(max_size=60) | st.lists(EVENTS, max_size=8).map(encode)
OPENING_BODIES = BODIES.map(lambda body: b"OPEN\r\n" + body) | BODIES
HEADERS = st.dictionaries(
    st.sampled_from(["set-meta-user", "set-meta-", "keep-alive-interval", "sec-websocket-extensions", "set-cookie"]),
    st.text(st.characters(max_codepoint=255), max_size=20) | st.just("grip") | st.just('grip; message-prefix="'),
)
STATES = st.builds(
    State,
    st.just([("Host", "a.example")]),
    prefix=st.none() | st.sampled_from(["m:", "", "c"]),
    channels=st.dictionaries(st.sampled_from(["a", "lobby"]), st.lists(st.sampled_from([*FILTERS, "x"]))),
    user_meta=st.dictionaries(st.sampled_from(["user", "x", "id_format", "id_encoding"]), st.text(max_size=3)),
)
SOCKET_EVENTS: st.SearchStrategy[SocketEvent] = st.sampled_from([Open(ME), Text(ME, "hi"), Close(ME, 1000)])


@given(SOCKET_EVENTS, STATES, OPENING_BODIES, HEADERS, st.sampled_from([200, 200, 200, 204, 302, 403, 500]))
def test_any_response_is_done_or_refused(
    event: SocketEvent, state: State, body: bytes, headers: dict[str, str], status: int
) -> None:
    outcome = read_reply(state, event, HttpResponse(status, {"content-type": CONTENT_TYPE, **headers}, body))
    if not isinstance(outcome, Reply):
        assert isinstance(event, Open) or (isinstance(outcome, BackendFailed) and outcome.ends_connection)
        assert 400 <= outcome.client_status < 600
        return
    for action in outcome.actions:
        if not isinstance(action, StartTimer | NoteContentFilters | NotePatterns | Recover):
            check(action, with_patterns=False)
        if isinstance(action, SetMetadata):
            stored = State.read(bytes(action.metadata))
            assert stored is not None
            request = GripBackend().request(ME, stored.encoded(), [event], secret=SECRET, now=START)
            assert (request is None) is stored.is_detached


@given(STATES, st.text(alphabet="%()sI\\ax", max_size=12))
def test_any_text_is_filtered_or_left_out(state: State, data: str) -> None:
    filtered = GripBackend().filtered(state.encoded(), Publication("a", data))
    if "build-id" not in state.channels.get("a", ()) and "%" not in data:
        assert filtered == data


def read_reply(state: State, event: SocketEvent, response: HttpResponse) -> Reply | BackendFailed | NotAccepted:
    try:
        return GripBackend().reply(ME, state.encoded(), [event], response)
    except (BackendFailed, NotAccepted) as error:
        return error


JSON: st.SearchStrategy[Any] = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["action", "type", "content"]), inner),
    max_leaves=5,
)
MESSAGES = st.dictionaries(
    st.sampled_from(["action", "type", "content", "content-bin", "code", "reason", "content-filters"]),
    JSON | st.sampled_from(["send", "close", "hint", "text", "binary", "aGk="]),
)
FORMATS = st.dictionaries(st.sampled_from(["ws-message", "http-stream", "x"]), MESSAGES | JSON)
META = st.dictionaries(st.sampled_from(["sender", "skip_users", "require_sub"]), NAMES | JSON)
ITEMS = st.fixed_dictionaries(
    {"channel": NAMES | JSON},
    optional={
        "formats": FORMATS | JSON,
        "ws-message": MESSAGES | JSON,
        "meta": META | JSON,
        **dict.fromkeys(["id", "prev-id", "no-seq", "size"], JSON),
    },
)


@given(st.lists(ITEMS | JSON, max_size=3) | JSON)
def test_any_items_are_published_or_refused(items: Any) -> None:
    body = json.dumps({"items": items}).encode()
    outcome = read_items(body)
    if isinstance(outcome, Batch):
        assert len(outcome.events) <= len(items)
    else:
        assert str(outcome) == "Body is not valid JSON." or str(outcome).startswith("Invalid format: ")


def read_items(body: bytes) -> Batch | InvalidEvents:
    try:
        return GripPublish().decode(HttpRequest({}, lambda: body, path="/publish/"))
    except InvalidEvents as error:
        return error


@given(st.text())
def test_any_header_enables_grip_or_not(extensions: str) -> None:
    prefix = message_prefix(extensions)
    assert prefix is None or "grip" in extensions
