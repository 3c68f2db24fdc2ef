"""Patterns on a deployed stage: production is direct, staging ordered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from slip_sockets import Report
from slip_sockets.protocol.events import Subscribe
from slip_sockets.protocol.frames import SUBPROTOCOL

from .deployment import INLINE_LIMIT, PRODUCTION, STAGING
from .room import Room, all_hear

pytestmark = pytest.mark.e2e

STAGES = pytest.mark.parametrize("stack", [PRODUCTION, STAGING])


@pytest.fixture
async def silent(room: Room) -> Room:
    """The backend publishes nothing of what it receives."""
    room.chat.is_silent = True
    return room


async def subscribe(room: Room, stack: str, subscriptions: Sequence[tuple[str, str]]) -> None:
    """Subscribe users to channels or patterns, by one call of the control API."""
    events = [Subscribe(room.connection_id(user), channel) for user, channel in subscriptions]
    await asyncio.to_thread(room.publisher(stack).send, events)


async def publish(room: Room, stack: str, channel: str, text: str) -> Report:
    report = await asyncio.to_thread(room.publisher(stack).publish_text, channel, text)
    assert report is not None
    return report


@STAGES
async def test_subscriber_of_a_pattern_hears_each_channel_that_matches_once(silent: Room, stack: str) -> None:
    """The room's own channel is published to last: by then everything else has come."""
    orders, eu = f"{silent.name}:orders", f"{silent.name}:orders:eu"
    raw = await silent.join("raw", stack=stack)
    greeting = '{"slip":"text","data":"welcome"}'
    framed = await silent.join("framed", stack=stack, greeting=greeting, subprotocols=[SUBPROTOCOL])
    of_raw = [("raw", channel) for channel in (f"{orders}:*", f"{eu}:*", f"{eu}:1")]
    await subscribe(silent, stack, [*of_raw, ("framed", f"{silent.name}:*")])
    channels = [f"{eu}:1", f"{orders}:us", orders]
    reports = [await publish(silent, stack, channel, channel) for channel in channels]
    assert [(report.matched, report.sent) for report in reports] == [(2, 2), (2, 2), (1, 1)]
    await silent.publish("end", stack=stack)
    await raw.hear("end")
    assert raw.received == [*channels[:2], "end"]
    await framed.hear(f'{{"slip":"message","channel":"{silent.name}","data":"end"}}')
    messages = [frame for frame in map(json.loads, framed.received) if frame["slip"] == "message"]
    assert [frame["channel"] for frame in messages] == [*channels, silent.name]

    def close_channel() -> None:
        silent.publisher(stack).close_channel(f"{eu}:1")

    await asyncio.to_thread(close_channel)
    assert await raw.closed() == 1000
    await framed.send(json.dumps({"slip": "recover", "channel": orders, "since": "a:1"}))
    error = {"slip": "error", "code": "not_subscribed", "channel": orders}
    await framed.hear(json.dumps(error, separators=(",", ":")))


async def test_large_publish_reaches_the_subscribers_of_channel_and_pattern_once(silent: Room) -> None:
    channel, pattern = f"{silent.name}:1", f"{silent.name}:*"
    users = [str(number) for number in range(INLINE_LIMIT + 2)]
    clients = [await silent.join(user) for user in users]
    await subscribe(silent, PRODUCTION, [(user, channel) for user in users[:-1]])
    await subscribe(silent, PRODUCTION, [(user, pattern) for user in users[::-2]])
    report = await publish(silent, PRODUCTION, channel, "hi")
    assert (report.sent, report.queued) == (0, report.matched)
    await publish(silent, PRODUCTION, channel, "end")
    await all_hear(clients, "end")
    assert [client.received for client in clients] == [["hi", "end"]] * len(clients)
