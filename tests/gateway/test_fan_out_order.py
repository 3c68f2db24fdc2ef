"""Order, and reading one's own writes."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import pytest

from slip_sockets.gateway.deferred import FanOutChunk
from slip_sockets.gateway.fan_out import MARKED_FOR_S
from slip_sockets.gateway.values import Publication
from slip_sockets.protocol.events import Report

from .doubles import World, control_event
from .fan_out import HI, chunked, drain, ids, publish, taken


async def test_a_publish_follows_those_that_wait_in_the_queue(world: World) -> None:
    everyone = ids(10)
    await world.connected(*everyone, channels=["room"])
    await publish(world)
    for left in everyone[2:]:
        await world.store.remove(left)
    assert await publish(world, Publication("room", "second")) == Report(2, 0, 0, 2)
    assert [message.broadcast.data for message in taken(world)] == ["hi", "second"]
    world.clock.time += MARKED_FOR_S + 1
    assert await publish(world, Publication("room", "third")) == Report(2, 2, 0, 0)


async def test_a_channel_stays_with_the_queue_while_messages_of_it_are_worked_on(world: World) -> None:
    everyone = ids(2)
    await world.connected(*everyone, channels=["room"])
    for _ in range(3):
        await world.defer(FanOutChunk(HI, "p", everyone, shard=0))
        world.clock.time += MARKED_FOR_S - 1
    assert await publish(world) == Report(2, 0, 0, 2)


@pytest.mark.parametrize("seed", range(40))
async def test_each_connection_sees_all_publishes_in_order_whatever_fails(world: World, seed: int) -> None:
    """One caller publishes to a channel that grows and shrinks across the inline limit, while calls fail and lack time,
    the queue's groups advance in any order, and workers die before what they did is noted."""
    chance = random.Random(seed)
    everyone = ids(9)
    await world.connected(*everyone, channels=["room"])
    absent: set[str] = set()
    for number in range(12):
        world.sender.failing = {one: chance.randrange(1, 3) for one in everyone if chance.random() < 0.1}
        world.sender.has_time_for = chance.choice([1, 3, 99, 99])
        await publish(world, Publication("room", f"{number:02d}"))
        await drain(world, chance, steps=chance.randrange(6), deaths=0.1)
        if chance.random() < 0.3:
            world.clock.time += MARKED_FOR_S / 2
        for one in everyone[3:]:  # come and go; the others stay throughout
            if chance.random() < 0.3:
                continue
            await (world.store.subscribe if one in absent else world.store.unsubscribe)(one, "room")
            absent ^= {one}
    world.sender.failing.clear()
    world.sender.has_time_for = 99
    await drain(world, chance, deaths=0.1)
    received = defaultdict(list)
    for one, data in world.sender.sent:
        received[one].append(data)
    for one in everyone:
        first_times = list(dict.fromkeys(received[one]))
        assert first_times == sorted(first_times), one
    everything = [f"{number:02d}" for number in range(12)]
    for one in everyone[:3]:
        assert sorted({*received[one]}) == everything, one


# Read your own writes


async def run(world: World, *events: object) -> Any:
    return await world.control(control_event(events))


def subscribe(connection_id: str) -> dict[str, str]:
    return {"type": "SUBSCRIBE", "connectionId": connection_id, "channel": "room"}


def unsubscribe(connection_id: str) -> dict[str, str]:
    return {"type": "UNSUBSCRIBE", "connectionId": connection_id, "channel": "room"}


PUBLISH = {"type": "PUBLISH_TEXT", "channelId": "room", "data": "hi"}


async def test_a_publish_reaches_who_subscribed_in_its_batch_though_the_index_lags(world: World) -> None:
    new, gone, closed = ids(3)
    await world.connected(new, gone, closed)
    world.store.unseen = {new}
    world.store.ghosts = [gone, closed]
    close = {"type": "CLOSE", "connectionId": closed}
    await run(world, subscribe(gone), unsubscribe(gone), close, subscribe(new), PUBLISH)
    assert world.sender.sent == [(new, "hi")]


async def test_who_was_already_there_is_sent_to_once(world: World) -> None:
    (one,) = ids(1)
    await world.connected(one, channels=["room"])
    await run(world, subscribe(one), PUBLISH)
    assert world.sender.sent == [(one, "hi")]


async def test_a_large_channel_too_reads_its_own_writes(world: World) -> None:
    new, gone, *others = ids(10)
    await world.connected(new, gone)
    await world.connected(*others, channels=["room"])
    world.store.unseen = {new}
    world.store.ghosts = [gone]
    await run(world, subscribe(new), unsubscribe(gone), PUBLISH)
    (message,) = taken(world)
    world.store.unseen.clear()  # and now it does show him, beyond the first page
    await world.broadcaster.split(message, world.checkpoint, deadline=1e12)
    assert sorted(chunked(world)) == sorted([new, *others])


async def test_a_large_channel_believes_the_index_when_it_is_late(world: World) -> None:
    new, *others = ids(10)
    await world.connected(new)
    await world.connected(*others, channels=["room"])
    await run(world, subscribe(new), PUBLISH)
    await run(world, unsubscribe(new))
    world.clock.time += world.store.index_lag_s + 1
    (message,) = taken(world)
    await world.broadcaster.split(message, world.checkpoint, deadline=1e12)
    assert sorted(chunked(world)) == others
