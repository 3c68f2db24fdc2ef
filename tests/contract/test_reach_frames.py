"""What a client of slip.v1 sends does nothing to others, and reads no channel but its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .scene import Scene, fill_in, scene
from .wire import END, TIMEOUT_S, Member, accept, connect, publish, subscribe, text, unsubscribe

__all__ = ["scene"]

KEEP = {"count": 100, "seconds": 3_600}


@asynccontextmanager
async def attacking(scene: Scene, *channels: str) -> AsyncIterator[Member]:
    """A client of slip.v1 that is subscribed to these channels."""

    def let_in(post: Any) -> list[dict[str, Any]]:
        if post.kind != "OPEN":
            return []
        id_ = post.connection_id
        return [accept(id_, subprotocol="slip.v1"), *(subscribe(id_, channel) for channel in channels)]

    scene.backend.script = let_in
    async with connect(scene.server, subprotocols=["slip.v1"]) as client:
        opened = await scene.backend.next_post("OPEN")
        yield Member(scene.server, client, opened.connection_id)


async def frames_of(scene: Scene, member: Member) -> list[dict[str, Any]]:
    """Return the frames that a client has been sent so far and not read yet."""
    await scene.server.edge.settle(TIMEOUT_S)
    assert (await scene.control(text(member.connection_id, END))).status == 200
    found: list[dict[str, Any]] = []
    while (frame := json.loads(await member.recv())) != {"slip": "text", "data": END}:
        found.append(frame)
    return found


async def keep(scene: Scene, channel: str, data: str) -> str:
    response = await scene.control(publish(channel, data, keep=KEEP))
    return str(response.json["events"][0]["position"])


NOT_SUBSCRIBED = {"slip": "error", "code": "not_subscribed", "channel": "lobby"}
INVALID = {"slip": "error", "code": "invalid"}
FRAMES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "recover of another's channel": ('{"slip":"recover","channel":"lobby","since":"POSITION"}', [NOT_SUBSCRIBED]),
    "recover from the beginning": ('{"slip":"recover","channel":"lobby","since":"EPOCH:0"}', [NOT_SUBSCRIBED]),
    "recover of a connection's row": ('{"slip":"recover","channel":"$connection:ID","since":"POSITION"}', [INVALID]),
    "recover of no channel": ('{"slip":"recover","channel":"","since":"POSITION"}', [INVALID]),
    "recover of many": ('{"slip":"recover","channel":["lobby"],"since":"POSITION"}', [INVALID]),
    "a message": ('{"slip":"message","channel":"lobby","data":"from the attacker","position":"POSITION"}', []),
    "a subscribed": ('{"slip":"subscribed","channel":"lobby","position":"EPOCH:99"}', []),
    "an error": ('{"slip":"error","code":"not_subscribed","channel":"lobby"}', []),
    "an event's type": ('{"slip":"PUBLISH_TEXT","channelId":"lobby","data":"from the attacker"}', []),
    "a route of API Gateway": ('{"slip":"$disconnect","connectionId":"ID"}', []),
    "a control body": ("BODY", [INVALID]),
    "a frame twice": ('{"slip":"ping"}{"slip":"ping"}', [INVALID]),
}


@pytest.mark.parametrize(("template", "answers"), FRAMES.values(), ids=FRAMES.keys())
async def test_frame_reaches_neither_the_backend_nor_others(
    scene: Scene, template: str, answers: list[dict[str, Any]]
) -> None:
    position = await keep(scene, "lobby", "a secret")
    assert await scene.victim.recv() == "a secret"
    async with attacking(scene) as attacker:
        before, posts = scene.states(), len(scene.backend.posts)
        filled = fill_in(template, scene).replace("POSITION", position).replace("EPOCH", position.partition(":")[0])
        await attacker.client.send(filled)
        assert await frames_of(scene, attacker) == answers
        await scene.assert_untouched(before)
        assert len(scene.backend.posts) == posts


async def test_text_in_a_frame_is_data(scene: Scene) -> None:
    async with attacking(scene) as attacker:
        before = scene.states()
        for data in (fill_in("BODY", scene), '{"slip":"recover","channel":"lobby","since":"a:0"}', "\0\x1b[2J"):
            await attacker.client.send(json.dumps({"slip": "text", "data": data, "channel": "lobby", "id": "x"}))
            post = await scene.backend.next_post("TEXT")
            assert post.event == {"type": "TEXT", "connectionId": attacker.connection_id, "data": data}
        await scene.assert_untouched(before)


async def test_client_that_was_unsubscribed_reads_the_channel_no_more(scene: Scene) -> None:
    async with attacking(scene, "lobby") as attacker:
        position = await keep(scene, "lobby", "for both")
        assert [frame["data"] for frame in await frames_of(scene, attacker)] == ["for both"]
        assert await scene.victim.recv() == "for both"
        assert (await scene.control(unsubscribe(attacker.connection_id, "lobby"))).status == 200
        await keep(scene, "lobby", "a secret")
        assert await scene.victim.recv() == "a secret"
        await attacker.client.send(json.dumps({"slip": "recover", "channel": "lobby", "since": position}))
        assert await frames_of(scene, attacker) == [NOT_SUBSCRIBED]


async def test_client_without_the_subprotocol_has_no_frames(scene: Scene) -> None:
    """It was not chosen, so that all is a text for the backend."""
    position = await keep(scene, "lobby", "one")
    async with connect(scene.server, "?channel=lobby", subprotocols=["slip.v1"]) as client:
        opened = await scene.backend.next_post("OPEN")
        attacker = Member(scene.server, client, opened.connection_id)
        assert client.subprotocol is None
        frame = json.dumps({"slip": "recover", "channel": "lobby", "since": position.partition(":")[0] + ":0"})
        await client.send(frame)
        post = await scene.backend.next_post("TEXT")
        assert post.event["data"] == frame
        assert await attacker.received(scene.control) == []
