"""Publications of which each subscriber gets another text."""

from __future__ import annotations

import random

import msgspec
import pytest

from slip_sockets.gateway.content_filters import FilteredDeliverer
from slip_sockets.gateway.effects import NoteContentFilters
from slip_sockets.gateway.errors import ActionFailed
from slip_sockets.gateway.perform import FILTERED_FOR_S
from slip_sockets.gateway.values import Publication
from slip_sockets.protocol.events import Report
from slip_sockets.slip.backend import SlipBackend

from .doubles import INLINE_LIMIT, World
from .fan_out import drain, ids, incomplete, publish, taken

HI = Publication("room", "hi")
NOTE = NoteContentFilters("room")


class Greeting(SlipBackend):
    """Its filter adds a connection's metadata to the text, and leaves out those with `null`."""

    def filtered(self, metadata: bytes | None, publication: Publication) -> str | None:
        return None if metadata in (None, b"null") else f"{publication.data} {metadata.decode()}"


@pytest.fixture
def greeted(world: World) -> World:
    """The world with that dialect."""
    filtered = FilteredDeliverer(world.store, Greeting(), world.broadcaster.deliverer)
    world.broadcaster = msgspec.structs.replace(world.broadcaster, filtered=filtered)
    world.performer = msgspec.structs.replace(world.performer, broadcaster=world.broadcaster)
    return world


async def numbered(world: World, count: int) -> list[tuple[str, str]]:
    """Have that many in the room, the first without a number. Return what each of the others gets."""
    for number, id_ in enumerate(ids(count)):
        await world.connected(id_, channels=["room"], metadata=b"null" if number == 0 else str(number).encode())
    return [(id_, f"hi {number}") for number, id_ in enumerate(ids(count)) if number]


async def test_each_subscriber_gets_its_own_text(greeted: World) -> None:
    expected = await numbered(greeted, INLINE_LIMIT)
    assert await greeted.performer.run([NOTE, HI]) == [None, Report(INLINE_LIMIT, INLINE_LIMIT - 1, 0, 0)]
    assert sorted(greeted.sender.sent) == expected


async def test_each_subscriber_of_a_large_channel_gets_its_own_text(greeted: World) -> None:
    expected = await numbered(greeted, 3 * INLINE_LIMIT)
    greeted.sender.failing = {expected[0][0]: 1, expected[3][0]: 2}
    await greeted.performer.run([NOTE, HI])
    await drain(greeted, random.Random(1))
    assert sorted(greeted.sender.sent) == expected


async def test_filters_count_from_the_moment_they_are_noted_in_the_queue_too(greeted: World) -> None:
    expected = await numbered(greeted, 3 * INLINE_LIMIT)
    await publish(greeted)
    await greeted.performer.run([NOTE])
    await drain(greeted, random.Random(1))
    assert sorted(greeted.sender.sent) == expected


async def test_subscribers_with_the_same_text_are_sent_to_together(greeted: World) -> None:
    one, other = ids(2)
    await greeted.connected(one, other, channels=["room"], metadata=b"1")
    await greeted.performer.run([NOTE, HI])
    assert greeted.sender.calls == [[one, other]]


async def test_channel_without_filters_has_one_text(greeted: World) -> None:
    await numbered(greeted, 3)
    greeted.store.away = {"metadata"}
    await publish(greeted)
    assert greeted.sender.sent == [(id_, "hi") for id_ in ids(3)]


async def test_publication_that_asks_for_filters_is_filtered_everywhere(greeted: World) -> None:
    expected = await numbered(greeted, 3)
    await publish(greeted, Publication("room", "hi", is_filtered=True))
    assert greeted.sender.sent == expected


async def test_channel_has_filters_for_as_long_as_a_connection_lives(greeted: World) -> None:
    await numbered(greeted, 1)
    await greeted.performer.run([NOTE])
    greeted.clock.time += FILTERED_FOR_S - 1
    await publish(greeted)
    assert greeted.sender.sent == []
    greeted.clock.time += 1
    await publish(greeted)
    assert greeted.sender.sent == [(ids(1)[0], "hi")]


async def test_nothing_is_sent_where_the_metadata_cannot_be_read(greeted: World) -> None:
    await numbered(greeted, 3 * INLINE_LIMIT)
    await greeted.performer.run([NOTE, HI])
    (fan_out,) = taken(greeted)
    await greeted.defer(fan_out)
    greeted.store.away = {"metadata"}
    for chunk in taken(greeted):
        assert (await incomplete(greeted, chunk)).remaining == chunk
        single = msgspec.structs.replace(chunk, connection_ids=chunk.connection_ids[:1], shard=None)
        single = msgspec.structs.replace(single, broadcast=msgspec.structs.replace(HI, is_filtered=True))
        assert (await incomplete(greeted, single)).remaining == single
    assert greeted.sender.sent == []


async def test_publish_fails_where_the_metadata_cannot_be_read(greeted: World) -> None:
    await numbered(greeted, 2)
    greeted.store.away = {"metadata"}
    with pytest.raises(ActionFailed, match=r"events\[1\]: publication failed: the table is away for metadata"):
        await greeted.performer.run([NOTE, HI])
    assert greeted.sender.sent == []
