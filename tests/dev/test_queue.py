from __future__ import annotations

import asyncio

import msgspec
import pytest

from slip_sockets.dev.queue import MemoryQueue
from slip_sockets.events import PublishText, SendText
from slip_sockets.gateway.plan import RETRY_FOR_S, attempts_within, retry_pause_s
from slip_sockets.gateway.ports import Continuation, Deferred, FanOut, FanOutChunk, Keep, NotDone

from ..gateway.doubles import ME, YOU, FakeClock


def texts(connection_id: str, *data: str) -> Continuation:
    return Continuation(connection_id, [SendText(connection_id, text) for text in data])


async def test_messages_of_one_connection_are_handled_in_order_and_of_two_side_by_side() -> None:
    queue, handled = MemoryQueue(FakeClock()), []
    first_of_me, last = asyncio.Event(), asyncio.Event()

    async def handle(message: Deferred, keep: Keep) -> None:
        if message == texts(ME, "1"):
            await first_of_me.wait()
        handled.append(message)
        if message == texts(YOU, "1"):
            first_of_me.set()
        if message == texts(ME, "2"):
            last.set()

    queue.handle = handle
    await queue.put([texts(ME, "1"), texts(ME, "2"), texts(YOU, "1")])
    async with asyncio.timeout(10):
        await last.wait()
    assert handled == [texts(YOU, "1"), texts(ME, "1"), texts(ME, "2")]
    await queue.aclose()


async def test_chunks_of_a_channel_go_side_by_side_and_those_of_a_shard_in_order() -> None:
    queue, handled, done = MemoryQueue(FakeClock()), [], asyncio.Event()
    other_shard = asyncio.Event()
    event = PublishText("lobby", "hi")
    first, second = FanOutChunk(event, "p1", [ME], 1), FanOutChunk(event, "p2", [ME], 1)
    other, slow = FanOutChunk(event, "p1", [YOU], 2), FanOutChunk(event, "p1", [ME])

    async def handle(message: Deferred, keep: Keep) -> None:
        if message == first:
            await other_shard.wait()
        handled.append(message)
        if len(handled) == 2:
            other_shard.set()
        if message == second:
            done.set()

    queue.handle = handle
    await queue.put([first, second, other, slow])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [other, slow, first, second]
    await queue.aclose()


async def test_what_is_left_is_tried_again_after_growing_pauses() -> None:
    clock = FakeClock()
    queue, handled, done = MemoryQueue(clock), [], asyncio.Event()

    async def handle(message: Deferred, keep: Keep) -> None:
        handled.append(message)
        if len(handled) <= 3:
            raise NotDone(texts(ME, "2"), "away")
        done.set()

    queue.handle = handle
    await queue.put([texts(ME, "1", "2")])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [texts(ME, "1", "2"), *[texts(ME, "2")] * 3]
    assert clock.sleeps == [1, 2, 4]
    await queue.aclose()


async def test_what_lacked_time_alone_goes_on_at_once_and_lets_others_go_on_too() -> None:
    clock = FakeClock()
    queue, handled, done = MemoryQueue(clock), [], asyncio.Event()

    async def handle(message: Deferred, keep: Keep) -> None:
        handled.append(message)
        if message == texts(YOU, "1"):
            done.set()
        elif not done.is_set():
            raise NotDone(texts(ME, "2"), "no time was left", has_advanced=True)

    queue.handle = handle
    await queue.put([texts(ME, "1", "2"), texts(YOU, "1")])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled[0] == texts(ME, "1", "2")
    assert texts(ME, "2") in handled
    assert clock.sleeps == []
    await queue.aclose()


async def test_retry_starts_from_what_was_kept() -> None:
    queue, handled, done = MemoryQueue(FakeClock()), [], asyncio.Event()
    whole = FanOut(PublishText("lobby", "hi"), "p1")
    second, third = msgspec.structs.replace(whole, after="2"), msgspec.structs.replace(whole, after="3")

    async def handle(message: Deferred, keep: Keep) -> None:
        handled.append(message)
        match len(handled):
            case 1:
                await keep(second)
                raise ZeroDivisionError("a bug")
            case 2:
                await keep(third)
                raise NotDone(message, "away")  # from where it began: what was kept since is further
            case _:
                done.set()

    queue.handle = handle
    await queue.put([whole])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [whole, second, third]
    await queue.aclose()


async def test_a_message_that_keeps_failing_is_dead_after_six_hours(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    queue, attempts, done = MemoryQueue(clock), 0, asyncio.Event()

    async def handle(message: Deferred, keep: Keep) -> None:
        nonlocal attempts
        if message == texts(ME, "next"):
            done.set()
            return
        attempts += 1
        if attempts == 1:
            raise ZeroDivisionError("a bug")
        raise NotDone(message, "away")

    queue.handle = handle
    await queue.put([texts(ME, "poison"), texts(ME, "next")])
    async with asyncio.timeout(10):
        await done.wait()
    assert queue.dead_letters == [texts(ME, "poison")]
    assert attempts == attempts_within(RETRY_FOR_S)
    assert clock.sleeps == [retry_pause_s(attempt) for attempt in range(1, attempts)]
    assert caplog.messages[-1] == f"a deferred continuation of group {ME} is dead: away"
    await queue.aclose()


async def test_what_waits_at_the_end_is_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    queue, is_busy = MemoryQueue(FakeClock()), asyncio.Event()

    async def handle(message: Deferred, keep: Keep) -> None:
        is_busy.set()
        await asyncio.Event().wait()

    queue.handle = handle
    await queue.put([texts(ME, "1"), texts(ME, "2")])
    await is_busy.wait()
    await queue.aclose()
    assert caplog.messages == ["2 deferred messages are lost with this server"]
