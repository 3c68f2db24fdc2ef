from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from slip_sockets import (
    Connection,
    InvalidToken,
    Members,
    Occupied,
    Presence,
    PublishText,
    Report,
    SendText,
    SlipSocketsPublisher,
    Vacated,
    error_response,
    parse_request,
)
from slip_sockets.protocol.events import Accept, SetMetadata, Subscribe
from slip_sockets.testing import (
    CONNECTION_ID,
    AsyncRecordingPublisher,
    ClientRefused,
    InvalidResponse,
    Posted,
    RecordingPublisher,
    Socket,
    record,
    signed_request,
)

SECRET = "a-secret-of-more-than-thirty-two-bytes"

Do = Callable[[Connection], object]


def application(do: Do) -> Callable[[Mapping[str, str], bytes], Posted]:
    """An application without a framework."""

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        try:
            connection = parse_request(headers, body, secrets=[SECRET])
        except InvalidToken as error:
            return Posted(error_response(error).status, error_response(error).body)
        result = do(connection)
        return result if isinstance(result, Posted) else Posted(200, connection.response().body)

    return post


def socket(do: Do, **options: Any) -> Socket:
    return Socket(application(do), jwt_secret=SECRET, **options)


def accept(connection: Connection) -> None:
    if connection.is_opening:
        connection.accept()


def test_a_socket_stores_what_the_gateway_stores() -> None:
    received: list[tuple[object, Any]] = []

    def do(connection: Connection) -> None:
        received.append((connection.events[0], connection.metadata))
        if connection.is_opening:
            connection.accept("chat.v1")
            connection.subscribe("tea")
            connection.subscribe("coffee")
            connection.set_metadata({"name": "Ada"})
        for data in connection.texts:
            connection.unsubscribe("coffee")
            connection.subscribe("other", connection_id="A" * 15 + "=")
            connection.send_text(data)

    visitor = socket(do)
    me = visitor.connection_id
    assert visitor.open(headers={"Cookie": "a=b"}, query={"q": ["1"]}, ip="::1", subprotocols=["chat.v1"]) == [
        Accept(me, "chat.v1"),
        Subscribe(me, "tea"),
        Subscribe(me, "coffee"),
        SetMetadata(me, {"name": "Ada"}),
    ]
    assert (visitor.is_open, visitor.subprotocol, visitor.channels) == (True, "chat.v1", {"tea", "coffee"})
    assert visitor.text("hi")[-1] == SendText(me, "hi")
    assert (visitor.metadata, visitor.channels) == ({"name": "Ada"}, {"tea"})
    visitor.close(1006, None)
    assert (visitor.is_open, visitor.channels) == (False, set())
    headers = {"Cookie": "a=b", "Sec-WebSocket-Protocol": "chat.v1"}
    assert [metadata for _, metadata in received] == [
        {"headers": headers, "ip": "::1", "query": {"q": ["1"]}},
        {"name": "Ada"},
        {"name": "Ada"},
    ]
    assert [(type(event).__name__, getattr(event, "code", None)) for event, _ in received][2] == ("Close", 1006)


def test_a_socket_knows_which_channels_recover() -> None:
    def do(connection: Connection) -> None:
        if connection.is_opening:
            connection.accept("slip.v1")
            for channel, since in (("tea", None), ("juice", "k3J9:12"), ("milk", None)):
                connection.subscribe(channel, recover=True, since=since)
        for data in connection.texts:
            connection.unsubscribe("tea")
            connection.subscribe("milk")
            connection.subscribe("beer", recover=True, connection_id="A" * 15 + "=")
            if data == "bye":
                connection.close()

    visitor = socket(do)
    assert visitor.open(subprotocols=["slip.v1"])[1] == Subscribe(visitor.connection_id, "tea", recover=True)
    assert (visitor.subprotocol, visitor.recovering) == ("slip.v1", {"tea": None, "juice": "k3J9:12", "milk": None})
    visitor.text("hi")
    assert (visitor.channels, visitor.recovering) == ({"juice", "milk"}, {"juice": "k3J9:12"})
    visitor.text("bye")
    assert (visitor.is_open, visitor.channels, visitor.recovering) == (False, set(), {})


def test_the_user_whom_accept_names_comes_with_later_events() -> None:
    users: list[str | None] = []

    def do(connection: Connection) -> None:
        users.append(connection.user)
        if connection.is_opening:
            connection.accept(user="ann")

    visitor = socket(do)
    visitor.open()
    assert (visitor.user, visitor.channels) == ("ann", {"$user:ann"})
    visitor.text("hi")
    visitor.close()
    assert users == [None, "ann", "ann"]


@pytest.mark.parametrize("user", ["L0SM9cOFvHcCIhw=", "M0SM9cOFvHcCIhw="])
def test_a_user_named_like_a_connection_is_an_invalid_response(user: str) -> None:
    visitor = socket(lambda connection: connection.accept(user=user))
    with pytest.raises(InvalidResponse) as refused:
        visitor.open()
    assert str(refused.value) == (
        "to OPEN the application responded with a body that is not valid: user: ACCEPT needs a name that no "
        "connection id has"
    )
    assert not visitor.is_open


def test_a_publisher_that_knows_the_sockets_reaches_a_user_on_all_devices() -> None:
    def do(connection: Connection) -> None:
        if connection.is_opening:
            connection.accept(user=connection.metadata["query"]["user"][0])

    publisher = RecordingPublisher()
    laptop, phone, other = (socket(do) for _ in range(3))
    for each, user in ((laptop, "ann"), (phone, "ann"), (other, "bob")):
        each.open(query={"user": [user]})
    publisher.sockets = [laptop, phone, other]
    assert publisher.send_to_user("ann", "hi") == Report(matched=2, sent=2, gone=0, queued=0)
    publisher.send_text(phone.connection_id, "only here")
    publisher.subscribe(other.connection_id, "tea")
    assert publisher.publish_text("tea", "poured").sent == 1
    assert [each.received for each in (laptop, phone, other)] == [["hi"], ["hi", "only here"], ["poured"]]
    assert publisher.close_user("ann", except_connection_id=phone.connection_id).sent == 1
    assert [each.is_open for each in (laptop, phone, other)] == [False, True, True]
    laptop.close(1000)
    publisher.close(phone.connection_id)
    assert publisher.send_to_user("ann", "gone") == Report(matched=0, sent=0, gone=0, queued=0)


async def test_so_does_the_async_one_and_any_other_within_the_block() -> None:
    def do(connection: Connection) -> None:
        if connection.is_opening:
            connection.accept(user="ann")
        for data in connection.texts:
            connection.send_to_user("ann", data)

    visitor = socket(do)
    visitor.open()
    visitor.text("from the reply")
    publisher = AsyncRecordingPublisher()
    publisher.sockets = [visitor]
    assert (await publisher.send_to_user("ann", "a")).sent == 1
    another = SlipSocketsPublisher(control_api="http://127.0.0.1:1/", jwt_secret=SECRET)
    with record(another, sockets=[visitor]) as sent:
        assert another.close_user("ann").sent == 1
    assert visitor.received == ["from the reply", "a"]
    assert (len(sent), visitor.is_open) == (1, False)


def room(connection: Connection) -> None:
    if connection.is_opening:
        (user,) = connection.metadata["query"].get("user", [None])
        connection.accept(user=user)
        connection.subscribe("tea", presence=Presence({"name": user}) if user else True)
    for data in connection.texts:
        match data:
            case "away":
                connection.subscribe("tea", presence=Presence({"away": True}))
            case "again":
                connection.subscribe("tea")
            case "leave":
                connection.unsubscribe("tea")
            case _:
                connection.close()


def in_tea(publisher: RecordingPublisher) -> list[tuple[str, Any, int]]:
    report = publisher.members("tea")
    assert (report.count, report.more) == (len(report.members), False)
    return [(member.user, member.info, member.connections) for member in report.members]


def test_those_who_were_subscribed_with_presence_are_the_members_of_a_channel() -> None:
    publisher = RecordingPublisher()
    laptop, phone, guest, other = (socket(room) for _ in range(4))
    publisher.sockets = [phone, guest, laptop, other]
    assert in_tea(publisher) == []
    before = time.time_ns() // 1_000_000
    for each in (laptop, phone):
        each.open(query={"user": ["ann"]})
    guest.open()
    publisher.subscribe(guest.connection_id, "milk")
    assert (laptop.presence, guest.presence) == ({"tea": {"name": "ann"}}, {"tea": None})
    assert sorted(in_tea(publisher)) == sorted([("ann", {"name": "ann"}, 2), (guest.connection_id, None, 1)])
    assert publisher.members("milk").count == 0
    assert publisher.sent[-1] == Members("milk")
    (ann,) = [member for member in publisher.members("tea").members if member.user == "ann"]
    assert before <= ann.since <= time.time_ns() // 1_000_000

    laptop.text("away")
    guest.text("leave")
    assert in_tea(publisher) == [("ann", {"away": True}, 2)]
    laptop.text("again")
    assert laptop.presence == {"tea": {"away": True}}
    phone.close(1006)
    assert in_tea(publisher) == [("ann", {"away": True}, 1)]
    publisher.subscribe(laptop.connection_id, "tea", presence=True)
    assert in_tea(publisher) == [("ann", None, 1)]
    laptop.text("bye")
    assert (in_tea(publisher), laptop.presence) == ([], {})


async def test_the_async_publisher_and_any_other_within_the_block_know_them_too() -> None:
    visitor = socket(room)
    visitor.open(query={"user": ["ann"]})
    publisher = AsyncRecordingPublisher()
    assert (await publisher.members("tea")).count == 0
    publisher.sockets = [visitor]
    report = await publisher.members("tea")
    assert [member.user for member in report.members] == ["ann"]
    another = SlipSocketsPublisher(control_api="http://127.0.0.1:1/", jwt_secret=SECRET)
    with record(another, sockets=[visitor]):
        assert another.members("tea") == report


def test_of_a_large_channel_a_thousand_members_are_listed() -> None:
    sockets = [socket(room) for _ in range(1_001)]
    for number, each in enumerate(sockets):
        each.open(query={"user": [f"user{number:04}"]})
    publisher = RecordingPublisher()
    publisher.sockets = sockets
    report = publisher.members("tea")
    assert (report.count, len(report.members), report.members[-1].user, report.more) == (1_001, 1_000, "user0999", True)


def test_several_texts_go_in_one_post_each_with_an_id() -> None:
    posts: list[Connection] = []

    def do(connection: Connection) -> None:
        accept(connection)
        posts.append(connection)
        for data in connection.texts:
            connection.send_text(data)

    visitor = socket(do)
    visitor.open()
    me = visitor.connection_id
    assert visitor.text("one", "two", "two") == [SendText(me, "one"), SendText(me, "two"), SendText(me, "two")]
    assert visitor.text("three") == [SendText(me, "three")]
    _, several, single = ([getattr(event, "id", None) for event in post.events] for post in posts)
    assert len(set(several) - {None}) == 3
    assert single == [None]


def test_two_sockets_are_two_connections() -> None:
    assert socket(accept).connection_id != socket(accept).connection_id


def test_a_client_that_is_not_let_in_is_refused() -> None:
    visitor = socket(lambda connection: None)
    with pytest.raises(ClientRefused) as refused:
        visitor.open()
    assert str(refused.value) == "the client was not let in: the response to OPEN has no ACCEPT"
    assert not visitor.is_open


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (Posted(500, b"Oops\n"), "to OPEN the application responded with 500: Oops"),
        (
            Posted(200, json.dumps({"events": [{"type": "HELLO"}]}).encode()),
            "to OPEN the application responded with 200 and a body that is not valid: events[0].type: unknown "
            "event type 'HELLO'",
        ),
    ],
)
def test_a_response_that_the_gateway_would_not_accept_is_invalid(response: Posted, problem: str) -> None:
    with pytest.raises(InvalidResponse) as refused:
        socket(lambda connection: response).open()
    assert str(refused.value) == problem


def test_another_secret_is_an_invalid_response() -> None:
    with pytest.raises(AssertionError, match="responded with 403: the token is not signed with JWT_SECRET"):
        Socket(application(accept), jwt_secret="another").open()


def test_a_socket_that_the_application_closed_still_sends_its_close() -> None:
    def do(connection: Connection) -> None:
        accept(connection)
        for _ in connection.texts:
            connection.close()
        if not connection.is_opening and not connection.texts:
            connection.publish_text("tea", "left")

    visitor = socket(do)
    visitor.open()
    visitor.text("bye")
    assert not visitor.is_open
    with pytest.raises(RuntimeError, match="the socket is not open"):
        visitor.text("more")
    assert visitor.close() == [PublishText("tea", "left")]
    with pytest.raises(RuntimeError, match="the socket was not opened"):
        visitor.close()


def test_a_request_needs_an_event() -> None:
    with pytest.raises(ValueError, match="signed_request needs an event"):
        signed_request(jwt_secret=SECRET)


def test_a_socket_is_the_first_of_a_channel_and_the_last() -> None:
    received: list[tuple[object, str, Any]] = []

    def do(connection: Connection) -> None:
        accept(connection)
        for event in connection.events:
            match event:
                case Occupied(channel=channel):
                    connection.set_metadata({"first": channel})
                case Vacated(channel=channel):
                    connection.publish_text("lobby", f"{channel} is empty")
        received.append((connection.events[0], connection.connection_id, connection.metadata))

    visitor = socket(do)
    with pytest.raises(RuntimeError, match="the socket is not open"):
        visitor.occupied("tea")
    visitor.open()
    me = visitor.connection_id
    assert visitor.occupied("tea") == [SetMetadata(me, {"first": "tea"})]
    visitor.close()
    assert visitor.vacated("tea") == [PublishText("lobby", "tea is empty")]
    assert received[1][:2] == (Occupied("tea"), me)
    assert received[3] == (Vacated("tea"), me, {"first": "tea"})


def test_a_request_about_a_channel_is_of_the_connection_that_is_named() -> None:
    for named, expected in ((None, CONNECTION_ID), ("A" * 15 + "=", "A" * 15 + "=")):
        headers, body = signed_request(Occupied("tea"), jwt_secret=SECRET, connection_id=named)
        connection = parse_request(headers, body, secrets=[SECRET])
        assert (connection.connection_id, connection.events) == (expected, (Occupied("tea"),))
