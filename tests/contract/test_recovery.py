"""Kept messages and slip.v1 over the wire: real sockets, a real backend, the development server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, Post, ScriptedBackend
from .wire import Control, Member, accept, connect, joined, publish, subscribe

KEEP = {"count": 100, "seconds": 3_600}


def let_in_with_frames(post: Post) -> Events:
    """Let clients in with slip.v1, and subscribe them to the `channel`s of their query, with its `since`."""
    if post.kind != "OPEN":
        return []
    query = post.body["metadata"]["query"]
    since = {"since": query["since"][0]} if "since" in query else {}
    channels = [
        subscribe(post.connection_id, channel) | {"recover": True} | since for channel in query.get("channel", [])
    ]
    return [accept(post.connection_id, subprotocol="slip.v1"), *channels]


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = let_in_with_frames
    return backend


@asynccontextmanager
async def framed(server: DevServer, backend: ScriptedBackend, query: str) -> AsyncIterator[Member]:
    async with connect(server, query, subprotocols=["slip.v1"]) as client:
        assert client.subprotocol == "slip.v1"
        opened = await backend.next_post("OPEN")
        yield Member(server, client, opened.connection_id)


async def frame(member: Member) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await member.recv())
    return found


async def keep(control: Control, channel: str, *texts: str) -> list[str]:
    response = await control(*(publish(channel, text, keep=KEEP) for text in texts))
    assert response.status == 200
    return [report["position"] for report in response.json["events"]]


async def test_client_that_comes_back_misses_nothing(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with framed(server, backend, "?channel=tea") as member:
        begin = await frame(member)
        assert begin["slip"] == "subscribed"
        (first,) = await keep(control, "tea", "one")
        assert await frame(member) == {"slip": "message", "channel": "tea", "data": "one", "position": first}
    second, third = await keep(control, "tea", "two", "three")
    async with framed(server, backend, f"?channel=tea&since={first}") as member:
        assert [await frame(member) for _ in range(3)] == [
            {"slip": "message", "channel": "tea", "data": "two", "position": second},
            {"slip": "message", "channel": "tea", "data": "three", "position": third},
            {"slip": "subscribed", "channel": "tea", "position": third, "recovered": True, "since": first},
        ]
        await member.client.send(json.dumps({"slip": "recover", "channel": "tea", "since": second}))
        assert [(await frame(member))["slip"] for _ in range(2)] == ["message", "subscribed"]
        await member.client.send(json.dumps({"slip": "recover", "channel": "milk", "since": second}))
        assert await frame(member) == {"slip": "error", "code": "not_subscribed", "channel": "milk"}


async def test_raw_and_framed_subscribers_side_by_side(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with framed(server, backend, "?channel=both") as member:
        await frame(member)
        backend.script = lambda post: [accept(post.connection_id), subscribe(post.connection_id, "both")]
        async with joined(server, backend) as raw:
            (position,) = await keep(control, "both", "hi")
            assert await raw.recv() == "hi"
            assert await frame(member) == {"slip": "message", "channel": "both", "data": "hi", "position": position}


async def test_texts_both_ways(server: DevServer, backend: ScriptedBackend) -> None:
    async with framed(server, backend, "?") as member:
        backend.script = lambda post: [{"type": "TEXT", "connectionId": post.connection_id, "data": "welcome"}]
        await member.client.send('{"slip":"text","data":"hi"}')
        post = await backend.next_post("TEXT")
        assert post.event["data"] == "hi"
        assert await frame(member) == {"slip": "text", "data": "welcome"}
        await member.client.send("not a frame")
        assert await frame(member) == {"slip": "error", "code": "invalid"}


async def test_history_over_http(server: DevServer, control: Control) -> None:
    positions = await keep(control, "past", "one", "two")
    response = await control({"type": "HISTORY", "channelId": "past", "since": positions[0]})
    (report,) = response.json["events"]
    (message,) = report.pop("messages")
    assert report == {"position": positions[1], "recovered": True, "more": False}
    assert (message["data"], message["position"]) == ("two", positions[1])


async def test_publishers_side_by_side_give_each_position_once(control: Control) -> None:
    found = await asyncio.gather(*(keep(control, "busy", "a", "b", "c") for _ in range(10)))
    offsets = [int(position.partition(":")[2]) for positions in found for position in positions]
    assert sorted(offsets) == list(range(1, 31))
    assert all(positions == sorted(positions, key=lambda each: int(each.partition(":")[2])) for positions in found)
