"""What the tests of the fan-out share."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

import pytest

from slip_sockets.gateway.deferred import Deferred, plan_chunks
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.recent import Recent
from slip_sockets.gateway.values import Broadcast, Publication
from slip_sockets.protocol.events import Report

from .doubles import World

HI = Publication("room", "hi")


def ids(count: int) -> list[str]:
    return [f"{number:015d}=" for number in range(count)]


async def publish(world: World, event: Broadcast = HI, *, deadline: float = 1e12) -> Report:
    return await world.broadcaster.broadcast(event, Recent(world.store.index_lag_s), deadline=deadline)


SHARDS = 8


def shard_of(connection_id: str) -> int:
    (chunk,) = plan_chunks(HI, "p", [connection_id], shards=SHARDS)
    assert chunk.shard is not None
    return chunk.shard


def taken(world: World) -> list[Any]:
    messages, world.queue.messages = world.queue.messages, []
    return messages


async def incomplete(world: World, message: Deferred, **options: Any) -> Incomplete:
    with pytest.raises(Incomplete) as failure:
        await world.defer(message, **options)
    return failure.value


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
            await world.defer(message)
        except Incomplete as failure:
            if chance.random() >= deaths:
                world.queue.messages[place] = failure.remaining
        else:
            if chance.random() >= deaths:
                del world.queue.messages[place]


def chunked(world: World) -> list[str]:
    return [id_ for chunk in world.queue.messages for id_ in getattr(chunk, "connection_ids", [])]
