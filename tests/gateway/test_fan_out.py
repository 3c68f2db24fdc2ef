"""How a publish is sent to few at once, and to many by the queue.

Longer than 400 lines: all cases share one world.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from slip_sockets.gateway.deadlines import RESERVE_S
from slip_sockets.gateway.deferred import CloseNotice, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.delivery_rate import MIN_RESERVED_CALLS
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.fan_out import CHUNK_FOR_S, COUNT_FOR_S, FAILING_FOR_S, INLINE_FOR_S, MARKED_FOR_S
from slip_sockets.gateway.plan_publish import MAX_SLOW
from slip_sockets.gateway.values import ChannelClose, Page, Publication
from slip_sockets.protocol.events import Action, CloseConnection, PublishText, Report, Unsubscribe

from .doubles import INLINE_LIMIT, Saved, World
from .fan_out import HI, SHARDS, chunked, drain, ids, incomplete, publish, shard_of, taken
from .faulty_store import PAGE_SIZE

# Few


async def test_few_are_sent_to_at_once(world: World) -> None:
    few = ids(INLINE_LIMIT)
    await world.connected(*few, channels=["room"])
    assert await publish(world) == Report(INLINE_LIMIT, INLINE_LIMIT, 0, 0)
    assert world.sender.sent == [(id_, "hi") for id_ in few]
    assert world.sender.untils == [world.clock.now() + INLINE_FOR_S]
    assert world.queue.messages == []


@pytest.mark.parametrize("leaving", [Unsubscribe, lambda id_, channel: CloseConnection(id_)])
async def test_those_that_have_just_left_do_not_make_a_large_channel_small(
    world: World, monkeypatch: pytest.MonkeyPatch, leaving: Callable[[str, str], Action]
) -> None:
    """The index still shows them among those that are read first; the others are not read, and must be reached too."""
    many = ids(INLINE_LIMIT + 3)
    await world.connected(*many, channels=["room"])

    async def as_before(
        channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        start = int(after or 0)
        end = start + page_size
        yield Page(many[start:end], str(end) if end < len(many) else None)
        if end < len(many):
            yield Page(many[end:], None)

    monkeypatch.setattr(world.store, "subscribers", as_before)
    report = (await world.performer.run([leaving(many[0], "room"), PublishText("room", "hi")]))[1]
    assert isinstance(report, Report)
    assert (report.sent, report.queued) == (0, report.matched)
    await drain(world, random.Random(1))
    assert sorted(id_ for id_, _ in world.sender.sent) == many[1:]


async def test_the_publishers_function_ends_in_time(world: World) -> None:
    await world.connected(*ids(2), channels=["room"])
    deadline = world.clock.now() + RESERVE_S + 1
    await publish(world, deadline=deadline)
    assert world.sender.untils == [deadline - RESERVE_S]


async def test_who_is_left_when_the_time_is_up_is_queued_by_shard(world: World) -> None:
    few = ids(INLINE_LIMIT)
    await world.connected(*few, channels=["room"])
    world.sender.has_time_for = 1
    assert await publish(world) == Report(4, 1, 0, 3)
    chunks = taken(world)
    assert sorted(id_ for chunk in chunks for id_ in chunk.connection_ids) == few[1:]
    assert [chunk.shard for chunk in chunks] == sorted({shard_of(id_) for id_ in few[1:]})
    assert (await world.store.channel_state("room")).is_queued


async def test_a_client_that_takes_no_more_waits_alone_and_later_texts_wait_behind(world: World) -> None:
    slow, quick = ids(2)
    await world.connected(slow, quick, channels=["room"])
    world.sender.failing = {slow: 1}
    assert await publish(world) == Report(2, 1, 0, 1)
    assert await publish(world, Publication("room", "second")) == Report(2, 1, 0, 1)
    first, second = taken(world)
    assert (first.broadcast, first.connection_ids, first.shard) == (HI, [slow], None)
    assert (second.broadcast.data, second.connection_ids, second.shard) == ("second", [slow], None)
    assert first.group == second.group
    assert slow in first.group
    await world.defer(first)
    await world.defer(second)
    assert world.sender.sent == [(quick, "hi"), (quick, "second"), (slow, "hi"), (slow, "second")]


async def test_many_that_fail_have_a_common_cause_and_wait_together(world: World) -> None:
    world.broadcaster = world.broadcaster_with(100)
    many = ids(MAX_SLOW + 1)
    await world.connected(*many, channels=["room"])
    world.sender.failing = dict.fromkeys(many, 1)
    assert await publish(world) == Report(21, 0, 0, 21)
    assert len(taken(world)) <= world.queue.shards
    state = await world.store.channel_state("room")
    assert (state.is_queued, state.slow) == (True, frozenset())


async def test_a_slow_client_is_marked_until_its_text_has_had_its_turn(world: World) -> None:
    (slow,) = ids(1)
    await world.connected(slow, channels=["room"])
    world.sender.failing = {slow: 2}
    await publish(world)
    world.clock.time += FAILING_FOR_S - 1
    (single,) = taken(world)
    failure = await incomplete(world, single)
    assert (failure.remaining, str(failure), failure.made_progress) == (single, "the client's buffer is full", False)
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
    world.sender.failing = {slow: 1}
    world.store.away = {"mark_slow"}
    assert await publish(world) == Report(2, 1, 0, 1)
    (single,) = taken(world)
    await world.defer(single)
    assert world.sender.sent == [(other, "hi"), (slow, "hi")]
    said = "channel 'room': a later publish may overtake queued ones: the table is away for mark_slow"
    assert said in caplog.messages


async def test_who_is_left_is_queued_where_the_table_cannot_remember_it(world: World) -> None:
    many = ids(4)
    await world.connected(*many, channels=["room"])
    world.sender.has_time_for = 1
    world.store.away = {"mark_queued"}
    assert await publish(world) == Report(4, 1, 0, 3)
    assert sorted(one for chunk in taken(world) for one in chunk.connection_ids) == sorted(many[1:])


async def test_gone_subscribers_cost_one_call(world: World) -> None:
    here, left = ids(2)
    await world.connected(here, left, channels=["room", "hall"])
    world.sender.gone = {left}
    assert await publish(world) == Report(2, 1, 1, 0)
    assert await publish(world, Publication("hall", "x")) == Report(1, 1, 0, 0)
    assert world.sender.calls == [[here, left], [here]]


async def test_a_gone_subscriber_whose_age_cannot_be_read_is_kept(world: World) -> None:
    here, left = ids(2)
    await world.connected(here, left, channels=["room"])
    world.sender.gone = {left}
    world.store.away = {"prune"}
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
    assert (message.broadcast, message.after, message.joined, message.left) == (HI, None, [], [])
    assert world.sender.calls == []


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
    await world.broadcaster.split(message, world.checkpoint, deadline=1e12)
    chunks = taken(world)
    assert sorted(id_ for chunk in chunks for id_ in chunk.connection_ids) == many
    assert all({shard_of(id_) for id_ in chunk.connection_ids} == {chunk.shard} for chunk in chunks)
    assert max(len(chunk.connection_ids) for chunk in chunks) <= PAGE_SIZE
    assert [getattr(rest, "after", None) is not None for rest in world.checkpoint.saved] == [True] * 3, (
        "after each page but the last"
    )
    for chunk in chunks:
        await world.defer(chunk)
    assert sorted(world.sender.sent) == [(id_, "hi") for id_ in many]


async def test_a_split_that_lacks_time_goes_on_at_once_where_it_stopped(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world)
    (message,) = taken(world)
    with pytest.raises(Incomplete) as failure:
        await world.broadcaster.split(message, world.checkpoint, deadline=world.clock.now() + RESERVE_S - 1)
    rest: Any = failure.value.remaining
    assert failure.value.made_progress
    assert len(chunked(world)) == PAGE_SIZE
    await world.broadcaster.split(rest, world.checkpoint, deadline=1e12)
    assert sorted(chunked(world)) == many


async def test_a_split_that_fails_goes_on_where_it_failed(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world)
    (message,) = taken(world)

    class LosesTheQueue(Saved):
        async def save(self, remaining: Deferred) -> None:
            world.queue.is_away = True

    with pytest.raises(Incomplete) as failure:
        await world.broadcaster.split(message, LosesTheQueue(), deadline=1e12)
    assert (str(failure.value), failure.value.made_progress) == ("the queue is away", False)
    world.clock.time += FAILING_FOR_S - 1
    assert (await world.store.channel_state("room")).is_queued, "as long as it may rest"
    world.queue.is_away = False
    rest: Any = failure.value.remaining
    await world.broadcaster.split(rest, world.checkpoint, deadline=1e12)
    assert sorted(chunked(world)) == many


async def test_a_page_split_again_is_recognised_unless_it_has_changed(world: World) -> None:
    await world.connected(*ids(5), channels=["room"])
    await publish(world)
    (message,) = taken(world)
    seen = []
    for _ in range(2):
        await world.broadcaster.split(message, world.checkpoint, deadline=1e12)
        seen.append({chunk.deduplication_id for chunk in taken(world)})
    assert seen[0] == seen[1]
    await world.store.remove(ids(5)[0])
    await world.broadcaster.split(message, world.checkpoint, deadline=1e12)
    assert {chunk.deduplication_id for chunk in taken(world)} != seen[0]


def test_a_publish_repeated_with_its_id_is_recognised_in_the_queue() -> None:
    once, again = (FanOut(Publication("room", "x", "m" * 128), publish_id) for publish_id in "ab")
    assert once.deduplication_id == again.deduplication_id
    assert FanOut(HI, "a").deduplication_id != FanOut(HI, "b").deduplication_id
    assert FanOut(ChannelClose("room"), "a").deduplication_id == "a"


async def test_a_chunk_sends_to_those_who_are_left_when_it_comes_again(world: World) -> None:
    everyone = ids(3)
    await world.connected(*everyone, channels=["room"])
    world.sender.has_time_for = 2
    chunk = FanOutChunk(HI, "p", everyone, shard=0)
    failure = await incomplete(world, chunk, deadline=world.clock.now() + 60)
    assert failure.made_progress
    assert str(failure) == "1 connections were not reached: no time was left"
    assert failure.remaining == FanOutChunk(HI, "p", everyone[2:], shard=0)
    await world.defer(failure.remaining)
    assert world.sender.sent == [(one, "hi") for one in everyone]
    assert world.sender.untils[0] == world.clock.now() + 60 - RESERVE_S


async def test_one_slow_client_leaves_its_chunk(world: World) -> None:
    slow, *others = everyone = ids(3)
    await world.connected(*everyone, channels=["room"])
    world.sender.failing = {slow: 1}
    await world.defer(FanOutChunk(HI, "p", everyone, shard=0))
    assert world.sender.sent == [(one, "hi") for one in others]
    assert taken(world) == [FanOutChunk(HI, "p", [slow])]
    await world.defer(FanOutChunk(Publication("room", "2"), "q", everyone, shard=0))
    assert taken(world) == [FanOutChunk(Publication("room", "2"), "q", [slow])], "behind the first"


async def test_a_chunk_whose_slow_client_cannot_be_queued_keeps_it(world: World) -> None:
    slow, *others = everyone = ids(3)
    await world.connected(*everyone, channels=["room"])
    world.sender.failing = {slow: 1}
    world.queue.is_away = True
    failure = await incomplete(world, FanOutChunk(HI, "p", everyone, shard=0))
    assert failure.remaining == FanOutChunk(HI, "p", [slow], shard=0)
    assert str(failure) == "1 connections were not reached: the queue is away"
    assert world.sender.sent == [(one, "hi") for one in others]


async def test_a_chunk_sends_nothing_while_it_cannot_know_who_is_slow(world: World) -> None:
    await world.connected(*ids(3), channels=["room"])
    world.store.away = {"channel_state"}
    chunk = FanOutChunk(HI, "p", ids(3), shard=0)
    assert (await incomplete(world, chunk)).remaining == chunk
    assert world.sender.calls == []


async def test_a_channel_is_closed_by_chunks(world: World) -> None:
    many = ids(10)
    await world.connected(*many, channels=["room"])
    await publish(world, ChannelClose("room"))
    await drain(world, random.Random(1))
    assert sorted(world.sender.closed) == many


# The rate that all functions share


async def large_chunk(world: World) -> FanOutChunk:
    many = ids(MIN_RESERVED_CALLS)
    await world.connected(*many, channels=["room"])
    return FanOutChunk(HI, "p", many, shard=0)


async def test_a_chunk_waits_for_its_turn_and_then_sends(world: World) -> None:
    chunk = await large_chunk(world)
    world.rate.waits_s = [0.125]
    deadline = world.clock.now() + 60
    await world.defer(chunk, deadline=deadline)
    assert world.rate.reserved == [(MIN_RESERVED_CALLS, 60 - RESERVE_S - CHUNK_FOR_S)]
    assert world.clock.sleeps == [0.125]
    assert [id_ for id_, _ in world.sender.sent] == chunk.connection_ids


async def test_a_chunk_whose_turn_comes_too_late_sends_nothing_and_comes_again_then(world: World) -> None:
    chunk = await large_chunk(world)
    world.rate.waits_s = [47.5]
    failure = await incomplete(world, chunk, deadline=world.clock.now() + 60)
    assert (failure.remaining, failure.pause_s, failure.made_progress) == (chunk, 47.5, False)
    assert str(failure) == "100 connections were not reached: other fan-outs come first"
    assert world.sender.calls == []
    assert world.clock.sleeps == []
    world.clock.time += FAILING_FOR_S - 1
    assert (await world.store.channel_state("room")).is_queued, "as long as it may pause"


async def test_a_chunk_goes_on_where_its_calls_cannot_be_reserved(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = await large_chunk(world)
    world.rate.is_away = True
    await world.defer(chunk)
    assert len(world.sender.sent) == MIN_RESERVED_CALLS
    assert caplog.messages == ["a fan-out goes on without a reservation of its calls: the table is away for reserve"]


async def test_only_large_chunks_of_the_queue_reserve(world: World) -> None:
    """A reservation is a call: nothing that a client or a publisher waits for makes it."""
    chunk = await large_chunk(world)
    slow = chunk.connection_ids[0]
    await world.store.mark_slow("room", [slow], for_s=60)
    await world.defer(chunk)
    await world.defer(FanOutChunk(HI, "p", [slow]))
    world.clock.time += MARKED_FOR_S
    world.broadcaster = world.broadcaster_with(1_000)
    await publish(world, Publication("room", "small"))
    assert world.rate.reserved == []
    assert len(world.sender.sent) == 2 * MIN_RESERVED_CALLS


# The groups of the queue


def test_groups_keep_apart_what_must_not_wait_for_each_other() -> None:
    hall = Publication("hall", "x")
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
    for id_ in ids(8_000):
        sizes[shard_of(id_)] += 1
    assert max(sizes) < 1_200
