"""OCCUPIED and VACATED: what the backend receives, in which order, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slip_sockets.dev.queue import MemoryQueue
from slip_sockets.gateway.deferred import Continuation
from slip_sockets.gateway.deferred_base import RETRY_FOR_S, Summary
from slip_sockets.gateway.deferred_presence import Look, OccupancyNotice, Sweep
from slip_sockets.gateway.errors import HttpError, Unavailable
from slip_sockets.gateway.occupancy import Occupancy
from slip_sockets.gateway.sweeps import Sweeps
from slip_sockets.gateway.values import Done, Form, HttpResponse, MemberConnection
from slip_sockets.gateway.worker import Retry
from slip_sockets.protocol.events import SendText

from .doubles import ME, START, YOU, FakeClock, RecordingQueue, World

TEA = "room:tea"
TIMEOUT_S = 10
OCCUPIED = {"type": "OCCUPIED", "channelId": TEA}
VACATED = {"type": "VACATED", "channelId": TEA}
BUSY = HttpResponse(503)


def member(connection_id: str = ME, name: str = "ann", **more: Any) -> MemberConnection:
    return MemberConnection(name, connection_id, START, **more)


def gone(connection_id: str = ME, name: str = "ann", metadata: bytes | None = None) -> MemberConnection:
    return member(connection_id, name, left_at=START, metadata=metadata)


class YieldingClock(FakeClock):
    """A sleep lets other tasks run, as a real one does."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture
async def queue(world: World) -> AsyncIterator[MemoryQueue]:
    """A queue with the worker of the world's gateway."""
    queue = MemoryQueue(YieldingClock())
    queue.worker = world.gateway.worker
    yield queue
    await queue.aclose()


def occupancy(world: World, queue: MemoryQueue | None = None) -> Occupancy:
    return Occupancy(world.store, world.queue if queue is None else queue, world.gateway.sockets.replies)


async def handle(world: World, notice: Any, number: int = 1) -> Any:
    return await world.gateway.worker.attempt(notice, number, world.checkpoint, deadline=float("inf"))


async def settled(queue: MemoryQueue) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while len(queue):
            await queue.settle(TIMEOUT_S)


def told(world: World) -> list[tuple[str, str]]:
    return [(event["channelId"], event["type"]) for request in world.client.requests for event in request["events"]]


async def test_the_backend_hears_of_the_first_with_what_is_stored_when_it_is_told(world: World) -> None:
    await world.connected(ME, metadata=b'{"n":1}', user="ann")
    await occupancy(world).changed(TEA, True, member(), 7)
    await world.store.set_metadata(ME, b'{"n":2}')
    world.client.will_reply()
    (notice,) = world.queue.messages
    assert await handle(world, notice) == Done()
    assert world.client.requests == [
        {"connectionId": ME, "metadata": {"n": 2}, "user": "ann", "events": [OCCUPIED]},
    ]


async def test_the_backend_hears_of_the_last_with_what_was_stored_when_it_left(world: World) -> None:
    world.client.will_reply()
    await occupancy(world).changed(TEA, False, gone(metadata=b'"Zo\\u00eb"'), 7)
    world.store.away = {"get"}
    assert await handle(world, world.queue.messages[0]) == Done()
    assert world.client.requests == [{"connectionId": ME, "metadata": "Zoë", "user": "ann", "events": [VACATED]}]


@pytest.mark.parametrize("is_occupied", [True, False])
async def test_nothing_is_known_of_a_connection_that_is_gone_without_a_user(world: World, is_occupied: bool) -> None:
    world.client.will_reply()
    await occupancy(world).changed(TEA, is_occupied, gone(name=ME), 1)
    assert await handle(world, world.queue.messages[0]) == Done()
    event = OCCUPIED if is_occupied else VACATED
    assert world.client.requests == [{"connectionId": ME, "metadata": None, "events": [event]}]


async def test_the_last_may_still_be_connected(world: World) -> None:
    """It has unsubscribed, and the engine has not kept its metadata."""
    world.client.will_reply()
    await world.connected(ME, metadata=b"1")
    await occupancy(world).changed(TEA, False, gone(), 1)
    assert await handle(world, world.queue.messages[0]) == Done()
    assert world.client.requests[0]["metadata"] == 1


async def test_metadata_that_was_read_is_there_at_the_next_attempt(world: World) -> None:
    await world.connected(ME, metadata=b'"first"')
    await occupancy(world).changed(TEA, True, member(), 1)
    (notice,) = world.queue.messages
    world.client.responses = [HttpError("refused"), BUSY]
    assert await handle(world, notice) == Retry(1)
    await world.store.remove(ME)
    assert await handle(world, notice, 2) == Retry(2)
    assert await handle(world, notice, 3) == Done()
    assert [request["metadata"] for request in world.client.requests] == ["first"] * 3
    assert len(world.checkpoint.saved) == 1, "no writes but that of what was read"
    assert world.observer.failures == {"DEFERRED": 2}


async def test_events_of_a_channel_come_in_order_while_one_is_tried_again_and_others_do_not_wait(
    world: World, queue: MemoryQueue
) -> None:
    world.client.responses = [BUSY]
    events = occupancy(world, queue)
    await events.changed(TEA, True, member(), 1)
    await events.changed(TEA, False, gone(), 2)
    await events.changed("room:coffee", True, member(YOU), 1)
    await settled(queue)
    assert told(world) == [(TEA, "OCCUPIED"), ("room:coffee", "OCCUPIED"), (TEA, "OCCUPIED"), (TEA, "VACATED")]


async def test_the_same_change_is_queued_once(world: World, queue: MemoryQueue) -> None:
    """A look that is done again after a crash announces it again."""
    events = occupancy(world, queue)
    for _ in range(2):
        await events.changed(TEA, True, member(), 1)
    await events.changed(TEA, False, gone(), 1)
    await events.changed(TEA, True, member(), 2)
    await settled(queue)
    assert told(world) == [(TEA, "OCCUPIED"), (TEA, "VACATED"), (TEA, "OCCUPIED")]


async def test_an_event_that_the_backend_does_not_take_for_six_hours_is_a_dead_letter(
    world: World, queue: MemoryQueue, caplog: pytest.LogCaptureFixture
) -> None:
    world.client.response = HttpError("refused")
    await occupancy(world, queue).changed(TEA, False, gone(metadata=b"1"), 3)
    clock = queue._clock
    await settled(queue)
    (letter,) = queue.dead_letters
    assert letter == OccupancyNotice(TEA, False, ME, 3, b"1", "ann")
    assert letter.kind == "vacated"
    assert letter.summary == Summary(connection_id=ME, channel=TEA)
    assert RETRY_FOR_S - 900 < clock.now() - START <= RETRY_FOR_S
    assert caplog.messages[-1] == f"channel {TEA!r}: a dead letter: VACATED of {TEA!r}, for the backend"


@pytest.mark.parametrize("response", [HttpResponse(404), HttpResponse(200, body=b"{")])
async def test_an_event_that_the_backend_refuses_is_not_sent_again(world: World, response: HttpResponse) -> None:
    world.client.response = response
    await occupancy(world).changed(TEA, False, gone(), 3)
    assert await handle(world, world.queue.messages[0]) == Done()
    assert len(world.client.requests) == 1
    assert world.observer.failures == {"DEFERRED": 1}


async def test_what_the_backend_asks_for_is_done(world: World) -> None:
    await world.connected(ME, user="ann")
    await world.connected(YOU, channels=["lobby"], form=Form.SLIP_V1)
    world.client.will_reply(
        {"type": "SET_METADATA", "connectionId": ME, "metadata": "host"},
        {"type": "TEXT", "connectionId": ME, "data": "you are the first"},
        {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": "open"},
    )
    await occupancy(world).changed(TEA, True, member(), 1)
    assert await handle(world, world.queue.messages[0]) == Done()
    stored = await world.store.get(ME)
    assert stored is not None
    assert stored.metadata == b'"host"'
    frame = '{"slip":"message","channel":"lobby","data":"open"}'
    assert world.sender.sent == [(ME, "you are the first"), (YOU, frame)]


async def test_what_cannot_be_done_now_is_queued_and_the_event_is_repeated_where_that_is_not_possible(
    world: World,
) -> None:
    await occupancy(world).changed(TEA, False, gone(metadata=b"1"), 1)
    (notice,) = world.queue.messages
    world.client.will_reply({"type": "TEXT", "connectionId": YOU, "data": "bye"})
    world.store.away, world.queue.is_away = {"get"}, True
    assert await handle(world, notice) == Retry(1)
    world.queue.is_away = False
    assert await handle(world, notice, 2) == Done()
    assert world.queue.messages[1:] == [Continuation(ME, [SendText(YOU, "bye")], user="ann")]


async def test_a_change_that_cannot_be_queued_is_unavailable(world: World) -> None:
    world.queue.is_away = True
    with pytest.raises(Unavailable):
        await occupancy(world).changed(TEA, True, member(), 1)


async def test_a_store_that_is_away_is_asked_again(world: World) -> None:
    await occupancy(world).changed(TEA, True, member(), 1)
    world.store.away = {"get"}
    assert await handle(world, world.queue.messages[0]) == Retry(1)
    assert world.client.requests == []


# Sweeps


async def test_a_sweep_becomes_a_look_when_its_time_has_come(world: World) -> None:
    timers = RecordingQueue()
    sweeps = Sweeps(timers, world.queue, world.clock)
    due_at = START + 130 * 60
    await sweeps.look_at(TEA, due_at)
    (sweep,) = timers.messages
    for _ in range(2):  # a queue of SQS delays a message by 15 minutes at most
        world.clock.time += 900
        await sweeps.on_sweep(Sweep(TEA, due_at), world.checkpoint, deadline=float("inf"))
        assert timers.messages.pop() == sweep
        assert world.queue.messages == []
    world.clock.time = due_at
    await sweeps.on_sweep(Sweep(TEA, due_at), world.checkpoint, deadline=float("inf"))
    assert world.queue.messages == [Look(TEA, due_at)]
    assert timers.messages == [sweep]


async def test_a_sweep_that_comes_twice_is_one_look(world: World) -> None:
    looks = [await swept(world) for _ in range(2)]
    assert looks[0].deduplication_id == looks[1].deduplication_id
    assert looks[0].group == looks[1].group


async def swept(world: World) -> Look:
    assert await handle(world, Sweep(TEA, START)) == Done()
    look = world.queue.messages[-1]
    assert isinstance(look, Look)
    return look


async def test_a_sweep_is_tried_again_while_the_queue_is_away(world: World) -> None:
    world.queue.is_away = True
    for due_at in (START, START + 900):
        assert await handle(world, Sweep(TEA, due_at)) == Retry(1)


async def test_sweeps_wait_in_memory_until_they_are_due_and_others_pass_them() -> None:
    clock = YieldingClock()
    queue = MemoryQueue(clock)
    handled: list[tuple[object, float]] = []

    class Noting:
        async def attempt(self, message: object, *_: object, **__: object) -> Done:
            handled.append((message, clock.now()))
            return Done()

    queue.worker = Noting()
    await queue.put([Sweep(TEA, START + 7_800), Look(TEA, START)])
    await settled(queue)
    assert handled[1:] == [(Sweep(TEA, START + 7_800), START + 7_800)]
    await queue.aclose()
