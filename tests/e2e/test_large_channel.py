"""A large channel of the deployed stage: what publishers are promised of its order, and of messages with an id."""

from __future__ import annotations

import asyncio
import http
from collections import Counter

import pytest

from slip_sockets import Report

from .deployment import INLINE_LIMIT
from .faults import Faults
from .patience import until
from .room import Room, all_hear

pytestmark = pytest.mark.e2e

SOCKETS = INLINE_LIMIT + 10


async def test_a_large_channel_gets_all_in_order_by_the_queue(room: Room) -> None:
    clients = await room.join_many(SOCKETS)
    texts = [f"message {number}" for number in range(5)]
    for text in texts:
        assert await room.publish(text) == Report(SOCKETS, 0, 0, SOCKETS)
    await all_hear(clients, texts[-1])
    assert [client.received for client in clients] == [texts] * SOCKETS


async def test_a_small_channel_does_not_wait_for_a_large_one(room: Room, faults: Faults) -> None:
    clients = await room.join_many(SOCKETS)
    publisher, small = room.publisher(), f"{room.name}-small"
    few = room.subscribers()[:3]
    for connection_id in few:
        await asyncio.to_thread(publisher.subscribe, connection_id, small)
    is_stuck = True

    def throttle(connection_id: str) -> http.HTTPStatus | None:
        return http.HTTPStatus.TOO_MANY_REQUESTS if is_stuck and connection_id not in few else None

    calls = faults.management(throttle)
    await room.publish("to all")
    await until(lambda: len(calls.counts) > 0)
    report = await asyncio.to_thread(publisher.publish_text, small, "to few")
    assert report == Report(matched=3, sent=3, gone=0, queued=0)
    is_stuck = False
    await room.publish("last")
    await all_hear(clients, "last")
    assert Counter(tuple(sorted(client.received)) for client in clients) == {
        ("last", "to all"): SOCKETS - len(few),
        ("last", "to all", "to few"): len(few),
    }


async def test_two_who_publish_the_same_at_once_are_heard_once(room: Room) -> None:
    clients = await room.join_many(SOCKETS)
    reports = await asyncio.gather(room.publish("same", "one-message"), room.publish("same", "one-message"))
    assert sorted(report.matched for report in reports) == [0, SOCKETS]
    await room.publish("last")
    await all_hear(clients, "last")
    assert [client.received for client in clients] == [["same", "last"]] * SOCKETS


async def test_two_who_publish_at_once_are_both_heard_each_in_order(room: Room) -> None:
    clients = await room.join_many(SOCKETS)

    async def publish_three(name: str) -> list[str]:
        texts = [f"{name} {number}" for number in range(3)]
        for text in texts:
            await room.publish(text)
        return texts

    ones, others = await asyncio.gather(publish_three("one"), publish_three("other"))
    await room.publish("last")
    await all_hear(clients, "last")
    for client in clients:
        assert [text for text in client.received if text in ones] == ones
        assert [text for text in client.received if text in others] == others
        assert len(client.received) == len(ones) + len(others) + 1
