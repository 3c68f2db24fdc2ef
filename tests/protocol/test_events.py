"""Each type of event, as JSON and as a value.

Longer than 400 lines, since it is one list of events.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import (
    MAX_EVENTS,
    MAX_KEPT,
    MAX_KEPT_S,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_POLL_TIMEOUT_MS,
    MAX_TEXT_BYTES,
    Accept,
    Action,
    Close,
    CloseChannel,
    CloseConnection,
    History,
    Keep,
    Occupied,
    Open,
    PollForConnection,
    PublishText,
    SendText,
    SetMetadata,
    Subscribe,
    Text,
    Unsubscribe,
    Vacated,
    check,
    check_all,
    decode_control,
    decode_reply,
    decode_request,
    encode_events,
    encode_metadata,
    encode_request,
    message_size,
)
from slip_sockets.protocol.frames import MessageFrame, encode_frame
from slip_sockets.protocol.patterns import MAX_CHANNEL_BYTES
from slip_sockets.protocol.positions import EPOCH_LENGTH, Position

WIRE: list[tuple[Action, dict[str, Any]]] = [
    (SendText("c", "hi"), {"type": "TEXT", "connectionId": "c", "data": "hi"}),
    (CloseConnection("c"), {"type": "CLOSE", "connectionId": "c"}),
    (Subscribe("c", "room"), {"type": "SUBSCRIBE", "connectionId": "c", "channel": "room"}),
    (Unsubscribe("c", "room"), {"type": "UNSUBSCRIBE", "connectionId": "c", "channel": "room"}),
    (SetMetadata("c", {"a": [1, None]}), {"type": "SET_METADATA", "connectionId": "c", "metadata": {"a": [1, None]}}),
    (SetMetadata("c", None), {"type": "SET_METADATA", "connectionId": "c", "metadata": None}),
    (PublishText("room", "hi"), {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi"}),
    (PublishText("room", "hi", "m1"), {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi", "id": "m1"}),
    (
        PublishText("room", "hi", keep=Keep(count=100, seconds=3600)),
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi", "keep": {"count": 100, "seconds": 3600}},
    ),
    (
        Subscribe("c", "room", recover=True),
        {"type": "SUBSCRIBE", "connectionId": "c", "channel": "room", "recover": True},
    ),
    (
        Subscribe("c", "room", recover=True, since="k3J9:12"),
        {"type": "SUBSCRIBE", "connectionId": "c", "channel": "room", "recover": True, "since": "k3J9:12"},
    ),
    (
        Subscribe("c", "room", since="no position"),
        {"type": "SUBSCRIBE", "connectionId": "c", "channel": "room", "since": "no position"},
    ),
    (CloseChannel("room"), {"type": "CLOSE_CHANNEL", "channelId": "room"}),
    (CloseChannel("$user:ann"), {"type": "CLOSE_CHANNEL", "channelId": "$user:ann"}),
    (
        CloseChannel("$user:ann", except_connection_id="c"),
        {"type": "CLOSE_CHANNEL", "channelId": "$user:ann", "exceptConnectionId": "c"},
    ),
    (PublishText("$user:ann", "hi"), {"type": "PUBLISH_TEXT", "channelId": "$user:ann", "data": "hi"}),
]


@pytest.mark.parametrize(
    ("user", "problem"),
    [("", "needs 1 to 128 bytes of UTF-8, got 0"), ("é" * 65, "needs 1 to 128 bytes of UTF-8, got 130")]
    + [(user, "needs a name that is not * and does not end in :*") for user in ("*", "ann:*")],
)
def test_user_has_1_to_128_bytes_and_is_no_pattern(user: str, problem: str) -> None:
    accept = {"type": "ACCEPT", "connectionId": "c", "user": user}
    with pytest.raises(InvalidEvents) as refusal:
        decode_reply(json.dumps({"events": [accept]}).encode())
    assert str(refusal.value) == f"events[0].user: ACCEPT {problem}"


@pytest.mark.parametrize(("event", "wire"), WIRE)
def test_an_event_is_its_wire_form_and_back(event: Any, wire: dict[str, Any]) -> None:
    assert json.loads(encode_events([event])) == {"events": [wire]}
    assert decode_control(json.dumps({"events": [wire]}).encode()) == [event]
    assert decode_reply(json.dumps({"events": [wire]}).encode()) == [event]


HISTORIES: list[tuple[History, dict[str, Any]]] = [
    (History("room"), {"type": "HISTORY", "channelId": "room"}),
    (
        History("room", since="k3J9:12", limit=1000),
        {"type": "HISTORY", "channelId": "room", "since": "k3J9:12", "limit": 1000},
    ),
]


@pytest.mark.parametrize(("event", "wire"), HISTORIES)
def test_history_belongs_to_the_control_api(event: History, wire: dict[str, Any]) -> None:
    assert json.loads(encode_events([event])) == {"events": [wire]}
    assert decode_control(encode_events([event])) == [event]
    with pytest.raises(InvalidEvents) as refusal:
        decode_reply(encode_events([event]))
    assert str(refusal.value) == "events[0].type: unknown event type 'HISTORY'"


def test_accept_belongs_to_replies_and_poll_to_the_control_api() -> None:
    accept = b'{"events":[{"type":"ACCEPT","connectionId":"c","subprotocol":"v1"}]}'
    poll = b'{"events":[{"type":"POLL_FOR_CONNECTION","connectionId":"c","timeout":1.5}]}'
    assert decode_reply(accept) == [Accept("c", "v1")]
    assert decode_control(poll) == [PollForConnection("c", 1.5)]
    with pytest.raises(InvalidEvents) as refusal:
        decode_control(accept)
    assert str(refusal.value) == "events[0].type: unknown event type 'ACCEPT'"
    with pytest.raises(InvalidEvents) as refusal:
        decode_reply(poll)
    assert str(refusal.value) == "events[0].type: unknown event type 'POLL_FOR_CONNECTION'"


def test_a_request_to_the_backend_is_its_wire_form_and_back() -> None:
    body = encode_request("c", b'{"n":1}', [Open("c"), Text("c", ""), Close("c", 1000, ""), Close("c")])
    assert json.loads(body) == {
        "connectionId": "c",
        "metadata": {"n": 1},
        "events": [
            {"type": "OPEN", "connectionId": "c"},
            {"type": "TEXT", "connectionId": "c", "data": ""},
            {"type": "CLOSE", "connectionId": "c", "code": 1000, "reason": ""},
            {"type": "CLOSE", "connectionId": "c"},
        ],
    }
    request = decode_request(body)
    assert (request.connection_id, request.metadata) == ("c", {"n": 1})
    assert request.events == [Open("c"), Text("c", ""), Close("c", 1000, ""), Close("c")]
    assert decode_request(encode_request("c", None, [])).metadata is None


def test_events_of_a_channel_name_it_as_publishes_do() -> None:
    body = encode_request("c", None, [Occupied("room:tea"), Vacated("room:tea")], "ann")
    assert json.loads(body) == {
        "connectionId": "c",
        "metadata": None,
        "user": "ann",
        "events": [
            {"type": "OCCUPIED", "channelId": "room:tea"},
            {"type": "VACATED", "channelId": "room:tea"},
        ],
    }
    request = decode_request(body)
    assert (request.events, request.user) == ([Occupied("room:tea"), Vacated("room:tea")], "ann")
    with pytest.raises(InvalidEvents) as refusal:
        decode_request(b'{"connectionId":"c","metadata":null,"events":[{"type":"OCCUPIED"}]}')
    assert str(refusal.value) == "events[0].channelId: OCCUPIED needs this field, and it is missing"


TEXT = {"type": "TEXT", "connectionId": "c", "data": "hi"}
PUBLISH = {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi"}
JOIN = {"type": "SUBSCRIBE", "connectionId": "c", "channel": "room"}
HISTORY = {"type": "HISTORY", "channelId": "room"}

FAULTS: list[tuple[object, str, int | None, str | None]] = [
    ([TEXT, TEXT, TEXT | {"data": 3}], "events[2].data: TEXT needs a string, got int", 2, "data"),
    ([TEXT | {"connectionId": None}], "events[0].connectionId: TEXT needs a string, got null", 0, "connectionId"),
    (
        [TEXT, {"type": "TEXT", "connectionId": "c"}],
        "events[1].data: TEXT needs this field, and it is missing",
        1,
        "data",
    ),
    (
        [{"type": "SET_METADATA", "connectionId": "c"}],
        "events[0].metadata: SET_METADATA needs this field, and it is missing",
        0,
        "metadata",
    ),
    ([{"connectionId": "c"}], "events[0].type: an event needs this field, and it is missing", 0, "type"),
    ([{"type": "DANCE"}], "events[0].type: unknown event type 'DANCE'", 0, "type"),
    ([{"type": 5}], "events[0].type: an event needs a string", 0, "type"),
    ([TEXT, 3], "events[1]: an event needs an object, got int", 1, None),
    ({}, "events: the body needs an array, got object", None, "events"),
    (
        [{"type": "PUBLISH_TEXT", "channelId": "r", "data": "", "id": 7}],
        "events[0].id: PUBLISH_TEXT needs a string or null, got int",
        0,
        "id",
    ),
    (
        [{"type": "POLL_FOR_CONNECTION", "connectionId": "c", "timeout": "1"}],
        "events[0].timeout: POLL_FOR_CONNECTION needs a number, got str",
        0,
        "timeout",
    ),
    (
        [{"type": "POLL_FOR_CONNECTION", "connectionId": "c", "timeout": MAX_POLL_TIMEOUT_MS + 1}],
        "events[0].timeout: POLL_FOR_CONNECTION needs 0 to 25000 ms, got 25001.0",
        0,
        "timeout",
    ),
    (
        [TEXT, {"type": "SUBSCRIBE", "connectionId": "c", "channel": ""}],
        "events[1].channel: SUBSCRIBE needs 1 to 1024 bytes of UTF-8, got 0",
        1,
        "channel",
    ),
    (
        [{"type": "CLOSE_CHANNEL", "channelId": "$connection:x"}],
        "events[0].channelId: CLOSE_CHANNEL needs a name that does not begin with $connection:",
        0,
        "channelId",
    ),
    ([PUBLISH | {"keep": True}], "events[0].keep: PUBLISH_TEXT needs an object or null, got bool", 0, "keep"),
    (
        [PUBLISH | {"keep": {"count": 1}}],
        "events[0].keep.seconds: PUBLISH_TEXT needs this field, and it is missing",
        0,
        "keep",
    ),
    (
        [TEXT, PUBLISH | {"keep": {"count": 1.0, "seconds": 1}}],
        "events[1].keep.count: PUBLISH_TEXT needs an integer, got float",
        1,
        "keep",
    ),
    (
        [PUBLISH | {"keep": {"count": 0, "seconds": 1}}],
        "events[0].keep.count: PUBLISH_TEXT needs 1 to 1000, got 0",
        0,
        "keep",
    ),
    (
        [PUBLISH | {"keep": {"count": 1, "seconds": 604_801}}],
        "events[0].keep.seconds: PUBLISH_TEXT needs 1 to 604800, got 604801",
        0,
        "keep",
    ),
    (
        [JOIN | {"channel": "$user:ann"}],
        "events[0].channel: SUBSCRIBE needs a name that does not begin with $user:",
        0,
        "channel",
    ),
    (
        [{"type": "CLOSE_CHANNEL", "channelId": "room", "exceptConnectionId": 7}],
        "events[0].exceptConnectionId: CLOSE_CHANNEL needs a string or null, got int",
        0,
        "exceptConnectionId",
    ),
    ([JOIN | {"recover": None}], "events[0].recover: SUBSCRIBE needs true or false, got null", 0, "recover"),
    ([JOIN | {"since": 12}], "events[0].since: SUBSCRIBE needs a string or null, got int", 0, "since"),
    ([HISTORY | {"since": 12}], "events[0].since: HISTORY needs a string or null, got int", 0, "since"),
    ([HISTORY | {"limit": 1001}], "events[0].limit: HISTORY needs 1 to 1000, got 1001", 0, "limit"),
    (
        [HISTORY | {"limit": 10**400}],
        "events[0].limit: HISTORY needs 1 to 1000, got a number of more than 64 bits",
        0,
        "limit",
    ),
    (
        [HISTORY | {"channelId": ""}],
        "events[0].channelId: HISTORY needs 1 to 1024 bytes of UTF-8, got 0",
        0,
        "channelId",
    ),
]


@pytest.mark.parametrize(("events", "message", "index", "field"), FAULTS)
def test_a_fault_is_reported_with_its_place(events: object, message: str, index: int | None, field: str | None) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        decode_control(json.dumps({"events": events}).encode())
    assert (str(refusal.value), refusal.value.index, refusal.value.field) == (message, index, field)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON: it is empty"),
        (b"{}", "events: the body needs this field, and it is missing"),
        (b"[]", "body: the body needs an object, got array"),
        (b'{"events":[]} ?', "the body is not JSON: JSON is malformed: trailing characters (byte 15)"),
        (b'{"events":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "events[0]: an event needs an object, got array"),
        (b'{"events":[],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the body is nested too deeply"),
        (b'{"events":[{"type":"TEXT","data":1}]} ?', "events[0].data: an event needs a string, got int"),
        (b'{"events":[{"type":"TEXT","data":1},"\xff', "events[0].data: an event needs a string, got int"),
        (b'{"events":[{"type":"TEXT","data":1}],"events":[]}', "events[0].data: an event needs a string, got int"),
        (
            b'{"events":[{"type":"TEXT","data":1}],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "events[0].data: an event needs a string, got int",
        ),
        (
            b'{"events":[{"type":"SET_METADATA","connectionId":"c","metadata":1e999}]}',
            "events[0].metadata: SET_METADATA is not valid: Number out of range",
        ),
    ],
)
def test_a_body_that_is_not_a_batch_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        decode_control(body)
    assert str(refusal.value) == message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", '"\\ud800"'])
def test_metadata_that_breaks_json_is_refused(number: str) -> None:
    with pytest.raises(InvalidEvents):
        decode_reply(f'{{"events":[{{"type":"SET_METADATA","connectionId":"c","metadata":{number}}}]}}'.encode())


def test_an_unknown_field_is_ignored() -> None:
    assert decode_control(b'{"v":2,"events":[{"type":"CLOSE","code":"x","connectionId":"c"}]}') == [
        CloseConnection("c")
    ]


@pytest.mark.parametrize("make", [lambda name: Subscribe("c", name), lambda name: Unsubscribe("c", name), CloseChannel])
@pytest.mark.parametrize("letter", ["x", "ü", "😀"])
def test_a_channel_name_is_limited_in_bytes(make: Any, letter: str) -> None:
    longest = letter * (MAX_CHANNEL_BYTES // len(letter.encode()))
    check(make(longest))
    with pytest.raises(InvalidEvents):
        check(make(longest + "x"))


@pytest.mark.parametrize("make", [lambda text: SendText("c", text), lambda text: PublishText("room", text)])
def test_a_text_is_limited_in_bytes(make: Any) -> None:
    check(make(""))
    check(make("é" * (MAX_TEXT_BYTES // 2)))
    with pytest.raises(InvalidEvents) as refusal:
        check(make("é" * (MAX_TEXT_BYTES // 2) + "x"))
    assert str(refusal.value).endswith(" needs at most 131072 bytes of UTF-8, got 131073")


def test_a_message_id_is_limited_in_bytes() -> None:
    check(PublishText("room", "", "é" * 64))
    for wrong in ("", "é" * 64 + "x"):
        with pytest.raises(InvalidEvents):
            check(PublishText("room", "", wrong))


@pytest.mark.parametrize("field", ["keep", "since"])
def test_a_field_that_is_null_is_left_out(field: str) -> None:
    for event in (PUBLISH, JOIN, HISTORY):
        assert decode_control(json.dumps({"events": [event | {field: None}]}).encode()) == decode_control(
            json.dumps({"events": [event]}).encode()
        )


def test_what_is_kept_is_limited() -> None:
    check(PublishText("room", "", keep=Keep(1, 1)))
    check(PublishText("room", "", keep=Keep(MAX_KEPT, MAX_KEPT_S)))
    check(History("room", limit=MAX_KEPT))
    for wrong in (Keep(MAX_KEPT + 1, 1), Keep(1, MAX_KEPT_S + 1), Keep(0, 1), Keep(1, -1)):
        with pytest.raises(InvalidEvents):
            check(PublishText("room", "", keep=wrong))


@pytest.mark.parametrize("letter", ["x", "\0", '"', "é", "😀"])
@pytest.mark.parametrize("channel", ["r", "räume"])
def test_a_kept_message_is_limited_in_bytes_of_its_frame(channel: str, letter: str) -> None:
    """Beside the text it has the channel's name and a position; and some characters are longer in JSON."""
    position = str(Position("A" * EPOCH_LENGTH, 10**15 - 1))
    of_letter = len(json.dumps(letter, ensure_ascii=False).encode()) - 2
    spare = MAX_TEXT_BYTES - message_size(channel, "")
    longest = letter * (spare // of_letter) + "x" * (spare % of_letter)
    assert len(encode_frame(MessageFrame(channel, longest, position)).encode()) == MAX_TEXT_BYTES
    check(PublishText(channel, longest, keep=Keep(1, 1)))
    check(PublishText(channel, f"{longest}x"))
    with pytest.raises(InvalidEvents) as refusal:
        check(PublishText(channel, f"{longest}x", keep=Keep(1, 1)))
    assert str(refusal.value) == "data: PUBLISH_TEXT with keep needs at most 131072 bytes in its frame, got 131073"


STRANGE: Any = object()


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        (PublishText("r", "", keep=STRANGE), "keep: PUBLISH_TEXT needs a Keep, got object"),
        (PublishText("r", "", keep=Keep(STRANGE, 1)), "keep.count: PUBLISH_TEXT needs an integer, got object"),
        (PublishText("r", "", keep=Keep(1, True)), "keep.seconds: PUBLISH_TEXT needs an integer, got bool"),
        (PublishText("r", "", keep=Keep(1, 2**70)), "keep.seconds: PUBLISH_TEXT needs 1 to 604800, got a number of "),
        (Subscribe("c", "r", recover=STRANGE), "recover: SUBSCRIBE needs true or false, got object"),
        (Subscribe("c", "r", since=STRANGE), "since: SUBSCRIBE needs a string, got object"),
        (Subscribe("c", "r", since="\ud800"), "since: SUBSCRIBE needs text, got an unpaired surrogate"),
        (History("r", since="\ud800"), "since: HISTORY needs text, got an unpaired surrogate"),
        (History("r", limit=STRANGE), "limit: HISTORY needs an integer, got object"),
    ],
)
def test_what_python_callers_alone_can_pass_is_refused(event: Action, problem: str) -> None:
    with pytest.raises(InvalidEvents) as refusal:
        check(event)
    assert str(refusal.value).startswith(problem)


def test_text_that_utf_8_cannot_encode_is_refused() -> None:
    with pytest.raises(InvalidEvents) as refusal:
        check(SendText("c", "\ud800"))
    assert str(refusal.value) == "data: TEXT needs text, got an unpaired surrogate, which UTF-8 cannot say"


def test_metadata_is_limited_in_bytes_of_json() -> None:
    assert len(encode_metadata("x" * (MAX_METADATA_BYTES - 2))) == MAX_METADATA_BYTES
    with pytest.raises(InvalidEvents) as refusal:
        check(SetMetadata("c", "x" * (MAX_METADATA_BYTES - 1)))
    assert str(refusal.value) == "metadata: SET_METADATA needs at most 65536 bytes of JSON, got 65537"


def nested(depth: int) -> Any:
    value: Any = r"a \\ and \"[[{"
    for level in range(depth):
        value = [value, "["] if level % 2 else {"{": value}
    return value


def test_metadata_is_limited_in_depth() -> None:
    check(SetMetadata("c", nested(MAX_METADATA_DEPTH)))
    check(SetMetadata("c", [[{}], "[{"] * 1_000))
    with pytest.raises(InvalidEvents) as refusal:
        check(SetMetadata("c", nested(MAX_METADATA_DEPTH + 1)))
    assert str(refusal.value) == "metadata: SET_METADATA needs at most 100 arrays and objects within each other"


def test_metadata_that_is_not_json_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for wrong in (object(), endless, "\ud800"):
        with pytest.raises(InvalidEvents):
            encode_metadata(wrong)


def test_a_batch_is_limited() -> None:
    check_all([CloseConnection("c")] * MAX_EVENTS)
    with pytest.raises(InvalidEvents) as refusal:
        check_all([CloseConnection("c")] * (MAX_EVENTS + 1))
    assert str(refusal.value) == "events: a batch has at most 10000 events, got 10001"
    assert (refusal.value.index, refusal.value.field) == (None, "events")
