"""Every engine's port Queue, with the gateway's own worker behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest

from slip_sockets.gateway.deferred import (
    CatchUp,
    CloseNotice,
    Continuation,
    Deferred,
    FanOut,
    FanOutChunk,
    Held,
    LateLook,
    Timer,
)
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.deferred_presence import Look, OccupancyNotice, Sweep
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.values import ChannelClose, Form, Link, Publication
from slip_sockets.gateway.worker import attempts_within
from slip_sockets.protocol.events import SendText

from .engines import ME, YOU
from .queues import TIMEOUT_S, QueueEngine, YieldingClock
from .scripted_handler import ScriptedHandler

DEDUPLICATED_FOR_S = 5 * 60


def texts(connection_id: str, *data: str) -> Continuation:
    return Continuation(connection_id, [SendText(connection_id, text) for text in data])


def of_group(handled: Sequence[Deferred], group: str) -> list[Deferred]:
    return [message for message in handled if message.group == group]


# Order


async def test_messages_of_a_group_are_handled_in_the_order_of_put(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    messages = [texts(connection_id, str(number)) for number in range(15) for connection_id in (ME, YOU)]
    await queue_engine.queue.put(messages[:17])
    await queue_engine.queue.put(messages[17:18])
    await queue_engine.queue.put(messages[18:])
    await queue_engine.settle()
    assert len(handler.handled) == len(messages)
    for group in (ME, YOU):
        assert of_group(handler.handled, group) == of_group(messages, group)


@pytest.mark.parametrize("size", [0, 1, 45])
async def test_all_messages_of_a_put_are_in_the_queue_when_it_returns(
    queue_engine: QueueEngine, handler: ScriptedHandler, size: int
) -> None:
    messages = [texts(f"{number:015}=", "x" * 20_000) for number in range(size)]
    await queue_engine.queue.put(messages)
    await queue_engine.settle()
    assert sorted(handler.handled, key=lambda message: message.group) == messages


async def test_each_kind_arrives_as_it_was_put(queue_engine: QueueEngine, handler: ScriptedHandler) -> None:
    messages: list[Deferred] = [
        texts(ME, "Zoë \x00\uffff 😀"),
        CloseNotice(YOU, 1005, None, b'{ "a": 1e400 }'),
        FanOut(Publication("lobby", "hi", "1"), "p1", "a cursor", [ME], [ME], [YOU], 17.5),
        FanOutChunk(ChannelClose("lobby"), "p2", [ME, YOU], 3),
        FanOutChunk(Publication("lobby", "hi", position="abc:1"), "p2", [ME, YOU], 4, Form.SLIP_V1),
        CatchUp(YOU, "lobby", "abc:1"),
        LateLook(YOU, "lobby", "abc:1", 17.5),
        Held(Publication("lobby", "hi", link=Link("2", "1")), "p3", 17.5),
        Timer(ME, "t1", 2, due_at=17.5),
        Look("lobby", 17.5, is_after_grace=True),
        OccupancyNotice("lobby", True, ME, 3, b'{ "a": 1e400 }', "ann"),
        Sweep("lobby", 17.5),
    ]
    await queue_engine.queue.put(messages)
    await queue_engine.settle()
    assert sorted(handler.handled, key=repr) == sorted(messages, key=repr)


async def test_next_of_a_group_waits_for_the_first_and_other_groups_do_not(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    began, may_end = asyncio.Event(), asyncio.Event()
    first, second, other = texts(ME, "1"), texts(ME, "2"), texts(YOU, "1")

    @handler.script
    async def handle(message: Deferred) -> None:
        if message == first:
            began.set()
            await may_end.wait()
        if message == other:
            may_end.set()

    await queue_engine.queue.put([first, second])
    settling = asyncio.create_task(queue_engine.settle())
    async with asyncio.timeout(TIMEOUT_S):
        await began.wait()
    await queue_engine.queue.put([other])
    await settling
    assert handler.handled == [first, other, second]
    assert handler.ended == [other, first, second]


# Failures


async def test_what_remains_of_a_failed_message_comes_before_the_next_of_its_group(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    others = [texts(YOU, str(number)) for number in range(3)]

    @handler.script
    async def handle(message: Deferred) -> None:
        if message == texts(ME, "1", "2"):
            raise Incomplete(texts(ME, "2"), "the client's buffer is full")
        if message == texts(ME, "2") and not set(map(repr, others)) <= set(map(repr, handler.ended)):
            raise Incomplete(message, "the client's buffer is full")

    await queue_engine.queue.put([texts(ME, "1", "2"), others[0], texts(ME, "3"), *others[1:]])
    await queue_engine.settle()
    assert of_group(handler.ended, YOU) == others
    assert of_group(handler.ended, ME) == [texts(ME, "2"), texts(ME, "3")]
    tried, *again = of_group(handler.handled, ME)
    assert tried == texts(ME, "1", "2")
    assert again == [texts(ME, "2")] * (len(again) - 1) + [texts(ME, "3")]


async def test_what_remains_goes_on_where_only_time_was_lacking(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    @handler.script
    async def handle(message: Deferred) -> None:
        assert isinstance(message, Continuation)
        _, *others = message.actions
        if others:
            raise Incomplete(Continuation(ME, others), "no time is left", made_progress=True)

    began_at = clock.now()
    await queue_engine.queue.put([texts(ME, "1", "2", "3"), texts(ME, "4")])
    await queue_engine.settle()
    expected = [texts(ME, "1", "2", "3"), texts(ME, "2", "3"), texts(ME, "3"), texts(ME, "4")]
    assert handler.handled == expected
    assert clock.now() == began_at


async def test_a_retry_waits_longer_each_time(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    times: list[float] = []

    @handler.script
    async def handle(message: Deferred) -> None:
        times.append(clock.now())
        if len(times) < 5:
            raise Incomplete(message, "away")

    await queue_engine.queue.put([texts(ME, "1")])
    await queue_engine.settle()
    assert [later - earlier for earlier, later in pairwise(times)] == [1, 2, 4, 8]


async def test_a_message_that_names_its_time_comes_then_and_other_groups_do_not_wait(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    began_at = clock.now()
    held, times = Held(Publication("lobby", "hi", link=Link("2", "1")), "p1", began_at + 5), list[float]()

    @handler.script
    async def handle(message: Deferred) -> None:
        if message == held:
            times.append(clock.now() - began_at)
            if clock.now() < held.until:
                raise Incomplete(message, "the one before it has not come", pause_s=1, is_exact=True)

    await queue_engine.queue.put([held, texts(ME, "1")])
    await queue_engine.settle()
    assert times == [0, 1, 2, 3, 4, 5]
    assert handler.ended == [texts(ME, "1"), held]


async def test_a_timer_comes_twice_and_not_before_its_time(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    """Each is a group of its own: one that is due later does not hold up another."""
    due_at = clock.now() + 55.4
    timers = [Timer(ME, "later", due_at=due_at + 60), Timer(ME, "sooner", due_at=due_at)]

    @handler.script
    async def handle(message: Deferred) -> None:
        assert isinstance(message, Timer)
        if clock.now() < message.due_at:
            raise Incomplete(message, "its time has not come", pause_s=message.due_at - clock.now(), is_exact=True)

    await queue_engine.queue.put(timers)
    await queue_engine.settle()
    assert max(handler.handled.count(timer) for timer in timers) == 2
    assert handler.ended == timers[::-1]


async def test_next_tick_of_a_timer_is_put_once(queue_engine: QueueEngine, handler: ScriptedHandler) -> None:
    timers = [Timer(ME, "t", number, due_at=float(number)) for number in (1, 2)]
    for timer in (timers[0], timers[1], msgspec.structs.replace(timers[1], due_at=9.0)):
        await queue_engine.queue.put([timer])
    await queue_engine.settle()
    assert handler.handled == timers


async def test_an_unforeseen_error_is_tried_again(queue_engine: QueueEngine, handler: ScriptedHandler) -> None:
    @handler.script
    async def handle(message: Deferred) -> None:
        if handler.handled.count(message) < 3:
            raise ZeroDivisionError("a bug")

    await queue_engine.queue.put([texts(ME, "1"), texts(ME, "2"), texts(YOU, "1")])
    await queue_engine.settle()
    assert of_group(handler.handled, ME) == [texts(ME, "1")] * 3 + [texts(ME, "2")] * 3
    assert of_group(handler.handled, YOU) == [texts(YOU, "1")] * 3


async def test_a_message_that_always_fails_becomes_a_dead_letter_and_frees_its_group(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    poison, next_one = texts(ME, "poison"), texts(ME, "next")

    @handler.script
    async def handle(message: Deferred) -> None:
        if message == poison:
            raise Incomplete(message, "away")

    began_at = clock.now()
    await queue_engine.queue.put([poison])
    await queue_engine.settle()
    assert handler.handled == [poison] * attempts_within(RETRY_FOR_S)
    assert queue_engine.dead_letters() == [poison]
    assert clock.now() - began_at <= RETRY_FOR_S + 900
    await queue_engine.queue.put([next_one])
    await queue_engine.settle()
    assert handler.ended == [next_one]


# Deduplication


def fan_out(publish_id: str, message_id: str | None = "m1", channel: str = "lobby") -> FanOut:
    return FanOut(Publication(channel, "hi", message_id), publish_id)


async def test_a_second_message_with_the_same_deduplication_id_is_dropped_for_five_minutes(
    queue_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    began_at = clock.now()
    await queue_engine.queue.put([fan_out("p1")])
    await queue_engine.queue.put([fan_out("p2"), fan_out("p3", message_id="m2")])
    await queue_engine.settle()
    assert handler.handled == [fan_out("p1"), fan_out("p3", message_id="m2")]
    clock.time = began_at + DEDUPLICATED_FOR_S - 1
    await queue_engine.queue.put([fan_out("p4")])  # the first was handled long ago
    await queue_engine.settle()
    assert len(handler.handled) == 2
    clock.time = began_at + DEDUPLICATED_FOR_S
    await queue_engine.queue.put([fan_out("p5")])
    await queue_engine.settle()
    assert handler.handled[2:] == [fan_out("p5")]


async def test_the_same_deduplication_id_in_another_group_is_not_dropped(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    messages = [fan_out("p1"), fan_out("p2", channel="hall")]
    assert len({message.deduplication_id for message in messages}) == 1
    await queue_engine.queue.put(messages)
    await queue_engine.settle()
    assert sorted(handler.handled, key=repr) == sorted(messages, key=repr)


async def test_equal_messages_without_an_id_are_not_duplicates(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    await queue_engine.queue.put([texts(ME, "1"), texts(ME, "1")])
    await queue_engine.settle()
    assert handler.handled == [texts(ME, "1")] * 2


async def test_a_chunk_is_a_duplicate_of_one_with_the_same_publish_and_connections(
    queue_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    chunk = FanOutChunk(Publication("lobby", "hi"), "p1", [ME, YOU], 3)
    changed = msgspec.structs.replace(chunk, connection_ids=[ME])
    other = msgspec.structs.replace(chunk, publish_id="p2")
    await queue_engine.queue.put([chunk, changed, other, chunk])
    await queue_engine.settle()
    assert handler.handled == [chunk, changed, other]
