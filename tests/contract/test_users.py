"""Users over the wire: whom ACCEPT names, what reaches all of their connections, and nobody else's."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from slip_sockets.dev.server import DevServer

from ..scripted_backend import ScriptedBackend
from .wire import (
    UNKNOWN_ID,
    Control,
    Event,
    Member,
    accept,
    close_channel,
    connect,
    joined,
    publish,
    refusal,
    replies,
    report,
    subscribe,
    subscribe_as_asked,
    text,
    unsubscribe,
)

KEEP = {"count": 10, "seconds": 60}
NAMES = ["ann", "7", "Zoë/\U0001f600", "$user:ann", "a b&c=d", "n" * 128]

both_ways = pytest.mark.parametrize("server", ["direct", "ordered"], indirect=True)


@both_ways
@pytest.mark.parametrize("user", NAMES)
async def test_later_posts_bring_the_user(server: DevServer, backend: ScriptedBackend, user: str) -> None:
    async with joined(server, backend, user=user) as member:
        (opened,) = backend.posts
        assert "user" not in opened.body
        await member.client.send("hi")
        told = await backend.next_post("TEXT")
        assert told.body | {"events": []} == opened.body | {"events": [], "user": user}
    left = await backend.next_post("CLOSE")
    assert left.body | {"events": []} == opened.body | {"events": [], "user": user}


@both_ways
async def test_without_a_user_no_post_has_the_field(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = lambda post: [accept(post.connection_id, user=None)] if post.kind == "OPEN" else []
    async with joined(server, backend) as member:
        await member.client.send("hi")
        await backend.next_post("TEXT")
    await backend.next_post("CLOSE")
    assert [post.body.keys() for post in backend.posts] == [{"connectionId", "metadata", "events"}] * 3


@pytest.mark.parametrize("user", ["", "n" * 129, "é" * 65, UNKNOWN_ID, "L0SM9cOFvHcCIhw=", 7, {"name": "ann"}])
async def test_a_user_that_is_none_refuses_the_client_with_400(
    server: DevServer, backend: ScriptedBackend, user: object
) -> None:
    backend.script = replies(OPEN=lambda post: [accept(post.connection_id, user=user)])
    assert await refusal(server) == 400
    assert len(server.connections) == 0


@pytest.mark.parametrize("make", [subscribe, unsubscribe])
async def test_the_channel_of_a_user_is_not_for_the_asking(
    server: DevServer, backend: ScriptedBackend, control: Control, make: Any
) -> None:
    backend.script = replies(OPEN=lambda post: [accept(post.connection_id), make(post.connection_id, "$user:bob")])
    assert await refusal(server) == 400
    await backend.next_post("OPEN")
    backend.script = replies(
        TEXT=lambda post: [text(post.connection_id, "before"), make(post.connection_id, "$user:bob")]
    )
    async with joined(server, backend, user="ann") as member:
        await member.client.send("hi")
        await backend.next_post("TEXT")
        event = make(member.connection_id, "$user:bob")
        response = await control(text(member.connection_id, "before"), event)
        assert (response.status, response.json["index"], response.json["field"]) == (400, 1, "channel")
        problem = f"events[1].channel: {event['type']} needs a name that does not begin with $user:"
        assert response.json["error"] == problem
        assert await member.received(control) == [], "a refused batch had an effect"
        assert server.connections.peek(member.connection_id)[1] == ["$user:ann"]


async def report_of(control: Control, event: Event) -> dict[str, Any]:
    response = await control(event)
    assert response.status == 200
    (reported,) = response.json["events"]
    return dict(reported)


async def closed(*members: Member) -> list[int | None]:
    return [await member.close_code() for member in members]


@both_ways
async def test_a_publish_to_a_user_reaches_all_of_their_sockets_and_no_others(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with (
        joined(server, backend, user="ann") as laptop,
        joined(server, backend, "ann", "lobby", user="ann") as phone,
        joined(server, backend, "ann", user="anna") as other,
        joined(server, backend, "user:ann", "ann") as nobody,
    ):
        event = publish("$user:ann", "hi", id="m1", keep=KEEP)
        first = await report_of(control, event)
        position = first.pop("position")
        assert first == report(2, 2)
        assert await report_of(control, event) == report(0, 0) | {"position": position}
        backend.script = replies(TEXT=lambda _: [publish("$user:ann", "from a reply")])
        await nobody.client.send("x")
        for member in (laptop, phone):
            assert [await member.recv(), await member.recv()] == ["hi", "from a reply"]
        for member in (laptop, phone, other, nobody):
            assert await member.received(control) == []
        history = await report_of(control, {"type": "HISTORY", "channelId": "$user:ann"})
        assert [(each["position"], each["data"]) for each in history["messages"]] == [(position, "hi")]


@both_ways
async def test_a_user_is_closed_on_all_sockets_but_one(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with (
        joined(server, backend, user="ann") as laptop,
        joined(server, backend, user="ann") as phone,
        joined(server, backend, user="ann") as tablet,
        joined(server, backend, "ann", user="bob") as other,
    ):
        event = close_channel("$user:ann", exceptConnectionId=phone.connection_id)
        assert await report_of(control, event) == report(2, 2)
        assert await closed(laptop, tablet) == [1000, 1000]
        for _ in range(2):
            assert (await backend.next_post("CLOSE")).body["user"] == "ann"
        assert await report_of(control, publish("$user:ann", "still here?")) == report(1, 1)
        assert await phone.recv() == "still here?"
        assert await report_of(control, close_channel("$user:ann", exceptConnectionId=UNKNOWN_ID)) == report(1, 1)
        assert await closed(phone) == [1000]
        assert await other.received(control) == []


async def test_a_channel_is_closed_but_for_one_in_a_reply_too(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    """As "sign out on all other devices" does."""
    async with joined(server, backend, "lobby") as one, joined(server, backend, "lobby") as another:
        backend.script = replies(TEXT=lambda post: [close_channel("lobby", exceptConnectionId=post.connection_id)])
        await one.client.send("x")
        assert await closed(another) == [1000]
        assert await one.received(control) == []


@both_ways
async def test_a_page_of_slip_v1_recovers_the_channel_of_its_user(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = lambda post: [
        event | ({"subprotocol": "slip.v1"} if event["type"] == "ACCEPT" else {}) for event in subscribe_as_asked(post)
    ]
    one = (await report_of(control, publish("$user:ann b", "one", keep=KEEP)))["position"]
    two = (await report_of(control, publish("$user:ann b", "two", keep=KEEP)))["position"]
    async with connect(server, f"?user={quote('ann b')}", subprotocols=["slip.v1"]) as client:
        opened = await backend.next_post("OPEN")
        member = Member(server, client, opened.connection_id)
        await client.send(json.dumps({"slip": "recover", "channel": "$user:ann b", "since": one}))
        assert [json.loads(await member.recv()) for _ in range(2)] == [
            {"slip": "message", "channel": "$user:ann b", "data": "two", "position": two},
            {"slip": "subscribed", "channel": "$user:ann b", "position": two, "recovered": True, "since": one},
        ]
        await client.send(json.dumps({"slip": "recover", "channel": "$user:ann", "since": one}))
        assert json.loads(await member.recv()) == {"slip": "error", "code": "not_subscribed", "channel": "$user:ann"}
