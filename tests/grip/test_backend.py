"""The dialect for backends, case by case as Pushpin 1.36.0 does it where API Gateway can.

Longer than 400 lines, since it is one list of cases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jwt
import msgspec
import pytest

from slip_sockets.gateway.dialects import Opening, Reply
from slip_sockets.gateway.effects import Effect, NoteContentFilters
from slip_sockets.gateway.errors import BackendFailed, BackendFault, NotAccepted, WhyNotAccepted
from slip_sockets.gateway.values import Connect, HttpResponse
from slip_sockets.grip.backend import GripBackend
from slip_sockets.grip.framing import CONTENT_TYPE
from slip_sockets.grip.state import State
from slip_sockets.protocol.events import (
    Accept,
    Action,
    Close,
    CloseConnection,
    Open,
    SendText,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
)

from ..gateway.doubles import ME, SECRET, START

GRIP = GripBackend()
CONNECT = Connect(ME, {}, {}, None, ())
OPENED = State([], prefix="m:")


def control(**fields: object) -> bytes:
    content = b"c:" + json.dumps({name.replace("_", "-"): value for name, value in fields.items()}).encode()
    return b"TEXT %x\r\n%b\r\n" % (len(content), content)


def text(content: bytes) -> bytes:
    return b"TEXT %x\r\n%b\r\n" % (len(content), content)


def respond(body: bytes, status: int = 200, *, content_type: str = CONTENT_TYPE, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, {"content-type": content_type, **named}, body)


def reply_to(event: SocketEvent, response: HttpResponse, state: State = OPENED) -> Reply:
    return GRIP.reply(ME, state.encoded(), [event], response)


def reply(body: bytes, state: State = OPENED, **headers: str) -> Reply:
    return reply_to(Text(ME, "?"), respond(body, 200, **headers), state)


def open_with(body: bytes, **headers: str) -> Reply:
    return reply_to(Open(ME), respond(body, 200, **headers), State([]))


def stored(found: Reply) -> State:
    """Return the state that a reply has stored."""
    (metadata,) = [action.metadata for action in found.actions if isinstance(action, SetMetadata)]
    state = State.read(bytes(metadata))
    assert state is not None
    return state


def others(found: Reply) -> list[Effect]:
    return [action for action in found.actions if not isinstance(action, SetMetadata)]


# Requests

STRIPPED = (
    *("Upgrade", "Connection", "Keep-Alive", "Accept-Encoding", "Content-Encoding", "Transfer-Encoding", "Expect"),
    *("Accept", "Connection-Id", "Content-Length", "Content-Type", "Sec-WebSocket-Extensions"),
    *("Grip-Sig", "grip-feature", "Meta-User", "Grip_Sig", "META_USER"),
)


def request(events: list[SocketEvent], state: State) -> tuple[Mapping[str, str], bytes, str]:
    post = GRIP.request(ME, state.encoded(), events, secret=SECRET, now=START)
    assert post is not None
    return post.headers, post.body, post.query


def test_handshakes_headers_and_query_are_repeated_and_the_gateways_own_are_stripped() -> None:
    kept = {"host": "a.example", "user-agent": "x", "Cookie": "s=1", "Sec-WebSocket-Key": "k", "X-N": "gr\u00fc\u00df"}
    connect = Connect(ME, kept | dict.fromkeys(STRIPPED, "evil"), {"a": ["1", "2 &"], "b": [""]}, "203.0.113.7", ())
    post = GRIP.request(ME, GRIP.initial_metadata(connect), [Open(ME)], secret=SECRET, now=START)
    assert post is not None
    headers = dict(post.headers)
    signature = headers.pop("Grip-Sig")
    assert jwt.get_unverified_header(signature) == {"alg": "HS256", "typ": "JWT"}
    assert jwt.decode(signature, SECRET, ["HS256"], options={"verify_exp": False}) == {
        "exp": int(START) + 3600,
        "iss": "slip-sockets-gateway",
    }
    assert headers == {
        "Host": "a.example",
        "User-Agent": "x",
        "Cookie": "s=1",
        "Sec-WebSocket-Key": "k",
        "X-N": "gr\u00fc\u00df".encode().decode("latin-1"),
        "Sec-WebSocket-Extensions": "grip",
        "Grip-Feature": "filter:skip-self, filter:skip-users, filter:require-sub, filter:build-id, filter:var-subst",
        "Accept": CONTENT_TYPE,
        "Connection-Id": ME,
        "Content-Type": CONTENT_TYPE,
    }
    assert (post.query, post.body) == ("a=1&a=2%20%26&b=", b"OPEN\r\n")


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (Text(ME, "gr\u00fc\u00df"), b"TEXT 6\r\ngr\xc3\xbc\xc3\x9f\r\n"),
        (Text(ME, ""), b"TEXT\r\n"),
        (Text(ME, 'c:{"type":"detach"}'), b'TEXT 13\r\nc:{"type":"detach"}\r\n'),
        (Close(ME, 1000), b"CLOSE 2\r\n\x03\xe8\r\n"),
        (Close(ME, 4000, "bye"), b"CLOSE 5\r\n\x0f\xa0bye\r\n"),
        (Close(ME, 1001), b"CLOSE 2\r\n\x03\xe9\r\n"),
        (Close(ME, 1001, ""), b"CLOSE 2\r\n\x03\xe9\r\n"),
        (Close(ME, 1005, ""), b"CLOSE\r\n"),
        (Close(ME), b"CLOSE\r\n"),
        (Close(ME, 1001, "Going away"), b"DISCONNECT\r\n"),
        (Close(ME, 1006, ""), b"DISCONNECT\r\n"),
    ],
)
def test_events_are_framed_for_the_backend(event: SocketEvent, body: bytes) -> None:
    assert request([event], OPENED)[1] == body


def test_several_events_come_in_one_body_in_order() -> None:
    assert request([Text(ME, "a"), Text(ME, "b")], OPENED)[1] == b"TEXT 1\r\na\r\nTEXT 1\r\nb\r\n"


@pytest.mark.parametrize("metadata", [None, b"null", State([], is_detached=True).encoded(), b'{"headers":{},"ip":"1"}'])
def test_backend_hears_nothing_of_a_connection_that_is_detached_or_not_its_own(metadata: bytes | None) -> None:
    assert GRIP.request(ME, metadata, [Text(ME, "a")], secret=SECRET, now=START) is None


# Responses to OPEN


def test_opening_reply_accepts_with_the_backends_subprotocol() -> None:
    found = open_with(b"OPEN\r\n", sec_websocket_protocol="v2")
    assert found == Reply([Accept(ME, "v2")])
    assert GRIP.opening(CONNECT, found.actions) == Opening("v2", [])


def test_opening_reply_asks_for_all_that_follows_open() -> None:
    body = b"OPEN\r\n" + text(b"m:hi") + control(type="subscribe", channel="lobby") + b"CLOSE\r\n"
    found = open_with(body, sec_websocket_extensions="grip", set_meta_user="ada")
    assert others(found) == [Accept(ME), Subscribe(ME, "lobby"), SendText(ME, "hi"), CloseConnection(ME)]
    assert stored(found) == State([], prefix="m:", meta={"user": "ada"}, channels={"lobby": []})


@pytest.mark.parametrize(
    ("status", "client_status"), [(403, 403), (404, 404), (429, 429), (204, 502), (201, 502), (302, 502)]
)
def test_backend_refuses_with_any_other_status(status: int, client_status: int) -> None:
    with pytest.raises(NotAccepted) as error:
        reply_to(Open(ME), respond(b"", status), State([]))
    assert (error.value.why, error.value.client_status) == (WhyNotAccepted.REFUSED, client_status)


@pytest.mark.parametrize(
    ("response", "fault", "client_status", "problem"),
    [
        (respond(b"", 500), BackendFault.STATUS, 500, "responded with 500"),
        (respond(b"", 503), BackendFault.STATUS, 503, "responded with 503"),
        (respond(b""), BackendFault.INVALID_BODY, 502, "responded with no OPEN at the beginning"),
        (respond(text(b"m:a")), BackendFault.INVALID_BODY, 502, "responded with no OPEN at the beginning"),
        (
            respond(b"X\r\nOPEN\r\n"),
            BackendFault.INVALID_BODY,
            502,
            "responded with no OPEN at the beginning",
        ),
        (
            respond(b"OPEN"),
            BackendFault.INVALID_BODY,
            502,
            "responded with broken framing: events[0]: its line has no end",
        ),
        (
            respond(b"OPEN\r\n", content_type=f"{CONTENT_TYPE}; charset=utf-8"),
            BackendFault.INVALID_BODY,
            502,
            f"responded with a Content-Type other than {CONTENT_TYPE}",
        ),
        (
            respond(b"OPEN\r\n", content_type="Application/WebSocket-Events"),
            BackendFault.INVALID_BODY,
            502,
            f"responded with a Content-Type other than {CONTENT_TYPE}",
        ),
        (respond(b"OPEN\r\n" + bytes(10**6)), BackendFault.TOO_LARGE, 502, "responded with more than 1000000 bytes"),
    ],
)
def test_failing_backend_refuses_the_client(
    response: HttpResponse, fault: BackendFault, client_status: int, problem: str
) -> None:
    with pytest.raises(BackendFailed) as error:
        reply_to(Open(ME), response, State([]))
    assert (error.value.fault, error.value.client_status, error.value.problem) == (fault, client_status, problem)


def test_client_that_is_let_in_twice_is_cut_at_once() -> None:
    found = open_with(b"OPEN\r\n" + text(b"m:a") + b"OPEN\r\n")
    assert others(found) == [Accept(ME), CloseConnection(ME)]
    assert stored(found).is_detached


@pytest.mark.parametrize(
    ("extensions", "prefix"),
    [
        ("", None),
        ("foo", None),
        ("GRIP", None),
        ("grip", "m:"),
        ("foo, grip", "m:"),
        ('foo; x="a,b;\\"", grip; message-prefix=z', "z"),
        ('grip; message-prefix="p-"', "p-"),
        ('grip; message-prefix=""', ""),
        ("grip; message-prefix=", ""),
        ("grip; message-prefix", ""),
        (r'grip; message-prefix="\"\\"', '"\\'),
        ("grip;x=1;message-prefix=p", "p"),
        ("grip; message-prefix=a; message-prefix=m:", "m:"),
        ("grip; Message-Prefix=pi", "m:"),
        ('grip; message-prefix="p', None),
    ],
)
def test_extension_of_the_accepting_response_enables_grip(extensions: str, prefix: str | None) -> None:
    found = open_with(b"OPEN\r\n" + control(type="set-meta", name="x", value="y"), sec_websocket_extensions=extensions)
    assert (stored(found).prefix if prefix is not None else None) == prefix
    if prefix is None:
        assert [type(action) for action in found.actions] == [Accept, SendText]


def test_later_response_does_not_enable_grip() -> None:
    assert reply(text(b"m:a"), State([]), sec_websocket_extensions="grip").actions == [SendText(ME, "m:a")]


# Responses to what follows


@pytest.mark.parametrize(
    ("state", "body", "actions"),
    [
        (OPENED, b"", []),
        (OPENED, text(b"m:a") + text(b"m:"), [SendText(ME, "a"), SendText(ME, "")]),
        (OPENED, text(b"a") + b"TEXT\r\n", []),
        (OPENED, b"FOO 1\r\nx\r\n" + text(b"m:a") + b"text 3\r\nm:b\r\n", [SendText(ME, "a")]),
        (OPENED, text(b"m:\xff"), [SendText(ME, "\ufffd")]),
        (State([], prefix=""), text(b"m:a") + text(b"c:x") + b"TEXT\r\n", [SendText(ME, "m:a"), SendText(ME, "")]),
        (State([], prefix="c"), text(b"c:x") + text(b"cx"), [SendText(ME, "x")]),
        (State([]), text(b"m:a") + control(type="detach"), [SendText(ME, "m:a"), SendText(ME, 'c:{"type": "detach"}')]),
        (OPENED, text(b"m:a") + b"CLOSE\r\n" + text(b"m:b"), [SendText(ME, "a"), CloseConnection(ME)]),
        (OPENED, b"CLOSE 2\r\n\x03\xe8\r\n", [CloseConnection(ME)]),
        (OPENED, b"CLOSE 2\r\n\0\0\r\n", [CloseConnection(ME)]),
        (OPENED, b"CLOSE 1\r\nx\r\n", [CloseConnection(ME)]),
        (OPENED, text(b"m:" + bytes(128 * 1024)), [SendText(ME, "\0" * 128 * 1024)]),
    ],
)
def test_messages_in_a_response_are_sent(state: State, body: bytes, actions: list[Action]) -> None:
    assert reply(body, state) == Reply(actions)


def test_disconnect_cuts_the_connection_and_the_backend_hears_nothing_more() -> None:
    found = reply(text(b"m:a") + b"DISCONNECT\r\n" + text(b"m:b"))
    assert others(found) == [CloseConnection(ME)]
    assert stored(found).is_detached
    assert found.follow_up is None


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        (respond(b"", 404), BackendFault.STATUS),
        (respond(b"", 503), BackendFault.STATUS),
        (respond(b"", 204), BackendFault.STATUS),
        (respond(b"", content_type="text/plain"), BackendFault.INVALID_BODY),
        (respond(b"TEXT zz\r\n"), BackendFault.INVALID_BODY),
        (respond(b"OPEN\r\n"), BackendFault.INVALID_BODY),
        (respond(text(b"m:a") + b"OPEN\r\n"), BackendFault.INVALID_BODY),
        (respond(bytes(10**6 + 1)), BackendFault.TOO_LARGE),
        (respond(b"", set_meta_x="x" * 65_536), BackendFault.TOO_LARGE),
    ],
)
def test_failing_backend_ends_an_open_connection(response: HttpResponse, fault: BackendFault) -> None:
    with pytest.raises(BackendFailed) as error:
        reply_to(Text(ME, "?"), response)
    assert (error.value.fault, error.value.ends_connection, error.value.is_retryable) == (fault, True, False)


def test_answer_to_a_close_does_nothing() -> None:
    body = text(b"m:a") + control(type="subscribe", channel="x") + b"CLOSE 2\r\n\x03\xe8\r\n"
    assert reply_to(Close(ME, 1000), respond(body, set_meta_a="1")) == Reply([])


def test_set_meta_headers_come_back_as_meta_until_they_are_empty() -> None:
    state = State([], meta={"user": "ada", "room": "1"})
    found = reply(b"", state, set_meta_user="", set_meta_age="36")
    assert stored(found).meta == {"room": "1", "age": "36"}
    headers, _, _ = request([Text(ME, "")], stored(found))
    assert {name: value for name, value in headers.items() if name.startswith("Meta-")} == {
        "Meta-room": "1",
        "Meta-age": "36",
    }


def test_nothing_is_stored_where_nothing_changed() -> None:
    assert reply(text(b"m:a"), State([], prefix="m:", meta={"a": "1"}), set_meta_a="1").actions == [SendText(ME, "a")]


# Control messages


def test_subscriptions_are_the_difference_to_before() -> None:
    state = State([], prefix="m:", channels={"old": [], "both": []})
    body = b"".join(
        [
            control(type="subscribe", channel="new"),
            control(type="subscribe", channel="both"),
            control(type="subscribe", channel="brief"),
            control(type="unsubscribe", channel="brief"),
            control(type="unsubscribe", channel="old"),
            control(type="unsubscribe", channel="never"),
        ]
    )
    found = reply(body, state)
    assert others(found) == [Subscribe(ME, "new"), Unsubscribe(ME, "old")]
    assert stored(found).channels == {"both": [], "new": []}


@pytest.mark.parametrize(
    "content",
    [
        b'c: {"type":"subscribe","channel":"a"} ',
        b'c:\xef\xbb\xbf{"type":"subscribe","channel":"a"}',
        b'c:{"type":"subscribe","channel":"x","channel":"a","more":1}',
    ],
)
def test_control_message_is_any_json_that_pushpin_reads(content: bytes) -> None:
    assert others(reply(text(content))) == [Subscribe(ME, "a")]


def test_channel_with_the_name_of_a_pattern_is_a_channel() -> None:
    """As with Pushpin, whose names have no patterns."""
    for channel in ("a:*", "a:b:c:d:e:*", "$user:*"):
        assert others(reply(control(type="subscribe", channel=channel))) == [Subscribe(ME, channel)]


def test_channel_is_noted_with_the_first_filter_of_content_of_its_subscription() -> None:
    def subscribe(*filters: str) -> bytes:
        return control(type="subscribe", channel="c", filters=filters)

    note = NoteContentFilters("c")
    first = reply(subscribe("skip-users", "var-subst"))
    assert others(first) == [note, Subscribe(ME, "c")]
    assert others(reply(subscribe("build-id"), stored(first))) == []
    without = reply(subscribe(), stored(first))
    assert others(without) == []
    assert others(reply(subscribe("build-id"), stored(without))) == [note]


def test_meta_for_filters_is_apart_from_that_for_the_backend() -> None:
    state = State([], prefix="m:", user_meta={"gone": "x"})
    body = control(type="set-meta", name="user", value="ada") + control(type="set-meta", name="gone")
    found = reply(body, state)
    assert (stored(found).user_meta, stored(found).meta) == ({"user": "ada"}, {})


def test_detached_backend_gets_one_close_and_the_subscriptions_stay() -> None:
    state = State([], prefix="m:", channels={"a": []})
    found = reply(control(type="detach") + text(b"m:a"), state, set_meta_user="ada")
    assert others(found) == [SendText(ME, "a")]
    assert stored(found).is_detached
    assert stored(found).channels == {"a": []}
    assert found.follow_up is not None
    assert found.follow_up.events == [Close(ME)]
    post = GRIP.request(ME, found.follow_up.metadata, found.follow_up.events, secret=SECRET, now=START)
    assert post is not None
    assert (post.body, post.headers["Meta-user"]) == (b"CLOSE\r\n", "ada")


@pytest.mark.parametrize(
    "content",
    [
        b"c:",
        b"c:{",
        b"c:[]",
        b"c:\xff",
        b"c:" + b"[" * 10_000,
        b"c:{}",
        b'c:{"type":1}',
        b'c:{"type":"foo"}',
        b'c:{"type":"subscribe"}',
        b'c:{"type":"subscribe","channel":""}',
        b'c:{"type":"subscribe","channel":1}',
        b'c:{"type":"subscribe","channel":"a","filters":"skip-self"}',
        b'c:{"type":"subscribe","channel":"a","filters":[1]}',
        b'c:{"type":"unsubscribe"}',
        b'c:{"type":"set-meta"}',
        b'c:{"type":"set-meta","name":"","value":"x"}',
        b'c:{"type":"set-meta","name":"x","value":1}',
        b'c:{"type":"set-meta","name":"x","value":null}',
        b'c:{"type":"subscribe","channel":"a"} x',
        b'c:[{"type":"subscribe","channel":"a"}]',
        b'c:{"type":"Subscribe","channel":"a"}',
        b'c:{"type":"session"}',
        b'c:{"type":"flush-delayed"}',
    ],
)
def test_malformed_control_messages_are_ignored(content: bytes) -> None:
    assert reply(text(content)) == Reply([])


# What API Gateway cannot do


@pytest.mark.parametrize(
    ("body", "headers", "skipped"),
    [
        (b"BINARY 3\r\nm:a\r\n", {}, "BINARY: API Gateway sends texts only"),
        (b"PING\r\n", {}, "PING: API Gateway sends texts only"),
        (b"PONG\r\n", {}, "PONG: API Gateway sends texts only"),
        (b"CLOSE 2\r\n\x0f\xa0\r\n", {}, "the code of a CLOSE: the client sees 1000"),
        (text(b"m:" + bytes(128 * 1024 + 1)), {}, "a text of more than 131072 bytes"),
        (b"", {"keep-alive-interval": "601"}, "Keep-Alive-Interval after more than 600 s: it is after 600 s"),
        (
            control(type="keep-alive", content="x", timeout=900),
            {},
            "keep-alive after more than 600 s: it is after 600 s",
        ),
        (
            control(type="send-delayed", content="x", message_type="ping"),
            {},
            "send-delayed of another type: API Gateway sends texts only",
        ),
        (control(type="x" * 16_384), {}, "a control message of more than 16384 bytes"),
        (
            control(type="subscribe", channel="x" * 1_025),
            {},
            "a subscription: channel: SUBSCRIBE needs 1 to 1024 bytes of UTF-8, got 1025",
        ),
        (
            b"".join(control(type="subscribe", channel=str(number)) for number in range(21)),
            {},
            "a subscription to more than 20 channels",
        ),
        (
            control(type="subscribe", channel="x", filters=["a", "var-subst"]),
            {},
            "a filter of another name: messages are sent as they are",
        ),
    ],
)
def test_what_cannot_be_done_is_noted_once_for_a_connection(body: bytes, headers: dict[str, Any], skipped: str) -> None:
    response = HttpResponse(200, {"content-type": CONTENT_TYPE, **headers}, body)
    first = GRIP.reply(ME, OPENED.encoded(), [Text(ME, "?")], response)
    assert first.skipped == (skipped,)
    again = GRIP.reply(ME, stored(first).encoded(), [Text(ME, "?")], response)
    assert again.skipped == ()


def test_headers_that_pushpin_sends_in_the_101_are_noted() -> None:
    found = open_with(b"OPEN\r\n", set_cookie="a=1", x_frame_options="DENY", date="now", x_room="1")
    assert found.skipped == ("headers of the 101 other than the subprotocol: set-cookie, x-room",)


def test_subscriptions_to_twenty_channels_are_made() -> None:
    found = reply(b"".join(control(type="subscribe", channel=f"{number:02}") for number in range(21)))
    assert others(found) == [Subscribe(ME, f"{number:02}") for number in range(20)]


def test_state_is_json_that_a_connection_can_store() -> None:
    found = open_with(b"OPEN\r\n", sec_websocket_extensions="grip")
    assert msgspec.json.decode(stored(found).encoded()) == {"headers": [], "prefix": "m:"}
