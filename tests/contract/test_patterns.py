"""Patterns over the wire: real sockets, a real backend, the development server."""

from __future__ import annotations

import json

import pytest

from slip_sockets.dev.server import DevServer

from ..scripted_backend import ScriptedBackend
from .wire import Control, accept, close_channel, connect, joined, publish, subscribe, unsubscribe

CHANNEL = "orders:eu:1"


async def test_subscriber_of_a_pattern_hears_each_channel_that_matches_once(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "orders:*", "orders:eu:*", CHANNEL) as member:
        for channel in (CHANNEL, "orders:1", "orders", "order:1", "orders:us:1:2:3:4:5", "orders:"):
            response = await control(publish(channel, channel))
            assert response.status == 200
        assert await member.received(control) == [CHANNEL, "orders:1", "orders:us:1:2:3:4:5", "orders:"]


async def test_report_counts_a_connection_once(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    async with joined(server, backend, "orders:*", "orders:eu:*", CHANNEL), joined(server, backend, "orders:eu:*"):
        response = await control(publish(CHANNEL, "hi"))
        (report,) = response.json["events"]
        assert (report["matched"], report["sent"]) == (2, 2)


async def test_frame_names_the_channel_that_was_published_to(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    backend.script = lambda post: [
        accept(post.connection_id, subprotocol="slip.v1"),
        subscribe(post.connection_id, "orders:*"),
    ]
    async with connect(server, subprotocols=["slip.v1"]) as client:
        await control(publish(CHANNEL, "hi"))
        assert json.loads(await client.recv()) == {"slip": "message", "channel": CHANNEL, "data": "hi"}
        await client.send(json.dumps({"slip": "recover", "channel": CHANNEL, "since": "a:1"}))
        assert json.loads(await client.recv()) == {"slip": "error", "code": "not_subscribed", "channel": CHANNEL}


async def test_subscriber_that_has_left_a_pattern_hears_by_the_channel_and_is_closed_with_it(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "orders:*", CHANNEL) as both, joined(server, backend, "orders:*") as other:
        await control(*(unsubscribe(member.connection_id, "orders:*") for member in (both, other)))
        await control(publish(CHANNEL, "hi"))
        assert (await both.received(control), await other.received(control)) == (["hi"], [])
        await control(subscribe(other.connection_id, "orders:*"), close_channel(CHANNEL))
        assert await both.close_code() == 1000
        assert await other.received(control) == []


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (publish("orders:*", "hi"), "channelId: PUBLISH_TEXT needs a channel, got a pattern: its name ends in :*"),
        (close_channel("orders:*"), "channelId: CLOSE_CHANNEL needs a channel, got a pattern: its name ends in :*"),
        (
            {"type": "HISTORY", "channelId": "orders:*"},
            "channelId: HISTORY needs a channel, got a pattern: its name ends in :*",
        ),
        (subscribe("c", "a:b:c:d:e:*"), "channel: SUBSCRIBE needs a pattern of at most 5 segments, got 6"),
        (
            subscribe("c", "a:*") | {"recover": True},
            "recover: SUBSCRIBE cannot have it with a pattern, only with a channel",
        ),
    ],
)
async def test_batch_with_a_pattern_where_it_cannot_be_is_refused(
    control: Control, event: dict[str, object], error: str
) -> None:
    response = await control(event)
    assert (response.status, response.json["error"]) == (400, f"events[0].{error}")
