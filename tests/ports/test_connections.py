"""Every engine's port Connections."""

from __future__ import annotations

import msgspec
import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.gateway.values import StoredConnection

from ..gateway.doubles import START, FakeClock
from .engines import ME, YOU, Store, subscribers


async def test_unknown_connection_is_none(store: Store) -> None:
    assert await store.get(ME) is None


async def test_metadata_of_many_is_that_of_those_that_there_are(store: Store, clock: FakeClock) -> None:
    assert await store.metadata([ME]) == {}
    known = [f"{number:015d}=" for number in range(130)]
    for id_ in known:
        await store.open(id_, f'"{id_}"'.encode(), ["lobby"])
    await store.set_metadata(known[0], b"1")
    expected = {id_: f'"{id_}"'.encode() for id_ in known} | {known[0]: b"1"}
    assert await store.metadata([ME, *known, known[0]]) == expected
    clock.time += ROW_LIFETIME_S
    assert await store.metadata(known) == {}


async def test_opened_connection_is_read_back_with_the_moment_it_was_accepted(store: Store, clock: FakeClock) -> None:
    clock.time = START + 0.25
    await store.open(ME, b'{"name":"Ada"}', [])
    clock.time = START + 60
    assert await store.get(ME) == StoredConnection(b'{"name":"Ada"}', START + 0.25)


async def test_user_of_a_connection_is_read_back(store: Store) -> None:
    await store.open(ME, b"null", [], user="ann \0 \U0001f600")
    stored = await store.get(ME)
    assert stored is not None
    assert stored.user == "ann \0 \U0001f600"
    assert await store.set_metadata(ME, b"1")
    removed = await store.remove(ME)
    assert removed == msgspec.structs.replace(stored, metadata=b"1")


@pytest.mark.parametrize(
    "metadata",
    [
        b"null",
        b"0",
        b'""',
        b"[]",
        b'{"": {}}',
        b"1e400",
        b"123456789012345678901234567890.10",
        b' { "a" : [ 1 ,\n\t2 ] } ',
        '"Zoë 中 \U0001f600 \ufffe \uffff"'.encode(),
        b'"\\u0000\\ud83d\\ude00\\u007f"',
        b'"' + b"x" * 65_534 + b'"',
    ],
    ids=lambda metadata: metadata[:24].decode(errors="replace").encode("ascii", "replace").decode(),
)
async def test_metadata_comes_back_byte_for_byte(store: Store, metadata: bytes) -> None:
    await store.open(ME, metadata, [])
    stored = await store.get(ME)
    assert stored is not None
    assert stored.metadata == metadata
    await store.set_metadata(ME, b"1")
    await store.set_metadata(ME, metadata)
    assert await store.remove(ME) == stored


async def test_next_number_is_kept_beside_the_metadata(store: Store) -> None:
    await store.open(ME, b"1", [])
    assert await store.set_next_number(ME, 10**15)
    assert await store.set_metadata(ME, b"2")
    stored = await store.get(ME)
    assert stored is not None
    assert (stored.metadata, stored.next_number) == (b"2", 10**15)
    assert await store.remove(ME) == stored
    assert await store.set_next_number(ME, 2) is False
    assert await store.get(ME) is None


async def test_connection_is_absent_at_its_expiry(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + ROW_LIFETIME_S - 1
    assert await store.get(ME) is not None
    clock.time = START + ROW_LIFETIME_S
    assert await store.get(ME) is None
    assert await store.set_metadata(ME, b"2") is False
    assert await store.subscribe(ME, "lobby") is None
    assert await subscribers(store, "lobby") == []
    assert await store.remove(ME) is None


async def test_connection_whose_time_began_within_a_second_lives_its_whole_time(store: Store, clock: FakeClock) -> None:
    clock.time = START + 0.75
    await store.open(ME, b"1", ["lobby"])
    clock.time = START + ROW_LIFETIME_S + 0.7
    assert await store.get(ME) is not None
    assert await subscribers(store, "lobby") == [ME]
    clock.time = START + ROW_LIFETIME_S + 1
    assert await store.get(ME) is None
    assert await subscribers(store, "lobby") == []


async def test_set_metadata_replaces_it_and_nothing_else(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"1", ["lobby"])
    clock.time = START + 60
    assert await store.set_metadata(ME, b'{"a":2}') is True
    assert await store.get(ME) == StoredConnection(b'{"a":2}', START)
    assert await subscribers(store, "lobby") == [ME]


async def test_set_metadata_does_not_prolong_a_connection(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + ROW_LIFETIME_S - 1
    await store.set_metadata(ME, b"2")
    clock.time = START + ROW_LIFETIME_S
    assert await store.get(ME) is None


async def test_set_metadata_of_an_unknown_connection_creates_nothing(store: Store) -> None:
    assert await store.set_metadata(ME, b"1") is False
    assert await store.get(ME) is None


# Removal


async def test_remove_returns_what_was_and_only_once(store: Store) -> None:
    await store.open(ME, b"1", ["lobby"])
    await store.open(YOU, b"2", ["lobby"])
    await store.set_metadata(ME, b"3")
    assert await store.remove(ME) == StoredConnection(b"3", START)
    assert await store.remove(ME) is None
    assert await store.get(ME) is None
    assert await store.subscribe(ME, "lobby") is None
    assert await subscribers(store, "lobby") == [YOU]
    assert await store.get(YOU) == StoredConnection(b"2", START)


async def test_remove_of_an_expired_connection_still_takes_its_subscriptions(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_LIFETIME_S
    assert await subscribers(store, "lobby") == [ME]
    assert await store.remove(ME) is None
    assert await subscribers(store, "lobby") == []
