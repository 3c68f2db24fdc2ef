"""Section 2: what the backend's replies to TEXT and CLOSE make happen."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Post, ScriptedBackend
from .wire import (
    UNKNOWN_ID,
    Control,
    Warnings,
    accept,
    close,
    close_channel,
    connect,
    joined,
    publish,
    replies,
    report,
    set_metadata,
    subscribe,
    text,
    unsubscribe,
)

pytestmark = pytest.mark.parametrize("server", ["direct", "ordered"], indirect=True)


async def test_events_take_effect_in_the_order_given(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = replies(
        TEXT=lambda post: [
            text(post.connection_id, "a"),
            publish("lobby", "too early"),
            subscribe(post.connection_id, "lobby"),
            subscribe(post.connection_id, "lobby"),
            publish("lobby", "b"),
            unsubscribe(post.connection_id, "lobby"),
            publish("lobby", "too late"),
            text(post.connection_id, ""),
            text(post.connection_id, "gr\u00fc\u00dfe \U0001f44b"),
        ]
    )
    async with joined(server, backend) as member:
        await member.client.send("x")
        heard = [await member.recv() for _ in range(4)]
        assert heard == ["a", "b", "", "gr\u00fc\u00dfe \U0001f44b"]
        assert await member.received(control) == []


async def test_reply_may_name_other_connections(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    async with joined(server, backend, "lobby") as other, joined(server, backend) as member, connect(server) as third:
        third_id = (await backend.next_post("OPEN")).connection_id
        backend.script = replies(
            TEXT=lambda _: [
                text(other.connection_id, "hello other"),
                unsubscribe(other.connection_id, "lobby"),
                subscribe(other.connection_id, "another"),
                set_metadata(other.connection_id, ["set"]),
                close(third_id),
                publish("lobby", "no subscribers"),
                publish("another", "a subscriber"),
            ]
        )
        await member.client.send("x")
        assert [await other.recv(), await other.recv()] == ["hello other", "a subscriber"]
        assert (await backend.next_post("CLOSE")).connection_id == third_id
        async with asyncio.timeout(20):
            await third.wait_closed()
        assert third.close_code == 1000
        assert await member.received(control) == []
        backend.script = replies()
        await other.client.send("metadata?")
        assert (await backend.next_post("TEXT")).body["metadata"] == ["set"]


async def test_skipped_ids_are_logged_and_the_batch_goes_on(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings
) -> None:
    backend.script = replies(
        TEXT=lambda post: [
            text("nonsense", "1"),
            subscribe(UNKNOWN_ID, "lobby"),
            set_metadata(UNKNOWN_ID, 1),
            unsubscribe(UNKNOWN_ID, "lobby"),
            text(UNKNOWN_ID, "2"),
            close(UNKNOWN_ID),
            close(""),
            text(post.connection_id, "still here"),
        ]
    )
    async with joined(server, backend) as member:
        await member.client.send("x")
        assert await member.recv() == "still here"
        assert warnings() == [
            "connection nonsense: it is refused: Invalid connectionId; skipped",
            f"SUBSCRIBE skipped: connection {UNKNOWN_ID!r} is not connected",
            f"SET_METADATA skipped: connection {UNKNOWN_ID!r} is not connected",
            f"TEXT skipped: connection {UNKNOWN_ID!r} is not connected",
            f"CLOSE skipped: connection {UNKNOWN_ID!r} is not connected",
            "CLOSE skipped: connection '' is not a connection id",
        ]
        assert (await control(publish("lobby", "x"))).json["events"] == [report(0, 0)]


async def test_accept_means_nothing_in_other_replies(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = replies(TEXT=lambda post: [accept(UNKNOWN_ID, subprotocol="x"), text(post.connection_id, "ok")])
    async with joined(server, backend) as member:
        await member.client.send("x")
        assert await member.recv() == "ok"


async def test_close_sends_the_texts_before_it_and_none_after(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = replies(
        TEXT=lambda post: [
            text(post.connection_id, "bye"),
            close(post.connection_id),
            publish("lobby", "not for the closed one"),
        ]
    )
    async with joined(server, backend, "lobby") as staying, joined(server, backend, "lobby") as leaving:
        await leaving.client.send("x")
        assert await leaving.recv() == "bye"
        assert await leaving.close_code() == 1000
        assert await staying.received(control) == ["not for the closed one"]
        assert (await control(publish("lobby", "x"))).json["events"] == [report(1, 1)]


async def test_close_channel_closes_its_subscribers_and_no_others(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = replies(TEXT=lambda _: [close_channel("lobby")])
    async with (
        joined(server, backend, "lobby") as first,
        joined(server, backend, "lobby", "other") as second,
        joined(server, backend, "other") as staying,
    ):
        await staying.client.send("x")
        assert [await first.close_code(), await second.close_code()] == [1000, 1000]
        left = {(await backend.next_post("CLOSE")).connection_id for _ in range(2)}
        assert left == {first.connection_id, second.connection_id}
        assert (await control(publish("other", "x"))).json["events"] == [report(1, 1)]
        assert await staying.recv() == "x"


async def test_reply_to_close_takes_effect(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = replies(CLOSE=lambda post: [publish("lobby", f"{post.connection_id} has left")])
    async with joined(server, backend, "lobby") as staying:
        async with joined(server, backend, "lobby") as leaving:
            pass
        assert await staying.recv() == f"{leaving.connection_id} has left"


@pytest.mark.parametrize("body", ["", " \r\n"])
async def test_empty_response_to_text_means_no_events(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, body: str
) -> None:
    backend.script = replies(TEXT=lambda _: web.Response(text=body))
    async with joined(server, backend) as member:
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert await member.received(control) == []
        assert warnings() == []


@pytest.mark.parametrize("status", [200, 201, 202, 299])
async def test_any_2xx_counts(server: DevServer, backend: ScriptedBackend, status: int) -> None:
    def yes(post: Post) -> web.Response:
        return web.Response(status=status, body=json.dumps({"events": [accept(post.connection_id)], "more": 1}))

    backend.script = replies(OPEN=yes)
    async with joined(server, backend):
        pass


async def test_published_id_is_delivered_once_also_from_replies(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = replies(
        TEXT=lambda _: [publish("lobby", "first", id="m1"), publish("lobby", "again", id="m1"), publish("lobby", "end")]
    )
    async with joined(server, backend, "lobby") as member:
        await member.client.send("x")
        assert [await member.recv(), await member.recv()] == ["first", "end"]
        assert (await control(publish("lobby", "by control", id="m1"))).json["events"] == [report(0, 0)]
        assert await member.received(control) == []
