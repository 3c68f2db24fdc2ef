"""Publishes to channels that are heard by patterns."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator

import pytest

from slip_sockets.gateway.deadlines import RESERVE_S
from slip_sockets.gateway.deferred import Continuation, Deferred, FanOut, FanOutChunk, Source
from slip_sockets.gateway.errors import ActionFailed, Incomplete
from slip_sockets.gateway.values import Connect, Form, Message, Page, Publication
from slip_sockets.protocol.events import (
    Action,
    CloseChannel,
    CloseConnection,
    Keep,
    PublishText,
    Report,
    Subscribe,
    Unsubscribe,
)

from .doubles import INLINE_LIMIT, ME, YOU, Saved, World
from .fan_out import chunked, drain, ids, incomplete, taken
from .faulty_store import PAGE_SIZE

CHANNEL = "orders:eu:1"
HI = PublishText(CHANNEL, "hi")


async def connected(world: World, count: int, channel: str, *others: str, start: int = 0) -> list[str]:
    """Have that many subscribed, by a batch of long ago."""
    connection_ids = ids(start + count)[start:]
    await world.connected(*connection_ids)
    names = (channel, *others)
    await world.performer.run([Subscribe(id_, name) for id_ in connection_ids for name in names])
    world.clock.time += world.store.index_lag_s
    return connection_ids


async def publish(world: World, *before: Action, event: Action = HI) -> Report:
    """Publish behind other actions of the same batch."""
    report = (await world.performer.run([*before, event]))[-1]
    assert isinstance(report, Report)
    return report


def hearers(world: World) -> list[str]:
    return sorted(id_ for id_, _ in world.sender.sent)


# Few


@pytest.mark.parametrize("pattern", ["orders:*", "orders:eu:*"])
async def test_publish_reaches_subscribers_of_a_pattern(world: World, pattern: str) -> None:
    (one,) = await connected(world, 1, pattern)
    assert await publish(world) == Report(1, 1, 0, 0)
    assert world.sender.sent == [(one, "hi")]


@pytest.mark.parametrize("name", ["orders", "orders:eu", "orders:us:*", "orders:eu:1:*", "orders:*:1", "*", "order:*"])
async def test_publish_does_not_reach_other_names(world: World, name: str) -> None:
    await connected(world, 1, name)
    await connected(world, 1, "elsewhere:*", start=1)
    assert await publish(world) == Report(0, 0, 0, 0)


async def test_connection_gets_each_publish_once(world: World) -> None:
    (first,) = await connected(world, 1, "orders:*", "orders:eu:*", CHANNEL)
    (second,) = await connected(world, 1, "orders:eu:*", "orders:*", start=1)
    assert await publish(world) == Report(2, 2, 0, 0)
    assert world.sender.sent == [(first, "hi"), (second, "hi")]


async def test_each_gets_its_form_and_the_name_of_the_channel(world: World) -> None:
    await world.connected(ME, form=Form.SLIP_V1)
    await world.connected(YOU)
    await world.performer.run([Subscribe(ME, "orders:*"), Subscribe(YOU, "orders:*")])
    world.clock.time += world.store.index_lag_s
    report = await publish(world, event=PublishText(CHANNEL, "hi", keep=Keep(count=1, seconds=60)))
    texts = dict(world.sender.sent)
    frame = {"slip": "message", "channel": CHANNEL, "data": "hi", "position": report.position}
    assert (json.loads(texts[ME]), texts[YOU]) == (frame, "hi")


async def test_channel_is_closed_for_its_own_subscribers_alone(world: World) -> None:
    await connected(world, 1, "orders:*")
    (of_channel,) = await connected(world, 1, CHANNEL, start=1)
    assert await publish(world, event=CloseChannel(CHANNEL)) == Report(1, 1, 0, 0)
    assert world.sender.closed == [of_channel]


async def test_gone_connections_are_pruned_from_patterns(world: World) -> None:
    left, here = await connected(world, 2, "orders:*")
    world.sender.gone = {left}
    assert await publish(world) == Report(2, 1, 1, 0)
    assert world.store.peek(left)[1] == []
    assert await publish(world) == Report(1, 1, 0, 0)
    assert world.sender.calls == [[left, here], [here]]


async def test_channel_that_is_heard_only_by_a_pattern_cannot_be_recovered() -> None:
    world = World()
    await world.connected(ME, channels=["orders:*"], form=Form.SLIP_V1)
    for channel in (CHANNEL, "orders:*"):
        frame = json.dumps({"slip": "recover", "channel": channel, "since": "a:1"})
        await world.gateway.sockets.message(Message(ME, frame))
    assert [json.loads(text) for _, text in world.sender.sent] == [
        {"slip": "error", "code": "not_subscribed", "channel": CHANNEL},
        {"slip": "error", "code": "invalid"},
    ]


async def test_nothing_is_sent_where_it_cannot_be_known_whether_there_are_patterns(world: World) -> None:
    await world.connected(ME, channels=[CHANNEL])
    world.store.away = {"has_patterns"}
    with pytest.raises(ActionFailed, match=r"events\[0\]: PUBLISH_TEXT failed: the table is away for has_patterns"):
        await publish(world)
    assert world.sender.sent == []


async def test_subscription_that_no_publish_would_look_for_is_not_written(world: World) -> None:
    await world.connected(ME)
    world.store.away = {"mark_patterns"}
    with pytest.raises(ActionFailed, match=r"events\[0\]: SUBSCRIBE failed: the table is away for mark_patterns"):
        await world.performer.run([Subscribe(ME, "orders:*")])
    assert world.store.peek(ME)[1] == []


# What the same batch has written


async def test_publish_reaches_who_has_just_subscribed_to_a_pattern(world: World) -> None:
    await world.connected(ME)
    world.store.unseen = {ME}
    assert await publish(world) == Report(0, 0, 0, 0)
    assert await publish(world, Subscribe(ME, "orders:*")) == Report(1, 1, 0, 0)
    assert world.sender.sent == [(ME, "hi")]


@pytest.mark.parametrize("leaving", [Unsubscribe(ME, "orders:*"), CloseConnection(ME)])
async def test_publish_does_not_reach_who_has_just_left_a_pattern(world: World, leaving: Action) -> None:
    await connected(world, 1, "orders:*")
    await world.connected(ME, channels=["orders:*"])
    await publish(world, leaving)
    assert ME not in hearers(world)


@pytest.mark.parametrize(("left", "other"), [("orders:*", CHANNEL), (CHANNEL, "orders:*"), ("orders:*", "orders:eu:*")])
async def test_who_has_left_one_of_two_names_hears_by_the_other(world: World, left: str, other: str) -> None:
    await world.connected(ME)
    await world.performer.run([Subscribe(ME, left), Subscribe(ME, other)])
    world.clock.time += world.store.index_lag_s
    world.store.ghosts = [ME]  # the index shows it everywhere
    assert await publish(world, Unsubscribe(ME, left)) == Report(1, 1, 0, 0)


async def test_reply_to_open_may_subscribe_to_a_pattern_and_publish(world: World) -> None:
    """The publish comes by the queue: to another function, which has looked for patterns before there were any."""
    other = World()
    other.store.unseen = {ME}
    await other.performer.run([HI])
    world.client.will_reply(
        {"type": "ACCEPT", "connectionId": ME},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "orders:*"},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "elsewhere:*"},
        {"type": "PUBLISH_TEXT", "channelId": CHANNEL, "data": "hi"},
    )
    await world.gateway.sockets.connect(Connect(ME, {}, {}, None, []))
    assert await world.store.has_patterns()
    (continuation,) = world.inbound.messages or world.queue.messages
    assert isinstance(continuation, Continuation)
    assert continuation.recent == [Subscribe(ME, "orders:*")]
    await other.connected(ME)
    other.clock.time = world.clock.time
    await other.defer(continuation)
    assert other.sender.sent == [(ME, "hi")]


async def test_client_is_refused_where_its_pattern_cannot_be_noted(world: World) -> None:
    world.client.will_reply(
        {"type": "ACCEPT", "connectionId": ME}, {"type": "SUBSCRIBE", "connectionId": ME, "channel": "orders:*"}
    )
    world.store.away = {"mark_patterns"}
    refused = await world.gateway.sockets.connect(Connect(ME, {}, {}, None, []))
    assert getattr(refused, "status", None) == 500
    assert world.store.peek(ME) == (None, [])


# Many


async def crowd(world: World) -> list[str]:
    """Have a channel and two patterns that some of the same connections are subscribed to; return all of them."""
    await connected(world, 8, CHANNEL)
    await connected(world, 8, "orders:*", start=4)  # four of them are subscribed to the channel too
    await connected(world, 4, "orders:eu:*", CHANNEL, start=10)
    await connected(world, 3, "orders:eu:*", start=14)
    return ids(17)


async def test_publish_that_is_large_by_its_patterns_alone_is_queued(world: World) -> None:
    await connected(world, INLINE_LIMIT - 1, CHANNEL)
    await connected(world, 2, "orders:*", start=INLINE_LIMIT - 1)
    assert await publish(world) == Report(INLINE_LIMIT + 1, 0, 0, INLINE_LIMIT + 1)
    (fan_out,) = world.queue.messages
    assert isinstance(fan_out, FanOut)
    assert fan_out.patterns == [Source("orders:*"), Source("orders:eu:*")]
    await drain(world, random.Random(1))
    assert hearers(world) == ids(INLINE_LIMIT + 1)


async def test_same_connections_by_several_names_do_not_make_a_publish_large(world: World) -> None:
    await connected(world, INLINE_LIMIT, CHANNEL, "orders:*", "orders:eu:*")
    assert await publish(world) == Report(INLINE_LIMIT, INLINE_LIMIT, 0, 0)


async def test_large_publish_reaches_each_listener_once(world: World) -> None:
    everybody = await crowd(world)
    await publish(world)
    await drain(world, random.Random(1))
    assert hearers(world) == everybody


async def test_large_publish_that_is_broken_off_after_each_page_reaches_each_listener_once(world: World) -> None:
    everybody = await crowd(world)
    await publish(world)
    (fan_out,) = taken(world)
    places: list[tuple[int, bool]] = []
    while True:
        assert isinstance(fan_out, FanOut)
        places.append((fan_out.source, fan_out.after is not None))
        try:
            await world.defer(fan_out, deadline=world.clock.now() + RESERVE_S - 1)
        except Incomplete as failure:
            fan_out = failure.remaining
        else:
            break
    assert sorted(chunked(world)) == everybody
    assert {(0, True), (1, False), (1, True), (2, False), (2, True)} <= set(places)


@pytest.mark.parametrize("pages", range(10))
async def test_large_publish_that_is_broken_off_once_reaches_each_listener_once(world: World, pages: int) -> None:
    everybody = await crowd(world)
    await publish(world)
    (remaining,) = taken(world)

    class Dies(Saved):
        async def save(self, remaining: Deferred) -> None:
            await super().save(remaining)
            if len(self.saved) == pages:
                raise KeyboardInterrupt

    checkpoint = Dies()
    try:
        await world.broadcaster.split(remaining, checkpoint, deadline=1e12)
    except KeyboardInterrupt:
        await world.defer(checkpoint.saved[-1])
    assert sorted(chunked(world)) == everybody


async def test_large_publish_that_fails_goes_on_where_it_failed(world: World) -> None:
    everybody = await crowd(world)
    await publish(world)
    (fan_out,) = taken(world)
    saved = Saved()

    class LosesTheQueue(Saved):
        async def save(self, remaining: Deferred) -> None:
            await saved.save(remaining)
            world.queue.is_away = getattr(remaining, "source", 0) == 1

    with pytest.raises(Incomplete) as failure:
        await world.broadcaster.split(fan_out, LosesTheQueue(), deadline=1e12)
    assert failure.value.remaining == saved.saved[-1]
    assert getattr(failure.value.remaining, "source", None) == 1
    world.queue.is_away = False
    await world.defer(failure.value.remaining)
    assert sorted(chunked(world)) == everybody


async def test_large_publish_that_goes_on_reaches_who_has_been_added_to_what_was_split_before(world: World) -> None:
    """Not among those that had it, whatever the channel shows now."""
    everybody = await crowd(world)
    await publish(world)
    (fan_out,) = taken(world)
    world.clock.time += 1
    await world.performer.run([Subscribe(everybody[16], CHANNEL)])
    assert isinstance(fan_out, FanOut)
    later = FanOut(fan_out.broadcast, "p", patterns=fan_out.patterns, source=2, known_from=fan_out.known_from)
    await world.defer(later)
    assert chunked(world) == everybody[14:]


async def test_large_publish_waits_while_its_earlier_sources_cannot_be_read_again(world: World) -> None:
    await crowd(world)
    await publish(world)
    (fan_out,) = taken(world)
    assert isinstance(fan_out, FanOut)
    later = FanOut(fan_out.broadcast, "p", patterns=fan_out.patterns, source=1)
    world.store.away = {"subscribers"}
    assert (await incomplete(world, later)).remaining == later
    assert chunked(world) == []


async def test_large_publish_reaches_who_has_just_come_and_not_who_has_just_left(world: World) -> None:
    await crowd(world)
    twice, by_pattern, new = ids(5)[4], ids(9)[8], ids(20)[19]
    await world.connected(new, form=Form.SLIP_V1)
    world.store.unseen = {new}
    before: list[Action] = [
        Unsubscribe(twice, CHANNEL),
        Unsubscribe(by_pattern, "orders:*"),
        Subscribe(new, "orders:*"),
    ]
    shown = world.store.subscribers

    async def as_before(
        channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        left = {CHANNEL: [twice], "orders:*": [by_pattern]}.get(channel, []) if after is None else []
        async for page in shown(channel, after=after, page_size=page_size):
            yield Page([*left, *page.connection_ids], page.cursor, page.framed)
            left = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.store, "subscribers", as_before)
        await publish(world, *before)
        (fan_out,) = taken(world)
        assert isinstance(fan_out, FanOut)
        assert (fan_out.left, fan_out.framed) == ([twice], [new])
        assert fan_out.patterns == [Source("orders:*", [new], [by_pattern]), Source("orders:eu:*")]
        await world.defer(fan_out)
    assert sorted(chunked(world)) == sorted({*ids(17), new} - {by_pattern})
    chunks = [message for message in world.queue.messages if isinstance(message, FanOutChunk)]
    forms = {chunk.form for chunk in chunks if new in chunk.connection_ids}
    assert forms == {Form.SLIP_V1}


async def test_what_was_recent_is_forgotten_when_the_index_shows_it(world: World) -> None:
    everybody = await crowd(world)
    again, gone_again = everybody[8], ids(20)[19]
    await world.connected(gone_again)
    await publish(world, Unsubscribe(again, "orders:*"), Subscribe(gone_again, "orders:*"))
    (fan_out,) = taken(world)
    await world.performer.run([Subscribe(again, "orders:*"), Unsubscribe(gone_again, "orders:*")])
    world.clock.time += world.store.index_lag_s + 1
    await world.defer(fan_out)
    assert sorted(chunked(world)) == everybody


async def test_fan_out_of_one_source_is_as_ever(world: World) -> None:
    await connected(world, 2 * INLINE_LIMIT, "room", "elsewhere:*")
    await publish(world, event=PublishText("room", "hi"))
    (fan_out,) = taken(world)
    assert isinstance(fan_out, FanOut)
    assert fan_out == FanOut(Publication("room", "hi"), fan_out.publish_id)


# Counting


async def test_count_of_a_large_publish_with_patterns_that_have_nobody_is_exact(world: World) -> None:
    await connected(world, 10, CHANNEL, "elsewhere:*")
    assert await publish(world) == Report(10, 0, 0, 10)


async def test_count_of_several_large_sources_is_a_lower_bound(world: World) -> None:
    """Those of the largest: to know who is subscribed to both would take reading both."""
    await connected(world, 10, CHANNEL)
    await connected(world, 8, "orders:*", start=6)
    assert await publish(world) == Report(10, 0, 0, 10, more=True)


async def test_count_of_a_large_source_beside_a_small_one_is_a_lower_bound(world: World) -> None:
    await connected(world, 10, CHANNEL)
    await connected(world, 1, "orders:*", start=10)
    assert await publish(world) == Report(10, 0, 0, 10, more=True)


async def test_count_that_fails_is_a_lower_bound(world: World) -> None:
    await crowd(world)
    world.store.away = {"count"}
    report = await publish(world)
    assert (report.more, report.queued) == (True, report.matched)
    assert report.matched > INLINE_LIMIT


def test_pages_are_smaller_than_the_sources() -> None:
    """Else the tests above would break off nothing within a source."""
    assert PAGE_SIZE < 8
