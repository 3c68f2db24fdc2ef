from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from werkzeug.datastructures import Headers as WerkzeugHeaders

from slip_sockets import (
    BadToken,
    Close,
    Connection,
    ExpiredToken,
    InvalidEvents,
    Keep,
    MissingToken,
    Open,
    Presence,
    SlipSocketsPublisher,
    Text,
    error_response,
    parse_request,
)
from slip_sockets.protocol.events import BackendRequest, SocketEvent, encode_request
from slip_sockets.protocol.tokens import LEEWAY_S, LIFETIME_S, mint

SECRET = "a-secret-of-more-than-thirty-two-bytes"
ME = "L0SM9cOFvHcCIhw="
OTHER = "M0SM9cOFvHcCIhw="


@pytest.fixture
def publisher() -> SlipSocketsPublisher:
    return SlipSocketsPublisher(
        control_api="https://control.example/", jwt_secret=SECRET, previous_secrets=["previous"]
    )


def bearer(secret: str = SECRET, **options: Any) -> str:
    return f"Bearer {mint('WebSocketEvent', secret, **options)}"


def opening(*events: SocketEvent, metadata: Any = None) -> Connection:
    return Connection(BackendRequest(ME, metadata, list(events or (Open(ME),))))


def replied(connection: Connection) -> list[dict[str, Any]]:
    events = json.loads(connection.response().body)["events"]
    assert isinstance(events, list)
    return events


@pytest.mark.parametrize(
    "make_headers",
    [
        lambda value: {"authorization": value},
        lambda value: {"AUTHORIZATION": value},
        lambda value: WerkzeugHeaders({"Authorization": value}),
        lambda value: CIMultiDict({"Authorization": value}),
        lambda value: [("Host", "x"), ("Authorization", value)],
        lambda value: [(b"host", b"x"), (b"authorization", value.encode())],
    ],
)
def test_headers_of_any_framework_are_understood(publisher: SlipSocketsPublisher, make_headers: Any) -> None:
    body = encode_request(ME, b'{"user":"ada"}', [Text(ME, "hi")])
    connection = publisher.parse_request(make_headers(bearer()), body)
    assert (connection.connection_id, connection.metadata) == (ME, {"user": "ada"})
    assert connection.events == (Text(ME, "hi"),)
    assert not connection.is_opening


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda body: body.decode()])
def test_a_body_may_be_bytes_or_text(publisher: SlipSocketsPublisher, kind: Any) -> None:
    body = encode_request(ME, '"é"'.encode(), [Open(ME)])
    connection = publisher.parse_request({"Authorization": bearer()}, kind(body))
    assert connection.metadata == "é"
    assert connection.is_opening


def test_a_missing_a_bad_and_an_expired_token_are_different_errors(publisher: SlipSocketsPublisher) -> None:
    with pytest.raises(MissingToken):
        publisher.parse_request({}, b"no body")
    with pytest.raises(BadToken):
        publisher.parse_request({"Authorization": bearer("another")}, b"no body")
    with pytest.raises(ExpiredToken):
        publisher.parse_request({"Authorization": bearer(now=1_700_000_000)}, b"no body")


def test_a_token_for_the_control_api_is_refused(publisher: SlipSocketsPublisher) -> None:
    with pytest.raises(BadToken) as refusal:
        publisher.parse_request({"Authorization": f"Bearer {mint('ControlEvent', SECRET)}"}, b"no body")
    assert str(refusal.value) == "the token is for another audience"


def test_a_captured_token_is_refused_after_its_minute_and_the_leeway(publisher: SlipSocketsPublisher) -> None:
    body = encode_request(ME, None, [Open(ME)])
    minted_at = time.time() - LIFETIME_S - LEEWAY_S
    assert publisher.parse_request({"Authorization": bearer(now=minted_at + 10)}, body).is_opening
    with pytest.raises(ExpiredToken) as refusal:
        publisher.parse_request({"Authorization": bearer(now=minted_at - 2)}, body)
    assert str(refusal.value) == "the token has expired"


def test_a_request_is_parsed_with_the_secrets_alone() -> None:
    body = encode_request(ME, None, [Text(ME, "hi")])
    for secrets in ([SECRET], ["another", SECRET]):
        assert parse_request({"Authorization": bearer()}, body, secrets=secrets).texts == ["hi"]
    with pytest.raises(BadToken) as refusal:
        parse_request({"Authorization": bearer()}, body, secrets=["another"])
    assert error_response(refusal.value) == (
        b"the token is not signed with JWT_SECRET\n",
        403,
        {"Content-Type": "text/plain; charset=utf-8", "Slip-Sockets-Error": "BadToken"},
    )


def test_secrets_that_are_one_string_are_an_error_of_the_caller() -> None:
    """Each of its characters would be a secret."""
    with pytest.raises(ValueError, match=r"^secrets needs a list of secrets, got a string$"):
        parse_request({"Authorization": bearer("a")}, encode_request(ME, None, []), secrets=SECRET)


def test_a_previous_secret_is_accepted(publisher: SlipSocketsPublisher) -> None:
    assert publisher.parse_request({"Authorization": bearer("previous")}, encode_request(ME, None, [])).events == ()


@pytest.mark.parametrize(
    "body", [b"", b"{}", "\ud800", b'{"connectionId":"c","metadata":null,"events":[{"type":"X"}]}']
)
def test_a_body_that_breaks_the_protocol_is_refused(publisher: SlipSocketsPublisher, body: bytes | str) -> None:
    with pytest.raises(InvalidEvents):
        publisher.parse_request({"Authorization": bearer()}, body)


def test_a_response_without_a_decision_is_empty() -> None:
    response = opening().response()
    assert response == (b'{"events":[]}', 200, {"Content-Type": "application/json"})


def test_the_reply_is_in_the_contracts_order() -> None:
    connection = opening()
    connection.close()
    connection.set_metadata({"n": 1})
    connection.subscribe("room")
    connection.publish_text("room", "hi", message_id="m1")
    connection.send_text("you")
    connection.unsubscribe("room")
    connection.close_channel("old")
    connection.accept(subprotocol="v1")
    connection.set_metadata({"n": 2})
    assert replied(connection) == [
        {"type": "ACCEPT", "connectionId": ME, "subprotocol": "v1"},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"},
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi", "id": "m1"},
        {"type": "TEXT", "connectionId": ME, "data": "you"},
        {"type": "UNSUBSCRIBE", "connectionId": ME, "channel": "room"},
        {"type": "CLOSE_CHANNEL", "channelId": "old"},
        {"type": "SET_METADATA", "connectionId": ME, "metadata": {"n": 2}},
        {"type": "CLOSE", "connectionId": ME},
    ]


def test_a_message_can_be_kept_and_a_subscription_recover() -> None:
    connection = opening(Text(ME, "hi"))
    connection.publish_text("room", "hi", keep=Keep(count=100, seconds=3600))
    connection.subscribe("room", recover=True)
    connection.subscribe("room", recover=True, since="k3J9:12", connection_id=OTHER)
    assert replied(connection) == [
        {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi", "keep": {"count": 100, "seconds": 3600}},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room", "recover": True},
        {"type": "SUBSCRIBE", "connectionId": OTHER, "channel": "room", "recover": True, "since": "k3J9:12"},
    ]


def test_accept_says_who_is_there_and_all_their_connections_are_reached() -> None:
    connection = opening(Text(ME, "hi"))
    connection.accept(user="ann")
    connection.send_to_user("ann", "hi", message_id="m1", keep=Keep(count=100, seconds=3600))
    connection.close_user("ann", except_connection_id=ME)
    connection.close_user("bob")
    connection.close_channel("room", except_connection_id=ME)
    keep = {"count": 100, "seconds": 3600}
    assert replied(connection) == [
        {"type": "ACCEPT", "connectionId": ME, "user": "ann"},
        {"type": "PUBLISH_TEXT", "channelId": "$user:ann", "data": "hi", "id": "m1", "keep": keep},
        {"type": "CLOSE_CHANNEL", "channelId": "$user:ann", "exceptConnectionId": ME},
        {"type": "CLOSE_CHANNEL", "channelId": "$user:bob"},
        {"type": "CLOSE_CHANNEL", "channelId": "room", "exceptConnectionId": ME},
    ]


@pytest.mark.parametrize("user", ["ann", None])
def test_a_post_says_who_is_there(publisher: SlipSocketsPublisher, user: str | None) -> None:
    body = encode_request(ME, b"null", [Text(ME, "hi")], user)
    assert publisher.parse_request({"Authorization": bearer()}, body).user == user


BAD_USERS: list[tuple[Any, str]] = [
    ("", "needs 1 to 128 bytes of UTF-8, got 0"),
    ("é" * 65, "needs 1 to 128 bytes of UTF-8, got 130"),
    (7, "needs a string, got int"),
    ("\ud800", "needs text, got an unpaired surrogate, which UTF-8 cannot say"),
]


@pytest.mark.parametrize(("user", "problem"), BAD_USERS)
def test_it_is_the_user_that_is_at_fault_and_not_a_channel(user: Any, problem: str) -> None:
    connection = opening(Text(ME, "hi"))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("user: ACCEPT ", lambda: connection.accept(user=user)),
        ("user: ", lambda: connection.send_to_user(user, "hi")),
        ("user: ", lambda: connection.close_user(user)),
    ]
    for beginning, call in calls:
        with pytest.raises(InvalidEvents) as refusal:
            call()
        assert (str(refusal.value), refusal.value.field) == (f"{beginning}{problem}", "user")
    assert replied(connection) == []


def test_a_subscriber_can_be_a_member_and_show_something_of_itself() -> None:
    connection = opening(Text(ME, "hi"))
    connection.subscribe("room", presence=True)
    connection.subscribe("room", presence=Presence({"name": "Ann"}), recover=True)
    connection.subscribe("room", presence=False)
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}
    assert replied(connection) == [
        subscribe | {"presence": {}},
        subscribe | {"presence": {"info": {"name": "Ann"}}, "recover": True},
        subscribe,
    ]


@pytest.mark.parametrize("presence", [{"name": "Ann"}, "yes", Presence({1, object()}), Presence("x" * 1_023)])
def test_a_membership_that_the_gateway_would_refuse_is_refused_at_once(presence: Any) -> None:
    connection = opening(Text(ME, "hi"))
    with pytest.raises(InvalidEvents, match="presence"):
        connection.subscribe("room", presence=presence)
    connection.subscribe("room", presence=Presence("x" * 1_022))
    assert len(replied(connection)) == 1


def offering(value: str, name: str = "Sec-WebSocket-Protocol") -> bytes:
    metadata = {"headers": {"Host": "x", name: value}, "ip": "::1", "query": {}}
    return encode_request(ME, json.dumps(metadata).encode(), [Open(ME)])


@pytest.mark.parametrize(
    ("body", "offered", "chosen"),
    [
        (offering("slip.v1"), ["slip.v1"], "slip.v1"),
        (offering("slip.v1", "sec-websocket-protocol"), ["slip.v1"], "slip.v1"),
        (offering("chat.v2,slip.v1 , ,x"), ["chat.v2", "slip.v1", "x"], "slip.v1"),
        (offering("SLIP.v1"), ["SLIP.v1"], None),
        (offering("slip.v10"), ["slip.v10"], None),
        (offering(""), [], None),
        (offering("slip.v1", "X-Protocol"), [], None),
        (encode_request(ME, b"null", [Open(ME)]), [], None),
        (encode_request(ME, b'{"headers":null}', [Open(ME)]), [], None),
        (encode_request(ME, b'{"headers":{"Sec-WebSocket-Protocol":["slip.v1"]}}', [Text(ME, "")]), [], None),
    ],
)
def test_accept_chooses_the_subprotocol_that_the_application_wants_if_it_is_offered(
    publisher: SlipSocketsPublisher, body: bytes, offered: list[str], chosen: str | None
) -> None:
    def accepted(*arguments: str, subprotocol: str | None) -> Any:
        connection = publisher.parse_request({"Authorization": bearer()}, body, subprotocol=subprotocol)
        assert connection.offered_subprotocols == offered
        connection.accept(*arguments)
        (event,) = replied(connection)
        return event.get("subprotocol")

    assert accepted(subprotocol="slip.v1") == chosen
    assert accepted(subprotocol=None) is None
    assert accepted("chat.v2", subprotocol="slip.v1") == "chat.v2"


def test_another_connection_can_be_named() -> None:
    connection = opening(Text(ME, "hi"))
    connection.send_text("psst", connection_id=OTHER)
    connection.subscribe("room", connection_id=OTHER)
    connection.unsubscribe("room", connection_id=OTHER)
    assert [event["connectionId"] for event in replied(connection)] == [OTHER] * 3


@pytest.mark.parametrize(
    "record",
    [
        lambda connection: connection.subscribe(""),
        lambda connection: connection.unsubscribe("x" * 1025),
        lambda connection: connection.publish_text("$connection:x", "hi"),
        lambda connection: connection.publish_text("room", "hi", keep=Keep(0, 1)),
        lambda connection: connection.subscribe("room", since="\ud800"),
        lambda connection: connection.send_text("x" * 131_073),
        lambda connection: connection.set_metadata("x" * 65_535),
        lambda connection: connection.close_channel(""),
        lambda connection: connection.send_text("hi", connection_id="\ud800"),
        lambda connection: connection.accept(subprotocol="\ud800"),
        lambda connection: connection.send_text(b"hi"),
        lambda connection: connection.send_text("hi", connection_id=5),
    ],
)
def test_an_event_that_the_gateway_would_refuse_is_refused_at_once(record: Any) -> None:
    connection = opening(Text(ME, "hi"))
    with pytest.raises(InvalidEvents):
        record(connection)
    assert replied(connection) == []


def test_a_close_has_its_code() -> None:
    connection = opening(Close(ME, 1006, ""), metadata={"user": "ada"})
    assert connection.events == (Close(ME, 1006, ""),)
    assert repr(connection) == f"<Connection {ME} ['Close']>"
