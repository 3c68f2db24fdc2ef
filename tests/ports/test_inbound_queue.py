"""Every engine's queue of what clients send, with the gateway's own worker behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from slip_sockets.gateway.deferred import MAX_TEXTS, Continuation, Deferred, Disconnected, ReceivedText, Texts
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.worker import DEFAULT_INBOUND_RETRY_S
from slip_sockets.protocol.events import SendText

from ..gateway.doubles import RecordingQueue
from .engines import ME, YOU
from .queues import QueueEngine, YieldingClock
from .scripted_handler import ScriptedHandler

OTHERS = [f"{number:015}=" for number in range(4)]


def text(connection_id: str, data: str) -> Texts:
    return Texts(connection_id, [ReceivedText(f"id-{data}", data.encode())])


def data_of(message: Deferred) -> list[str]:
    assert isinstance(message, Texts)
    return [received.data.decode() for received in message.texts]


def posts(messages: list[Deferred], connection_id: str) -> list[list[str]]:
    """The texts of each message of a connection."""
    return [data_of(message) for message in messages if message.group == connection_id and isinstance(message, Texts)]


def flat(posts: list[list[str]]) -> list[str]:
    return [data for post in posts for data in post]


async def test_each_text_is_handled_once_in_order_and_never_two_of_a_connection_at_a_time(
    inbound_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    numbers = [str(number) for number in range(35)]
    busy: Counter[str] = Counter()
    most_at_once = 0

    @handler.script
    async def handle(message: Deferred) -> None:
        nonlocal most_at_once
        busy[message.group] += 1
        most_at_once = max(most_at_once, busy[message.group])
        for _ in range(3):
            await asyncio.sleep(0)
        busy[message.group] -= 1

    await inbound_engine.queue.put([text(id_, number) for number in numbers[:20] for id_ in OTHERS])
    settling = asyncio.create_task(inbound_engine.settle())
    await inbound_engine.queue.put([text(id_, number) for number in numbers[20:] for id_ in OTHERS])
    await settling
    await inbound_engine.settle()
    for id_ in OTHERS:
        assert flat(posts(handler.handled, id_)) == numbers
    assert len(handler.ended) == len(handler.handled)
    assert most_at_once == 1


async def test_texts_that_wait_are_one_post(inbound_engine: QueueEngine, handler: ScriptedHandler) -> None:
    numbers = [str(number) for number in range(30)]
    await inbound_engine.queue.put([text(ME, number) for number in numbers])
    await inbound_engine.settle()
    made = posts(handler.ended, ME)
    assert flat(made) == numbers
    assert len(made) <= 3, "a batch of SQS has ten messages"
    assert all(len(post) <= MAX_TEXTS for post in made)


async def test_what_open_deferred_comes_first_and_the_disconnect_last(
    inbound_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    first, last = Continuation(ME, [SendText(ME, "welcome")]), Disconnected(ME, 1001, b"bye")
    await inbound_engine.queue.put([first, text(ME, "1"), text(ME, "2"), last])
    await inbound_engine.settle()
    texts = Texts(ME, [ReceivedText("id-1", b"1"), ReceivedText("id-2", b"2")])
    assert handler.ended == [first, texts, last]


async def test_failed_texts_come_again_as_the_same_post_before_later_ones_and_delay_no_other_connection(
    inbound_engine: QueueEngine, handler: ScriptedHandler
) -> None:
    queue = inbound_engine.queue

    @handler.script
    async def handle(message: Deferred) -> None:
        tried = len(posts(handler.handled, ME))
        if message.group == ME and tried <= 4:
            await queue.put([text(ME, f"later {tried}")])
            raise Incomplete(message, "the backend is down")

    await queue.put([text(ME, "1"), text(YOU, "1"), text(ME, "2"), text(YOU, "2")])
    await inbound_engine.settle()
    mine = posts(handler.handled, ME)
    assert mine[:4] == [mine[0]] * 4
    assert mine[4] == mine[0]
    assert flat(posts(handler.ended, ME)) == ["1", "2", *(f"later {number}" for number in range(1, 5))]
    assert flat(posts(handler.handled, YOU)) == ["1", "2"]
    of_you = [index for index, message in enumerate(handler.ended) if message.group == YOU]
    of_me = [index for index, message in enumerate(handler.ended) if message.group == ME]
    assert max(of_you) < min(of_me)


async def test_poison_becomes_a_dead_letter_after_its_time_and_the_next_texts_go_on(
    inbound_engine: QueueEngine, handler: ScriptedHandler, clock: YieldingClock
) -> None:
    queue, times = inbound_engine.queue, list[float]()

    @handler.script
    async def handle(message: Deferred) -> None:
        if isinstance(message, Texts) and "poison" in data_of(message):
            times.append(clock.now())
            if len(times) == 1:
                await queue.put([text(ME, "next"), Disconnected(ME)])
            raise Incomplete(message, "the backend responded with 500")

    await queue.put([text(ME, "poison")])
    await inbound_engine.settle()
    assert [later - earlier for earlier, later in pairwise(times)] == [1, 2, 4, 8, 10, 10, 10, 10]
    assert clock.now() - times[0] <= DEFAULT_INBOUND_RETRY_S
    assert inbound_engine.dead_letters() == [text(ME, "poison")]
    assert handler.ended == [text(ME, "next"), Disconnected(ME)]


@pytest.mark.parametrize("message", [Continuation(ME, [SendText(ME, "1")]), Disconnected(ME, 1006)])
async def test_anything_else_goes_on_in_the_queue_of_deferred_messages(
    inbound_engine: QueueEngine, handler: ScriptedHandler, deferred: RecordingQueue, message: Deferred
) -> None:
    queue = inbound_engine.queue

    @handler.script
    async def handle(handled: Deferred) -> None:
        if handled == message:
            if len(handler.handled) == 1:
                await queue.put([text(ME, "next")])
            raise Incomplete(handled, "the client's buffer is full")

    await queue.put([message])
    await inbound_engine.settle()
    assert deferred.messages == [message]
    assert handler.ended == [text(ME, "next")]
    assert inbound_engine.dead_letters() == []


async def test_text_that_comes_twice_is_handled_once(inbound_engine: QueueEngine, handler: ScriptedHandler) -> None:
    await inbound_engine.queue.put([text(ME, "1"), text(ME, "1"), text(YOU, "1"), Disconnected(ME), Disconnected(ME)])
    await inbound_engine.settle()
    assert sorted(handler.ended, key=repr) == sorted([text(ME, "1"), text(YOU, "1"), Disconnected(ME)], key=repr)
