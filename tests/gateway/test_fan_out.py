from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import pytest

from slip_sockets.events import CloseChannel, PublishText, Report
from slip_sockets.gateway.fan_out import (
    COUNT_FOR_S,
    FAILING_FOR_S,
    INLINE_FOR_S,
    MARKED_FOR_S,
    MAX_SLOW,
    RESERVE_S,
    Broadcast,
)
from slip_sockets.gateway.plan import RECENT_S, Recent
from slip_sockets.gateway.ports import (
    SHARDS,
    CloseNotice,
    Deferred,
    FanOut,
    FanOutChunk,
    NotDone,
    shard_of,
)

from .doubles import INLINE_LIMIT, PAGE_SIZE, World, control_event

HI = PublishText("room", "hi")


def ids(count: int) -> list[str]:
    return [f"{number:015d}=" for number in range(count)]


async def publish(world: World, event: Broadcast = HI, *, deadline: float = 1e12) -> Report:
    return await world.broadcaster.broadcast(event, Recent(), deadline=deadline)


def taken(world: World) -> list[Any]:
    messages, world.queue.messages = world.queue.messages, []
    return messages


async def not_done(world: World, message: Deferred, **options: Any) -> NotDone:
    with pytest.raises(NotDone) as failure:
        await world.defer(message, **options)
    return failure.value


# Few


async def test_few_are_sent_to_at_once(world: World) -> None:
    few = ids(INLINE_LIMIT)
    await world.connected(*few, channels=["room"])
    assert await publish(world) == Report(INLINE_LIMIT, INLINE_LIMIT, 0, 0)
    assert world.management.posted == [(whose, "hi") for whose in few]
    assert world.management.untils == [world.clock.now() + INLINE_FOR_S]
    assert world.queue.messages == []


async def test_the_publishers_function_ends_in_time(world: World) -> None:
    await world.connected(*ids(2), channels=["room"])
    deadline = world.clock.now() + RESERVE_S + 1
    await publish(world, deadline=deadline)
    assert world.management.untils == [deadline - RESERVE_S]


async def test_who_is_left_when_the_time_is_up_is_queued_by_shard(world: World) -> None:
    few = ids(INLINE_LIMIT)
    await world.connected(*few, channels=["room"])
    world.management.has_time_for = 1
    assert await publish(world) == Report(4, 1, 0, 3)
    chunks = taken(world)
    assert sorted(whose for chunk in chunks for whose in chunk.connection_ids) == few[1:]
    assert [chunk.shard for chunk in chunks] == sorted({shard_of(whose) for whose in few[1:]})
    assert (await world.store.channel_state("room")).is_queued


async def test_a_client_that_takes_no_more_waits_alone_and_later_texts_wait_behind(world: World) -> None:
    slow, quick = ids(2)
    await world.connected(slow, quick, channels=["room"])
    world.management.failing = {slow: 1}
    assert await publish(world) == Report(2, 1, 0, 1)
    assert await publish(world, PublishText("room", "second")) == Report(2, 1, 0, 1)
    first, second = taken(world)
    assert (first.event, first.connection_ids, first.shard) == (HI, [slow], None)
    assert (second.event.data, second.connection_ids, second.shard) == ("second", [slow], None)
    assert first.group == second.group
    assert slow in first.group
    await world.defer(first)
    await world.defer(second)
    assert world.management.posted == [(quick, "hi"), (quick, "second"), (slow, "hi"), (slow, "second")]


async def test_many_that_fail_have_a_common_cause_and_wait_together(world: World) -> None:
    world.broadcaster = type(world.broadcaster)(
        world.store, world.management, world.queue, world.clock, inline_limit=100
    )
    many = ids(MAX_SLOW + 1)
    await world.connected(*many, channels=["room"])
    world.management.failing = dict.fromkeys(many, 1)
    assert await publish(world) == Report(21, 0, 0, 21)
    assert len(taken(world)) <= SHARDS
    state = await world.store.channel_state("room")
    assert (state.is_queued, state.slow) == (True, frozenset())


async def test_a_slow_client_is_marked_until_its_text_has_had_its_turn(world: World) -> None:
    (slow,) = ids(1)
    await world.connected(slow, channels=["room"])
    world.management.failing = {slow: 2}
    await publish(world)
    world.clock.time += FAILING_FOR_S - 1
    (single,) = taken(world)
    failure = await not_done(world, single)
    assert (failure.rest, str(failure), failure.has_advanced) == (single, "the client's buffer is full", False)
    world.clock.time += FAILING_FOR_S - 1
    assert (await world.store.channel_state("room")).slow == {slow}
    world.clock.time += 2
    assert (await world.store.channel_state("room")).slow == frozenset()


async def test_who_is_slow_is_queued_where_the_table_cannot_remember_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The others have it: to tell the publisher that it failed would have it sent to them again."""
    slow, other = ids(2)
    await world.connected(slow, other, channels=["room"])
    world.management.failing = {slow: 1}
    world.store.away = {"mark_slow"}
    assert await publish(world) == Report(2, 1, 0, 1)
    (single,) = taken(world)
    await world.defer(single)
    assert world.management.posted == [(other, "hi"), (slow, "hi")]
    said = "channel 'room': a later publish may overtake what waits: the table is away for mark_slow"
    assert said in caplog.messages


async def test_who_is_left_is_queued_where_the_table_cannot_remember_it(world: World) -> None:
    many = ids(4)
    await world.connected(*many, channels=["room"])
    world.management.has_time_for = 1
    world.store.away = {"mark_queued"}
    assert await publish(world) == Report(4, 1, 0, 3)
    assert sorted(one for chunk in taken(world) for one in chunk.connection_ids) == sorted(many[1:])


async def test_gone_subscribers_cost_one_call(world: World) -> None:
    here, left = ids(2)
    await world.connected(here, left, channels=["room", "hall"])
    world.management.gone = {left}
    assert await publish(world) == Report(2, 1, 1, 0)
    assert await publish(world, PublishText("hall", "x")) == Report(1, 1, 0, 0)
    assert world.management.calls == [[here, left], [here]]


async def test_a_gone_subscriber_whose_age_cannot_be_read_is_kept(world: World) -> None:
    here, left = ids(2)
    await world.connected(here, left, channels=["room"])
    world.management.gone = {left}
    world.store.away = {"forget"}
    assert await publish(world) == Report(2, 1, 0, 1)
    (single,) = taken(world)
    world.store.away.clear()
    await world.defer(single)
    assert [page.connection_ids async for page in world.store.subscribers("room")] == [[here]]


# Many


async def test_many_are_queued_and_counted(world: World) -> None:
    await world.connected(*ids(10), channels=["room"])
    assert await publish(world) == Report(10, 0, 0, 10)
    (message,) = taken(world)
    assert isinstance(message, FanOut)
    assert (message.event, message.after, message.joined, message.left) == (HI, None, [], [])
    assert world.management.calls == []


async def test_a_channel_too_large_to_be_counted_has_more(world: World) -> None:
    await world.connected(*ids(10), channels=["room"])
    deadline = world.clock.now() + RESERVE_S  # no time at all
    report = await publish(world, deadline=deadline)
    assert report == Report(5, 0, 0, 5, more=True)
    assert len(world.queue.messages) == 1


async def test_a_count_that_fails_says_less_and_publishes_all_the_same(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await world.connected(*ids(10), channels=["room"])
    world.store.away = {"count"}
    assert await publish(world) == Report(5, 0, 0, 5, more=True)
    assert caplog.messages == ["channel 'room': its subscribers could not be counted: the table is away for count"]
    assert COUNT_FOR_S < RESERVE_S


async def test_the_pages_of_a_channel_become_chunks_of_a_shard_each(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world)
    (message,) = taken(world)
    await world.broadcaster.split(message, keep_in(world), deadline=1e12)
    chunks = taken(world)
    assert sorted(whose for chunk in chunks for whose in chunk.connection_ids) == many
    assert all({shard_of(whose) for whose in chunk.connection_ids} == {chunk.shard} for chunk in chunks)
    assert max(len(chunk.connection_ids) for chunk in chunks) <= PAGE_SIZE
    assert [getattr(rest, "after", None) is not None for rest in world.kept] == [True] * 3, (
        "after each page but the last"
    )
    for chunk in chunks:
        await world.defer(chunk)
    assert sorted(world.management.posted) == [(whose, "hi") for whose in many]


async def test_a_split_that_lacks_time_goes_on_at_once_where_it_stopped(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world)
    (message,) = taken(world)
    with pytest.raises(NotDone) as failure:
        await world.broadcaster.split(message, keep_in(world), deadline=world.clock.now() + RESERVE_S - 1)
    rest: Any = failure.value.rest
    assert failure.value.has_advanced
    assert len(chunked(world)) == PAGE_SIZE
    await world.broadcaster.split(rest, keep_in(world), deadline=1e12)
    assert sorted(chunked(world)) == many


async def test_a_split_that_fails_goes_on_where_it_failed(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world)
    (message,) = taken(world)

    async def keep_and_lose_the_queue(rest: Deferred) -> None:
        world.queue.is_away = True

    with pytest.raises(NotDone) as failure:
        await world.broadcaster.split(message, keep_and_lose_the_queue, deadline=1e12)
    assert (str(failure.value), failure.value.has_advanced) == ("the queue is away", False)
    world.clock.time += FAILING_FOR_S - 1
    assert (await world.store.channel_state("room")).is_queued, "as long as it may rest"
    world.queue.is_away = False
    rest: Any = failure.value.rest
    await world.broadcaster.split(rest, keep_in(world), deadline=1e12)
    assert sorted(chunked(world)) == many


async def test_a_page_split_again_is_recognised_unless_it_has_changed(world: World) -> None:
    await world.connected(*ids(5), channels=["room"])
    await publish(world)
    (message,) = taken(world)
    seen = []
    for _ in range(2):
        await world.broadcaster.split(message, keep_in(world), deadline=1e12)
        seen.append({chunk.deduplication_id for chunk in taken(world)})
    assert seen[0] == seen[1]
    await world.store.remove(ids(5)[0])
    await world.broadcaster.split(message, keep_in(world), deadline=1e12)
    assert {chunk.deduplication_id for chunk in taken(world)} != seen[0]


def test_a_publish_repeated_with_its_id_is_recognised_in_the_queue() -> None:
    once, again = (FanOut(PublishText("room", "x", "m" * 128), publish_id) for publish_id in "ab")
    assert once.deduplication_id == again.deduplication_id
    assert FanOut(HI, "a").deduplication_id != FanOut(HI, "b").deduplication_id
    assert FanOut(CloseChannel("room"), "a").deduplication_id == "a"


async def test_a_chunk_sends_to_those_who_are_left_when_it_comes_again(world: World) -> None:
    whose = ids(3)
    await world.connected(*whose, channels=["room"])
    world.management.has_time_for = 2
    chunk = FanOutChunk(HI, "p", whose, shard=0)
    failure = await not_done(world, chunk, deadline=world.clock.now() + 60)
    assert failure.has_advanced
    assert str(failure) == "1 connections are left: no time was left"
    assert failure.rest == FanOutChunk(HI, "p", whose[2:], shard=0)
    await world.defer(failure.rest)
    assert world.management.posted == [(one, "hi") for one in whose]
    assert world.management.untils[0] == world.clock.now() + 60 - RESERVE_S


async def test_one_slow_client_leaves_its_chunk(world: World) -> None:
    slow, *others = whose = ids(3)
    await world.connected(*whose, channels=["room"])
    world.management.failing = {slow: 1}
    await world.defer(FanOutChunk(HI, "p", whose, shard=0))
    assert world.management.posted == [(one, "hi") for one in others]
    assert taken(world) == [FanOutChunk(HI, "p", [slow])]
    await world.defer(FanOutChunk(PublishText("room", "2"), "q", whose, shard=0))
    assert taken(world) == [FanOutChunk(PublishText("room", "2"), "q", [slow])], "behind the first"


async def test_a_chunk_whose_slow_client_cannot_be_queued_keeps_it(world: World) -> None:
    slow, *others = whose = ids(3)
    await world.connected(*whose, channels=["room"])
    world.management.failing = {slow: 1}
    world.queue.is_away = True
    failure = await not_done(world, FanOutChunk(HI, "p", whose, shard=0))
    assert failure.rest == FanOutChunk(HI, "p", [slow], shard=0)
    assert str(failure) == "1 connections are left: the queue is away"
    assert world.management.posted == [(one, "hi") for one in others]


async def test_a_chunk_sends_nothing_while_it_cannot_know_who_is_slow(world: World) -> None:
    await world.connected(*ids(3), channels=["room"])
    world.store.away = {"channel_state"}
    chunk = FanOutChunk(HI, "p", ids(3), shard=0)
    assert (await not_done(world, chunk)).rest == chunk
    assert world.management.calls == []


async def test_a_channel_is_closed_by_chunks(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world, CloseChannel("room"))
    await drain(world, random.Random(1))
    assert sorted(world.management.deleted) == many


# Order


async def test_a_publish_follows_those_that_wait_in_the_queue(world: World) -> None:
    whose = ids(10)
    await world.connected(*whose, channels=["room"])
    await publish(world)
    for left in whose[2:]:
        await world.store.remove(left)
    assert await publish(world, PublishText("room", "second")) == Report(2, 0, 0, 2)
    assert [message.event.data for message in taken(world)] == ["hi", "second"]
    world.clock.time += MARKED_FOR_S + 1
    assert await publish(world, PublishText("room", "third")) == Report(2, 2, 0, 0)


async def test_a_channel_stays_with_the_queue_while_messages_of_it_are_worked_on(world: World) -> None:
    whose = ids(2)
    await world.connected(*whose, channels=["room"])
    for _ in range(3):
        await world.defer(FanOutChunk(HI, "p", whose, shard=0))
        world.clock.time += MARKED_FOR_S - 1
    assert await publish(world) == Report(2, 0, 0, 2)


@pytest.mark.parametrize("seed", range(40))
async def test_each_connection_sees_all_publishes_in_order_whatever_fails(world: World, seed: int) -> None:
    """One caller publishes to a channel that grows and shrinks across the inline limit, while calls fail and lack time,
    the queue's groups advance in any order, and workers die before what they did is noted."""
    chance = random.Random(seed)
    whose = ids(9)
    await world.connected(*whose, channels=["room"])
    absent: set[str] = set()
    for number in range(12):
        world.management.failing = {one: chance.randrange(1, 3) for one in whose if chance.random() < 0.1}
        world.management.has_time_for = chance.choice([1, 3, 99, 99])
        await publish(world, PublishText("room", f"{number:02d}"))
        await drain(world, chance, steps=chance.randrange(6), deaths=0.1)
        if chance.random() < 0.3:
            world.clock.time += MARKED_FOR_S / 2
        for one in whose[3:]:  # come and go; the others stay throughout
            if chance.random() < 0.3:
                continue
            await (world.store.subscribe if one in absent else world.store.unsubscribe)(one, "room")
            absent ^= {one}
    world.management.failing.clear()
    world.management.has_time_for = 99
    await drain(world, chance, deaths=0.1)
    received = defaultdict(list)
    for one, data in world.management.posted:
        received[one].append(data)
    for one in whose:
        first_times = list(dict.fromkeys(received[one]))
        assert first_times == sorted(first_times), one
    everything = [f"{number:02d}" for number in range(12)]
    for one in whose[:3]:
        assert sorted({*received[one]}) == everything, one


async def drain(world: World, chance: random.Random, *, steps: int | None = None, deaths: float = 0) -> None:
    """Work on the queue as FIFO groups do: any group next, its first message until that is done."""
    while world.queue.messages and steps != 0:
        steps = None if steps is None else steps - 1
        groups: dict[str, deque[Deferred]] = defaultdict(deque)
        for message in world.queue.messages:
            groups[message.group].append(message)
        message = chance.choice([group[0] for group in groups.values()])
        place = next(index for index, one in enumerate(world.queue.messages) if one is message)
        try:
            await work(world, message)
        except NotDone as failure:
            if chance.random() >= deaths:
                world.queue.messages[place] = failure.rest
        else:
            if chance.random() >= deaths:
                del world.queue.messages[place]


async def work(world: World, message: Deferred) -> None:
    if isinstance(message, FanOut):  # with this test's page size
        await world.broadcaster.split(message, keep_in(world), deadline=1e12)
    else:
        await world.defer(message)


def keep_in(world: World) -> Any:
    async def keep(rest: Deferred) -> None:
        world.kept.append(rest)

    return keep


def chunked(world: World) -> list[str]:
    return [whose for chunk in world.queue.messages for whose in getattr(chunk, "connection_ids", [])]


# Read your own writes


async def run(world: World, *events: object) -> Any:
    return await world.gateway.on_control_event(control_event(events))


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
    assert world.management.posted == [(new, "hi")]


async def test_who_was_already_there_is_sent_to_once(world: World) -> None:
    (one,) = ids(1)
    await world.connected(one, channels=["room"])
    await run(world, subscribe(one), PUBLISH)
    assert world.management.posted == [(one, "hi")]


async def test_a_large_channel_too_reads_its_own_writes(world: World) -> None:
    new, gone, *others = ids(10)
    await world.connected(new, gone)
    await world.connected(*others, channels=["room"])
    world.store.unseen = {new}
    world.store.ghosts = [gone]
    await run(world, subscribe(new), unsubscribe(gone), PUBLISH)
    (message,) = taken(world)
    world.store.unseen.clear()  # and now it does show him, beyond the first page
    await world.broadcaster.split(message, keep_in(world), deadline=1e12)
    assert sorted(chunked(world)) == sorted([new, *others])


async def test_a_large_channel_believes_the_index_when_it_is_late(world: World) -> None:
    new, *others = ids(10)
    await world.connected(new)
    await world.connected(*others, channels=["room"])
    await run(world, subscribe(new), PUBLISH)
    await run(world, unsubscribe(new))
    world.clock.time += RECENT_S + 1
    (message,) = taken(world)
    await world.broadcaster.split(message, keep_in(world), deadline=1e12)
    assert sorted(chunked(world)) == others


# The groups of the queue


def test_groups_keep_apart_what_must_not_wait_for_each_other() -> None:
    hall = PublishText("hall", "x")
    messages: Sequence[Deferred] = [
        FanOut(HI, "p"),
        FanOut(hall, "p"),
        FanOutChunk(HI, "p", ["a"], 0),
        FanOutChunk(HI, "p", ["a"], 1),
        FanOutChunk(hall, "p", ["a"], 0),
        FanOutChunk(HI, "p", ["a"]),
        CloseNotice("a", None, None, None),
    ]
    assert len({message.group for message in messages}) == len(messages)
    assert all(len(message.group) <= 128 and len(message.deduplication_id) <= 128 for message in messages)
    assert FanOutChunk(HI, "p", ["b"], 0).group == FanOutChunk(hall.__class__("room", "y"), "q", ["a"], 0).group


def test_shards_are_the_same_tomorrow_and_of_a_size() -> None:
    assert shard_of("AAAAAAAAAAAAAAA=") == 4
    sizes = [0] * SHARDS
    for whose in ids(8_000):
        sizes[shard_of(whose)] += 1
    assert max(sizes) < 1_200
