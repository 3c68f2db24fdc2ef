"""The queue in memory. tests/gateway/test_worker.py holds what an attempt does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from slip_sockets.dev.queue import DEDUPLICATION_S, MemoryQueue
from slip_sockets.gateway.deferred import Continuation, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.values import Publication
from slip_sockets.gateway.worker import DeferredWorker, attempts_within, retry_pause_s
from slip_sockets.protocol.events import SendText

from ..gateway.doubles import ME, YOU, FakeClock


def texts(connection_id: str, *data: str) -> Continuation:
    return Continuation(connection_id, [SendText(connection_id, text) for text in data])


class YieldingClock(FakeClock):
    """A sleep lets other tasks run, as a real one does."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


def queue_with(
    handle: Callable[[Deferred, Checkpoint], Awaitable[None]], clock: FakeClock | None = None
) -> MemoryQueue:
    """Return a queue with the gateway's own worker, and the same handler for all kinds of messages."""

    async def handler(message: Deferred, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        assert deadline == float("inf")
        await handle(message, checkpoint)

    queue = MemoryQueue(clock or FakeClock())
    queue.worker = DeferredWorker(dict.fromkeys((Continuation, FanOut, FanOutChunk), handler))
    return queue


async def test_messages_of_one_connection_are_handled_in_order_and_of_two_side_by_side() -> None:
    handled = []
    first_of_me, last = asyncio.Event(), asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        if message == texts(ME, "1"):
            await first_of_me.wait()
        handled.append(message)
        if message == texts(YOU, "1"):
            first_of_me.set()
        if message == texts(ME, "2"):
            last.set()

    queue = queue_with(handle)
    await queue.put([texts(ME, "1"), texts(ME, "2"), texts(YOU, "1")])
    async with asyncio.timeout(10):
        await last.wait()
    assert handled == [texts(YOU, "1"), texts(ME, "1"), texts(ME, "2")]
    await queue.aclose()


async def test_chunks_of_a_channel_go_side_by_side_and_those_of_a_shard_in_order() -> None:
    handled, done = [], asyncio.Event()
    other_shard = asyncio.Event()
    broadcast = Publication("lobby", "hi")
    first, second = FanOutChunk(broadcast, "p1", [ME], 1), FanOutChunk(broadcast, "p2", [ME], 1)
    other, slow = FanOutChunk(broadcast, "p1", [YOU], 2), FanOutChunk(broadcast, "p1", [ME])

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        if message == first:
            await other_shard.wait()
        handled.append(message)
        if len(handled) == 2:
            other_shard.set()
        if message == second:
            done.set()

    queue = queue_with(handle)
    await queue.put([first, second, other, slow])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [other, slow, first, second]
    await queue.aclose()


async def test_the_remaining_part_is_tried_again_after_growing_pauses() -> None:
    clock = FakeClock()
    handled, done = [], asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        handled.append(message)
        if len(handled) <= 3:
            raise Incomplete(texts(ME, "2"), "away")
        done.set()

    queue = queue_with(handle, clock)
    await queue.put([texts(ME, "1", "2")])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [texts(ME, "1", "2"), *[texts(ME, "2")] * 3]
    assert clock.sleeps == [1, 2, 4]
    await queue.aclose()


async def test_a_message_that_lacked_time_alone_goes_on_at_once_and_lets_others_go_on_too() -> None:
    clock = YieldingClock()
    handled, done, gone_on = [], asyncio.Event(), asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        handled.append(message)
        if message == texts(YOU, "1"):
            done.set()
        elif not done.is_set():
            raise Incomplete(texts(ME, "2"), "no time was left", made_progress=True)
        else:
            gone_on.set()

    queue = queue_with(handle, clock)
    await queue.put([texts(ME, "1", "2"), texts(YOU, "1")])
    async with asyncio.timeout(10):
        await done.wait()
        await gone_on.wait()
    assert handled[0] == texts(ME, "1", "2")
    assert texts(ME, "2") in handled
    assert set(clock.sleeps) == {0}
    await queue.aclose()


async def test_retry_starts_from_the_checkpoint() -> None:
    handled, done = [], asyncio.Event()
    whole = FanOut(Publication("lobby", "hi"), "p1")
    second, third = msgspec.structs.replace(whole, after="2"), msgspec.structs.replace(whole, after="3")

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        handled.append(message)
        match len(handled):
            case 1:
                await checkpoint.save(second)
                raise ZeroDivisionError("a bug")
            case 2:
                await checkpoint.save(third)
                raise Incomplete(message, "away")  # the part it began with; the checkpoint is further
            case _:
                done.set()

    queue = queue_with(handle)
    await queue.put([whole])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [whole, second, third]
    await queue.aclose()


async def test_a_message_that_keeps_failing_is_a_dead_letter_after_six_hours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    attempts, done = 0, asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        nonlocal attempts
        if message == texts(ME, "next"):
            done.set()
            return
        attempts += 1
        if attempts == 1:
            raise ZeroDivisionError("a bug")
        raise Incomplete(texts(ME, "poison"), "away")

    queue = queue_with(handle, clock)
    await queue.put([texts(ME, "good", "poison"), texts(ME, "next")])
    async with asyncio.timeout(10):
        await done.wait()
    assert queue.dead_letters == [texts(ME, "poison")]
    assert attempts == attempts_within(RETRY_FOR_S)
    assert clock.sleeps == [retry_pause_s(attempt) for attempt in range(1, attempts)]
    assert caplog.messages[-2:] == [
        f"connection {ME}: deferred, attempt {attempts}: away; this was the last attempt",
        f"connection {ME}: a dead letter: an event that had to wait",
    ]
    await queue.aclose()


async def test_messages_that_wait_at_the_end_are_logged_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    is_busy = asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        is_busy.set()
        await asyncio.Event().wait()

    queue = queue_with(handle)
    await queue.put([texts(ME, "1"), texts(ME, "2")])
    await is_busy.wait()
    await queue.aclose()
    assert caplog.messages == ["2 deferred messages are lost with this server"]
    assert len(queue) == 0


async def test_a_queue_that_was_closed_takes_messages_again() -> None:
    handled, is_busy, done = [], asyncio.Event(), asyncio.Event()

    async def handle(message: Deferred, checkpoint: Checkpoint) -> None:
        handled.append(message)
        if message == texts(ME, "lost"):
            is_busy.set()
            await asyncio.Event().wait()
        done.set()

    queue = queue_with(handle)
    await queue.put([texts(ME, "lost")])
    await is_busy.wait()
    await queue.aclose()
    await queue.put([texts(ME, "next")])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [texts(ME, "lost"), texts(ME, "next")]
    await queue.aclose()


# Deduplication


class Handled:
    """A handler that remembers the messages, and a queue with it. `put` waits until all are handled."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.messages: list[Deferred] = []
        self.queue = queue_with(self._handle, self.clock)

    async def _handle(self, message: Deferred, checkpoint: Checkpoint) -> None:
        self.messages.append(message)

    async def put(self, *messages: Deferred) -> list[Deferred]:
        """Return those that were handled."""
        self.messages.clear()
        await self.queue.put(messages)
        async with asyncio.timeout(10):
            await asyncio.gather(*self.queue._tasks)
        return list(self.messages)


def fan_out(publish_id: str, message_id: str | None = "m1", channel: str = "lobby") -> FanOut:
    return FanOut(Publication(channel, "hi", message_id), publish_id)


async def test_a_second_message_with_its_deduplication_id_is_dropped_for_five_minutes_and_then_taken() -> None:
    handled = Handled()
    first = fan_out("p1")
    assert await handled.put(first, fan_out("p2")) == [first]
    handled.clock.time += DEDUPLICATION_S - 1
    assert DEDUPLICATION_S == 5 * 60
    assert await handled.put(fan_out("p3")) == []  # dropped; it prolongs nothing
    handled.clock.time += 1
    assert await handled.put(fan_out("p4")) == [fan_out("p4")]
    assert await handled.put(fan_out("p5")) == []


async def test_other_ids_and_other_groups_are_not_duplicates() -> None:
    handled = Handled()
    messages = [
        fan_out("p1"),
        fan_out("p2", message_id="m2"),
        fan_out("p3", channel="hall"),
        fan_out("p4", message_id=None),
        fan_out("p5", message_id=None),
    ]
    assert sorted(await handled.put(*messages), key=repr) == sorted(messages, key=repr)
    same_twice = texts(ME, "1")
    assert await handled.put(same_twice, same_twice) == [same_twice, same_twice]


async def test_a_chunk_is_a_duplicate_by_its_publish_and_its_connections() -> None:
    handled = Handled()
    broadcast = Publication("lobby", "hi")
    chunk, changed = FanOutChunk(broadcast, "p1", [ME], 1), FanOutChunk(broadcast, "p1", [ME, YOU], 1)
    assert await handled.put(chunk, chunk, changed) == [chunk, changed]


async def test_ids_of_dropped_messages_are_forgotten_in_time() -> None:
    handled = Handled()
    for number in range(1_000):
        handled.clock.time += 1
        await handled.put(fan_out(f"p{number}", message_id=f"m{number}"))
    assert len(handled.queue._seen) == DEDUPLICATION_S
