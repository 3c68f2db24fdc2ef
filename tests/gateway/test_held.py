"""Broadcasts with a link: each waits for the one before it."""

from __future__ import annotations

import random

import pytest

from slip_sockets.gateway.deferred import Held
from slip_sockets.gateway.fan_out import HELD_FOR_S, HELD_PAUSE_S, LAST_ID_FOR_S
from slip_sockets.gateway.values import Broadcast, ChannelClose, Link, Publication
from slip_sockets.protocol.events import Report

from .doubles import INLINE_LIMIT, ME, World
from .fan_out import drain, ids, incomplete, publish, taken


def item(id_: str | None, previous_id: str | None = None) -> Publication:
    """A publication whose text is its id."""
    return Publication("room", id_ or "none", link=Link(id_, previous_id))


async def last_id(world: World) -> str | None:
    return (await world.store.channel_state("room")).last_id


def sent(world: World) -> list[str]:
    return [text for _, text in world.sender.sent]


@pytest.fixture
async def held(world: World) -> Held:
    """The third item of the room's sequence, which came after the first."""
    await world.connected(ME, channels=["room"])
    await publish(world, item("1"))
    assert await publish(world, item("3", "2")) == Report(0, 0, 0, 0)
    (message,) = taken(world)
    assert isinstance(message, Held)
    assert sent(world) == ["1"]
    return message


async def test_first_of_a_channel_goes_at_once_whatever_it_names(world: World) -> None:
    await world.connected(ME, channels=["room"])
    for each in (item("2", "1"), item("3", "2"), item("9"), item("10", "9")):
        await publish(world, each)
    assert sent(world) == ["2", "3", "9", "10"]
    assert await last_id(world) == "10"


async def test_one_that_comes_early_is_held_until_the_one_before_it_was_sent(world: World, held: Held) -> None:
    early = await incomplete(world, held)
    assert (early.remaining, early.pause_s, early.is_exact) == (held, HELD_PAUSE_S, True)
    await publish(world, item("2", "1"))
    await world.defer(held)
    assert sent(world) == ["1", "2", "3"]
    assert await last_id(world) == "3"


async def test_one_that_is_held_is_sent_after_five_seconds_in_any_case(world: World, held: Held) -> None:
    world.clock.time += HELD_FOR_S - 0.1
    await incomplete(world, held)
    world.clock.time += 0.1
    await world.defer(held)
    assert sent(world) == ["1", "3"]
    assert await last_id(world) == "3"


async def test_one_that_is_repeated_after_a_crash_is_not_held_again(world: World, held: Held) -> None:
    await publish(world, item("2", "1"))
    await world.defer(held)
    await world.defer(held)
    assert sent(world) == ["1", "2", "3", "3"]


async def test_those_that_come_in_any_order_are_sent_in_theirs(world: World) -> None:
    await world.connected(ME, channels=["room"])
    sequence = [item(str(number), str(number - 1)) for number in range(1, 6)]
    for each in (sequence[0], sequence[4], sequence[2], sequence[3], sequence[1]):
        await publish(world, each)
    await drain(world, random.Random(1))
    assert sent(world) == ["1", "2", "3", "4", "5"]


async def test_those_of_a_large_channel_keep_their_order(world: World) -> None:
    members = ids(3 * INLINE_LIMIT)
    await world.connected(*members, channels=["room"])
    for each in (item("1"), item("3", "2"), item("2", "1")):
        await publish(world, each)
    await drain(world, random.Random(1))
    for member in members:
        assert [text for id_, text in world.sender.sent if id_ == member] == ["1", "2", "3"]


async def test_one_without_an_id_begins_the_sequence_anew(world: World) -> None:
    await world.connected(ME, channels=["room"])
    for each in (item("1"), item(None), item("9", "8")):
        await publish(world, each)
    assert sent(world) == ["1", "none", "9"]


async def test_close_of_a_channel_waits_too(world: World, held: Held) -> None:
    close = ChannelClose("room", link=Link("4", "3"))
    await publish(world, close)
    (message,) = taken(world)
    await incomplete(world, message)
    await publish(world, item("2", "1"))
    await world.defer(held)
    await world.defer(message)
    assert (sent(world), world.sender.closed) == (["1", "2", "3"], [ME])


@pytest.mark.parametrize("broadcast", [Publication("room", "x", "3"), ChannelClose("room")])
async def test_one_without_a_link_has_no_part_in_it(world: World, broadcast: Broadcast) -> None:
    await publish(world, item("1"))
    await publish(world, broadcast)
    assert taken(world) == []
    assert await last_id(world) == "1"


async def test_last_id_is_set_when_its_message_was_sent(world: World) -> None:
    await world.connected(ME, channels=["room"])
    world.store.away = {"subscribers"}
    with pytest.raises(Exception, match="away for subscribers"):
        await publish(world, item("1"))
    assert await last_id(world) is None


async def test_last_id_that_cannot_be_stored_costs_no_message(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.connected(ME, channels=["room"])
    world.store.away = {"set_last_id"}
    await publish(world, item("1"))
    assert sent(world) == ["1"]
    assert "the table is away for set_last_id" in caplog.text


async def test_last_id_counts_for_as_long_as_a_connection_lives(world: World) -> None:
    await publish(world, item("1"))
    world.clock.time += LAST_ID_FOR_S
    await publish(world, item("3", "2"))
    assert taken(world) == []


async def test_one_that_cannot_be_looked_up_comes_again(world: World, held: Held) -> None:
    world.store.away = {"channel_state"}
    failure = await incomplete(world, held)
    assert (failure.remaining, failure.pause_s) == (held, None)


def test_groups_are_an_items_own() -> None:
    one, other = (Held(item("1", "0"), publish_id, 1) for publish_id in ("a", "b"))
    assert (one.group, one.deduplication_id) != (other.group, other.deduplication_id)


async def test_an_id_counts_for_as_long_as_the_dialect_has_it_at_the_queue_too(world: World) -> None:
    await world.connected(*ids(INLINE_LIMIT + 1), channels=["room"])
    item = Publication("room", "hi", "1", id_for_s=60)
    queued = []
    for _ in range(3):
        await world.performer.run([item])
        queued += taken(world)
        world.clock.time += 30
    assert len({fan_out.deduplication_id for fan_out in queued}) == len(queued) == 2
