"""A large channel of the deployed stage: what its publishers are promised while things break."""

from __future__ import annotations

import asyncio
import http
import json
import threading
import time
from collections import Counter

import pytest

from slip_sockets import Report
from slip_sockets.aws.queue import SHARDS
from slip_sockets.gateway.deferred import plan_chunks
from slip_sockets.gateway.values import Publication

from .deployment import INLINE_LIMIT, PRODUCTION, Deployment
from .faults import CallRate, Faults
from .patience import until
from .queues import PausedWorkers, StageQueue, deferred
from .room import Room, all_hear

pytestmark = pytest.mark.e2e

SOCKETS = INLINE_LIMIT + 10
VISIBILITY_TIMEOUT_S = 20
"""What a killed worker had comes again soon; and a worker is done before, on a busy machine too."""


async def test_a_worker_killed_in_mid_chunk_loses_nothing_and_repeats_a_chunk_at_most(
    deployment: Deployment, room: Room, faults: Faults
) -> None:
    arn = deployment.function_arn(f"{PRODUCTION}-deliver")
    killed = threading.Event()

    def kill_once(connection_id: str) -> None:
        if calls.counts.total() > SOCKETS / 2 and not killed.is_set():
            killed.set()
            deployment.aws.kill(arn)

    clients = await room.join_many(SOCKETS)
    chunks = plan_chunks(Publication(room.name, ""), "", room.subscribers(), shards=SHARDS)
    sizes = sorted((len(chunk.connection_ids) for chunk in chunks), reverse=True)
    calls = faults.management(kill_once)
    with deferred(deployment).changed("VisibilityTimeout", str(VISIBILITY_TIMEOUT_S)):
        await room.publish("first")
        await room.publish("last")
        await all_hear(clients, "last")
    assert killed.is_set()
    for client in clients:
        assert client.received in (["first", "last"], ["first", "first", "last"])
    repeated = sum(client.received.count("first") - 1 for client in clients)
    assert repeated <= sum(sizes[: deployment.aws.settings.max_environments])  # all workers were killed


async def test_calls_that_are_throttled_are_made_again_and_one_slow_client_holds_up_no_other(
    room: Room, faults: Faults
) -> None:
    clients = await room.join_many(SOCKETS)
    slow: list[str] = []
    is_slow = True

    def throttle(connection_id: str) -> http.HTTPStatus | None:
        if not slow:
            slow.append(connection_id)
        throttled = calls.counts[connection_id] <= 2
        return http.HTTPStatus.TOO_MANY_REQUESTS if throttled or (is_slow and connection_id in slow) else None

    calls = faults.management(throttle)
    await room.publish("first")
    await room.publish("last")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(all_hear(clients, "last"))
        await until(lambda: sum("last" in client.received for client in clients) == SOCKETS - 1)
        waiting = [client.received for client in clients if "last" not in client.received]
        assert waiting == [[]], "the slow client alone waits"
        is_slow = False
    assert [client.received for client in clients] == [["first", "last"]] * SOCKETS


async def test_a_management_api_with_a_low_rate_of_calls_gets_all_in_order(room: Room, faults: Faults) -> None:
    clients = await room.join_many(SOCKETS)
    rate = CallRate(40.0)
    faults.management(rate)
    texts = [f"message {number}" for number in range(3)]
    for text in texts:
        await room.publish(text)
    await all_hear(clients, texts[-1])
    assert rate.refused > 0
    assert [client.received for client in clients] == [texts] * SOCKETS


async def test_a_message_that_comes_again_when_it_was_done_repeats_one_chunk(
    deployment: Deployment, room: Room
) -> None:
    """Done and not deleted, as SQS may deliver anything twice: a publish's message, and one of its chunks."""
    clients = await room.join_many(SOCKETS)
    queue = deferred(deployment)
    await until(lambda: queue.waiting == 0)
    with PausedWorkers(deployment) as workers:
        await room.publish("first")
        received = []
        for kind in ("fan_out", "fan_out_chunk"):
            received.append(await asyncio.to_thread(queue.receive))
            assert json.loads(received[-1]["Body"])["type"] == kind
            await asyncio.to_thread(workers.handle, received[-1])
        for message in received:
            queue.show_again(message)
    await room.publish("last")
    await all_hear(clients, "last")
    repeated = len(json.loads(received[1]["Body"])["connection_ids"])
    assert Counter(tuple(client.received) for client in clients) == {
        ("first", "last"): SOCKETS - repeated,
        ("first", "first", "last"): repeated,
    }


async def test_a_connection_that_left_unnoticed_costs_one_call_and_one_about_to_open_stays(
    room: Room, faults: Faults
) -> None:
    clients = await room.join_many(3)
    with room.ghosts(room.name, count=INLINE_LIMIT) as gone, room.ghosts(room.name) as (young,):
        room.put_connection(young, accepted_at=time.time() + 600)
        calls = faults.management()
        matched = len(gone) + 1 + len(clients)
        assert await room.publish("first") == Report(matched, 0, 0, matched)
        await all_hear(clients, "first")
        await until(lambda: len(room.subscribers()) == 1 + len(clients) and calls.counts[young] > 1)
        assert young in room.subscribers()
        room.put_connection(young, accepted_at=time.time() - 600)
        await until(lambda: young not in room.subscribers())
        await room.publish("last")
        await all_hear(clients, "last")
        assert [calls.counts[connection_id] for connection_id in gone] == [1] * len(gone)
        rows = [row["connectionId"]["S"] for row in room.rows()]
        assert all(rows.count(connection_id) == 1 for connection_id in (*gone, young)), "their CLOSE is still to come"


async def test_dead_letters_of_a_fan_out_are_sent_again_by_a_command(
    deployment: Deployment, room: Room, faults: Faults, dead: StageQueue
) -> None:
    """Some connections take nothing, until SQS gives up, here after one attempt; then the cause is removed."""

    async def redrive(*options: str) -> str:
        return await asyncio.to_thread(deployment.run, "slip-sockets", "redrive", "--stack", PRODUCTION, *options)

    clients = await room.join_many(SOCKETS)
    few = room.subscribers()[:2]
    calls = faults.management(
        lambda connection_id: http.HTTPStatus.INTERNAL_SERVER_ERROR if connection_id in few else None
    )
    with deferred(deployment).dead_after(1, dead):
        await room.publish("first")
        await until(lambda: dead.waiting == len(few))
    calls.fault = lambda connection_id: None
    listed = await redrive("--dry-run")
    assert listed.count(f"chunk         channel {room.name!r}, 1 connections") == len(few)
    assert "first" not in listed
    assert f"{len(few)} sent again" in await redrive()
    await room.publish("last")
    await all_hear(clients, "last")
    assert [client.received for client in clients] == [["first", "last"]] * SOCKETS
    assert dead.waiting == 0
