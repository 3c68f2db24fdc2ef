"""Publications that are not for all subscribers of their channel."""

from __future__ import annotations

import random

import pytest

from slip_sockets.gateway.errors import ActionFailed
from slip_sockets.gateway.values import ChannelClose, Publication
from slip_sockets.protocol.events import Report

from .doubles import INLINE_LIMIT, World
from .fan_out import drain, ids, incomplete, taken

HI = Publication("room", "hi", except_for=("of ada", "of bob", "empty"))


async def connected(world: World, count: int) -> list[str]:
    """Have that many in the room; the first is excluded by one channel, the second by another. Return the others."""
    first, second, *others = ids(count)
    await world.connected(first, channels=["room", "of ada"])
    await world.connected(second, channels=["room", "of bob"])
    await world.connected(*others, channels=["room"])
    return others


async def test_excluded_subscribers_are_not_sent_to(world: World) -> None:
    others = await connected(world, INLINE_LIMIT)
    assert await world.performer.run([HI]) == [Report(len(others), len(others), 0, 0)]
    assert [id_ for id_, _ in world.sender.sent] == others


async def test_excluded_subscribers_are_not_closed(world: World) -> None:
    others = await connected(world, INLINE_LIMIT)
    await world.performer.run([ChannelClose("room", HI.except_for)])
    assert world.sender.closed == others


async def test_excluded_subscribers_do_not_make_a_channel_large(world: World) -> None:
    others = await connected(world, INLINE_LIMIT + 1)
    assert await world.performer.run([HI]) == [Report(len(others), len(others), 0, 0)]


async def test_excluded_subscribers_of_a_large_channel_are_not_sent_to(world: World) -> None:
    others = await connected(world, 3 * INLINE_LIMIT)
    await world.performer.run([HI])
    await drain(world, random.Random(1))
    assert sorted(id_ for id_, _ in world.sender.sent) == sorted(others)


async def test_nothing_is_sent_where_it_cannot_be_known_who_is_excluded(world: World) -> None:
    await connected(world, 3 * INLINE_LIMIT)
    await world.performer.run([HI])
    (fan_out,) = taken(world)
    world.store.away = {"subscribers"}
    with pytest.raises(ActionFailed, match=r"events\[0\]: publication failed: the table is away for subscribers"):
        await world.performer.run([HI])
    assert (await incomplete(world, fan_out)).remaining == fan_out
    assert world.sender.sent == []
