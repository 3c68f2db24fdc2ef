from __future__ import annotations

import asyncio

import pytest

from slip_sockets.dev.memory import MemoryQueue
from slip_sockets.events import SendText
from slip_sockets.gateway.plan import RETRY_FOR_S, attempts_within, retry_pause_s
from slip_sockets.gateway.ports import Continuation, Deferred, NotDone, Unavailable

from ..gateway.doubles import ME, YOU, FakeClock

AWAY = Unavailable("away")


def texts(connection_id: str, *data: str) -> Continuation:
    return Continuation(connection_id, [SendText(connection_id, text) for text in data])


async def test_messages_of_one_connection_are_handled_in_order_and_of_two_side_by_side() -> None:
    queue, handled = MemoryQueue(FakeClock()), []
    first_of_me, last = asyncio.Event(), asyncio.Event()

    async def handle(message: Deferred) -> None:
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


async def test_what_is_left_is_tried_again_after_growing_pauses() -> None:
    clock = FakeClock()
    queue, handled, done = MemoryQueue(clock), [], asyncio.Event()

    async def handle(message: Deferred) -> None:
        handled.append(message)
        if len(handled) <= 3:
            raise NotDone(texts(ME, "2"), AWAY)
        done.set()

    queue.handle = handle
    await queue.put([texts(ME, "1", "2")])
    async with asyncio.timeout(10):
        await done.wait()
    assert handled == [texts(ME, "1", "2"), *[texts(ME, "2")] * 3]
    assert clock.sleeps == [1, 2, 4]
    await queue.aclose()


async def test_a_message_that_keeps_failing_is_dead_after_six_hours(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    queue, attempts, done = MemoryQueue(clock), 0, asyncio.Event()

    async def handle(message: Deferred) -> None:
        nonlocal attempts
        if message == texts(ME, "next"):
            done.set()
            return
        attempts += 1
        if attempts == 1:
            raise ZeroDivisionError("a bug")
        raise NotDone(message, AWAY)

    queue.handle = handle
    await queue.put([texts(ME, "poison"), texts(ME, "next")])
    async with asyncio.timeout(10):
        await done.wait()
    assert queue.dead_letters == [texts(ME, "poison")]
    assert attempts == attempts_within(RETRY_FOR_S)
    assert clock.sleeps == [retry_pause_s(attempt) for attempt in range(1, attempts)]
    assert caplog.messages[-1] == f"a deferred message for connection {ME} is dead: away"
    await queue.aclose()


async def test_what_waits_at_the_end_is_said_to_be_lost(caplog: pytest.LogCaptureFixture) -> None:
    queue, is_busy = MemoryQueue(FakeClock()), asyncio.Event()

    async def handle(message: Deferred) -> None:
        is_busy.set()
        await asyncio.Event().wait()

    queue.handle = handle
    await queue.put([texts(ME, "1"), texts(ME, "2")])
    await is_busy.wait()
    await queue.aclose()
    assert caplog.messages == ["2 deferred messages are lost with this server"]
