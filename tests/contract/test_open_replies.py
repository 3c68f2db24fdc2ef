"""Section 2: what the backend's reply to OPEN makes happen."""

from __future__ import annotations

import json
from typing import Any

import pytest
import websockets

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, Post, ScriptedBackend
from .wire import (
    UNKNOWN_ID,
    Control,
    Warnings,
    accept,
    close,
    connect,
    joined,
    publish,
    refusal,
    replies,
    report,
    set_metadata,
    subscribe,
    text,
    unsubscribe,
)

pytestmark = pytest.mark.parametrize("server", ["direct", "ordered"], indirect=True)


def filled_in(template: Events, post: Post) -> Events:
    """Return `template` with the connection's id for each "{id}"."""
    events: Events = json.loads(json.dumps(template).replace("{id}", post.connection_id))
    return events


async def test_events_after_accept_happen_in_order_once_the_socket_is_open(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    opening = [
        accept("{id}"),
        subscribe("{id}", "lobby"),
        publish("lobby", "one"),
        text("{id}", "two"),
        unsubscribe("{id}", "lobby"),
        publish("lobby", "not for us"),
        text("{id}", "three"),
        subscribe("{id}", "lobby"),
        publish("lobby", "four"),
    ]
    backend.script = replies(OPEN=lambda post: filled_in(opening, post))
    async with joined(server, backend) as member:
        assert [await member.recv() for _ in range(4)] == ["one", "two", "three", "four"]
        assert await member.received(control) == []


async def test_events_before_accept_count_too(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    opening = [subscribe("{id}", "lobby"), text("{id}", "early"), accept("{id}"), text("{id}", "late")]
    backend.script = replies(OPEN=lambda post: filled_in(opening, post))
    async with joined(server, backend) as member:
        assert [await member.recv(), await member.recv()] == ["early", "late"]
        assert (await control(publish("lobby", "x"))).json["events"] == [report(1, 1)]


async def test_subscription_holds_from_the_upgrade_on(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby", "other") as member:
        done = await control(publish("lobby", "hi"), publish("other", "there"), publish("third", "x"))
        assert done.json["events"] == [report(1, 1), report(1, 1), report(0, 0)]
        assert await member.received(control) == ["hi", "there"]


async def test_events_for_other_connections_take_effect(server: DevServer, backend: ScriptedBackend) -> None:
    async with joined(server, backend, "lobby") as first:
        opening = [
            subscribe(first.connection_id, "early"),
            set_metadata(first.connection_id, "set by another"),
            accept("{id}"),
            text(first.connection_id, "straight"),
            publish("lobby", "by channel"),
            publish("early", "by early channel"),
            subscribe(first.connection_id, "late"),
            publish("late", "by late channel"),
        ]
        backend.script = replies(OPEN=lambda post: filled_in(opening, post))
        async with connect(server):
            heard = [await first.recv() for _ in range(4)]
        assert heard == ["straight", "by channel", "by early channel", "by late channel"]
        await first.client.send("x")
        assert (await backend.next_post("TEXT")).body["metadata"] == "set by another"


async def test_last_own_metadata_is_stored_before_the_socket_opens(server: DevServer, backend: ScriptedBackend) -> None:
    opening = [accept("{id}"), set_metadata("{id}", 1), text("{id}", "hi"), set_metadata("{id}", {"n": 2})]
    backend.script = replies(OPEN=lambda post: filled_in(opening, post))
    async with connect(server) as client:
        await client.send("x")
        assert (await backend.next_post("TEXT")).body["metadata"] == {"n": 2}


async def test_own_metadata_of_null_clears_the_default(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = replies(OPEN=lambda post: filled_in([accept("{id}"), set_metadata("{id}", None)], post))
    async with connect(server) as client:
        await client.send("x")
        assert (await backend.next_post("TEXT")).body["metadata"] is None


async def test_accept_and_close_sends_the_texts_between_and_closes_with_1000(
    server: DevServer, backend: ScriptedBackend
) -> None:
    opening = [accept("{id}"), set_metadata("{id}", "m"), text("{id}", "full, sorry"), close("{id}")]
    backend.script = replies(OPEN=lambda post: filled_in(opening, post))
    async with joined(server, backend) as member:
        assert await member.recv() == "full, sorry"
        assert await member.close_code() == 1000
    closed = await backend.next_post("CLOSE")
    assert (closed.event["code"], closed.body["metadata"]) == (1000, "m")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ([], "the response to OPEN has no ACCEPT"),
        ([text("{id}", "hi")], "the response to OPEN has no ACCEPT"),
        ([close("{id}")], "the response to OPEN has no ACCEPT"),
        ([set_metadata("{id}", 1), accept("{id}")], "SET_METADATA stands before ACCEPT in the response to OPEN"),
        ([accept(UNKNOWN_ID)], f"ACCEPT names another connection, {UNKNOWN_ID!r}"),
        ([accept("{id}"), accept(UNKNOWN_ID)], f"ACCEPT names another connection, {UNKNOWN_ID!r}"),
        ([accept("{id}", subprotocol="chat")], "ACCEPT names a subprotocol that the client did not offer"),
    ],
)
async def test_reply_that_does_not_let_the_client_in_refuses_with_400_and_does_nothing(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, reply: Events, problem: str
) -> None:
    async with joined(server, backend, "lobby") as other:
        backend.script = lambda post: filled_in([publish("lobby", "never"), *reply], post)
        assert await refusal(server) == 400
        refused = (await backend.next_post("OPEN")).connection_id
        assert warnings() == [f"OPEN of connection {refused}: {problem}; refused with 400"]
        assert await other.received(control) == []
        assert (await control(subscribe(refused, "lobby"))).status == 200
        assert warnings()[1:] == [f"SUBSCRIBE skipped: connection {refused!r} is not connected"]


async def test_refused_client_has_no_close(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = lambda _: []
    assert await refusal(server) == 400
    backend.script = replies()
    async with connect(server):
        pass
    await backend.next_post("CLOSE")
    assert [post.event["type"] for post in backend.posts] == ["OPEN", "OPEN", "CLOSE"]


@pytest.mark.parametrize(("chosen", "agreed"), [({"subprotocol": "b"}, "b"), ({}, None), ({"subprotocol": None}, None)])
async def test_subprotocol_is_the_one_that_accept_names(
    server: DevServer, backend: ScriptedBackend, chosen: dict[str, Any], agreed: str | None
) -> None:
    backend.script = replies(OPEN=lambda post: [accept(post.connection_id, **chosen)])
    offered = [websockets.Subprotocol(name) for name in ("a", "b")]
    async with connect(server, subprotocols=offered) as client:
        assert client.subprotocol == agreed


async def test_subprotocol_that_was_not_offered_refuses_with_400(
    server: DevServer, backend: ScriptedBackend, warnings: Warnings
) -> None:
    backend.script = replies(OPEN=lambda post: [accept(post.connection_id, subprotocol="c")])
    assert await refusal(server, subprotocols=[websockets.Subprotocol("a"), websockets.Subprotocol("b")]) == 400
    problem = "ACCEPT names a subprotocol that the client did not offer"
    assert warnings() == [f"OPEN of connection {backend.posts[0].connection_id}: {problem}; refused with 400"]
