"""What every ConnectionStore does, held against the one on DynamoDB and the one in memory: the development server
must not lie about AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slip_sockets.aws.connections import DynamoDbConnectionStore
from slip_sockets.dev.memory import PAGE_SIZE, MemoryConnectionStore
from slip_sockets.gateway.ports import CLAIM_TTL_S, ROW_TTL_S, ConnectionStore, StoredConnection

from .aws.moto_server import dynamodb, moto_url, table_name
from .gateway.doubles import START, FakeClock

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = ["dynamodb", "moto_url", "table_name"]

ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="
LONG = "é" * 512
"""1,024 bytes, the longest name of a channel."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["dynamodb", "memory"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> ConnectionStore:
    if request.param == "memory":
        return MemoryConnectionStore(clock)
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    return DynamoDbConnectionStore(client, request.getfixturevalue("table_name"), clock)


async def subscribers(store: ConnectionStore, channel: str) -> list[str]:
    return sorted([whose async for page in store.subscribers(channel) for whose in page])


# Connections


async def test_unknown_connection_is_none(store: ConnectionStore) -> None:
    assert await store.get(ME) is None


async def test_opened_connection_is_read_back_with_the_moment_it_was_accepted(
    store: ConnectionStore, clock: FakeClock
) -> None:
    clock.time = START + 0.25
    await store.open(ME, b'{"name":"Ada"}', [])
    clock.time = START + 60
    assert await store.get(ME) == StoredConnection(b'{"name":"Ada"}', START + 0.25)


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
async def test_metadata_comes_back_byte_for_byte(store: ConnectionStore, metadata: bytes) -> None:
    await store.open(ME, metadata, [])
    stored = await store.get(ME)
    assert stored is not None
    assert stored.metadata == metadata
    await store.set_metadata(ME, b"1")
    await store.set_metadata(ME, metadata)
    assert await store.remove(ME) == stored


async def test_connection_is_absent_at_its_expiry(store: ConnectionStore, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + ROW_TTL_S - 1
    assert await store.get(ME) is not None
    clock.time = START + ROW_TTL_S
    assert await store.get(ME) is None
    assert await store.set_metadata(ME, b"2") is False
    assert await store.subscribe(ME, "lobby") is False
    assert await subscribers(store, "lobby") == []
    assert await store.remove(ME) is None


async def test_connection_whose_time_began_within_a_second_lives_its_whole_time(
    store: ConnectionStore, clock: FakeClock
) -> None:
    clock.time = START + 0.75
    await store.open(ME, b"1", ["lobby"])
    clock.time = START + ROW_TTL_S + 0.7
    assert await store.get(ME) is not None
    assert await subscribers(store, "lobby") == [ME]
    clock.time = START + ROW_TTL_S + 1
    assert await store.get(ME) is None
    assert await subscribers(store, "lobby") == []


async def test_set_metadata_replaces_it_and_nothing_else(store: ConnectionStore, clock: FakeClock) -> None:
    await store.open(ME, b"1", ["lobby"])
    clock.time = START + 60
    assert await store.set_metadata(ME, b'{"a":2}') is True
    assert await store.get(ME) == StoredConnection(b'{"a":2}', START)
    assert await subscribers(store, "lobby") == [ME]


async def test_set_metadata_does_not_prolong_a_connection(store: ConnectionStore, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + ROW_TTL_S - 1
    await store.set_metadata(ME, b"2")
    clock.time = START + ROW_TTL_S
    assert await store.get(ME) is None


async def test_set_metadata_of_an_unknown_connection_creates_nothing(store: ConnectionStore) -> None:
    assert await store.set_metadata(ME, b"1") is False
    assert await store.get(ME) is None


# Subscriptions


async def test_channel_without_subscribers_has_none(store: ConnectionStore) -> None:
    assert await subscribers(store, "lobby") == []


async def test_open_subscribes_to_each_channel(store: ConnectionStore) -> None:
    await store.open(ME, b"null", ["lobby", "games", "lobby"])
    await store.open(YOU, b"null", ["lobby"])
    assert await subscribers(store, "lobby") == [ME, YOU]
    assert await subscribers(store, "games") == [ME]


async def test_open_and_remove_take_any_number_of_channels(store: ConnectionStore) -> None:
    channels = [f"room-{number}" for number in range(60)]
    await store.open(ME, b"1", channels)
    for channel in channels:
        assert await subscribers(store, channel) == [ME]
    assert await store.remove(ME) == StoredConnection(b"1", START)
    assert await store.get(ME) is None
    for channel in channels:
        assert await subscribers(store, channel) == []


async def test_subscribe_is_seen_once_however_often(store: ConnectionStore) -> None:
    await store.open(ME, b"null", [])
    assert await store.subscribe(ME, "lobby") is True
    assert await store.subscribe(ME, "lobby") is True
    assert await subscribers(store, "lobby") == [ME]


async def test_subscribe_of_an_unknown_connection_writes_nothing(store: ConnectionStore) -> None:
    await store.open(YOU, b"null", ["lobby"])
    assert await store.subscribe(ME, "lobby") is False
    assert await subscribers(store, "lobby") == [YOU]
    await store.open(ME, b"null", [])
    assert await subscribers(store, "lobby") == [YOU]


async def test_subscription_expires_and_a_repetition_prolongs_it(store: ConnectionStore, clock: FakeClock) -> None:
    await store.open(ME, b"null", ["lobby", "games"])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_TTL_S - 1
    assert await subscribers(store, "games") == [ME]
    clock.time = START + ROW_TTL_S
    assert await subscribers(store, "games") == []
    assert await subscribers(store, "lobby") == [ME]
    clock.time = START + 60 + ROW_TTL_S
    assert await subscribers(store, "lobby") == []


@pytest.mark.parametrize("channel", [LONG, "x" * 1024, "\U0001f600" * 256, "a", " ", "\x00\x7f\n", "$connection"])
async def test_any_channel_name_works(store: ConnectionStore, channel: str) -> None:
    await store.open(ME, b"null", [channel])
    await store.open(YOU, b"null", [])
    assert await store.subscribe(YOU, channel) is True
    assert await subscribers(store, channel) == [ME, YOU]
    assert await store.claim(channel, "é" * 64) is True
    await store.unsubscribe(ME, channel)
    assert await subscribers(store, channel) == [YOU]


async def test_names_of_channels_are_compared_exactly(store: ConnectionStore) -> None:
    await store.open(ME, b"null", ["lobby", "Lobby", "lobby ", "é", "e\u0301"])
    await store.unsubscribe(ME, "lobby")
    await store.unsubscribe(ME, "é")
    assert [await subscribers(store, name) for name in ("lobby", "Lobby", "lobby ", "é", "e\u0301")] == [
        [],
        [ME],
        [ME],
        [],
        [ME],
    ]


async def test_subscribers_come_by_pages(store: ConnectionStore) -> None:
    # More than a page in either store: PAGE_SIZE rows in memory, 1 MB of long rows in DynamoDB.
    expected = [f"{number:015}=" for number in range(PAGE_SIZE + 1)]
    for connection_id in expected:
        await store.open(connection_id, b"null", [LONG])
    pages = [page async for page in store.subscribers(LONG)]
    assert len([page for page in pages if page]) > 1
    assert sorted(whose for page in pages for whose in page) == expected


async def test_unsubscribe_is_idempotent(store: ConnectionStore) -> None:
    await store.open(ME, b"null", ["lobby"])
    await store.unsubscribe(ME, "games")
    await store.unsubscribe(YOU, "lobby")
    assert await subscribers(store, "lobby") == [ME]
    await store.unsubscribe(ME, "lobby")
    await store.unsubscribe(ME, "lobby")
    assert await subscribers(store, "lobby") == []


async def test_unsubscribe_all_leaves_the_connection(store: ConnectionStore) -> None:
    await store.open(ME, b"1", [f"room-{number}" for number in range(30)])
    await store.open(YOU, b"2", ["room-0"])
    await store.unsubscribe_all(ME)
    await store.unsubscribe_all(ME)
    assert await subscribers(store, "room-0") == [YOU]
    assert await subscribers(store, "room-29") == []
    assert await store.get(ME) == StoredConnection(b"1", START)
    assert await store.subscribe(ME, "room-0") is True


async def test_unsubscribe_all_of_an_unknown_connection_does_nothing(store: ConnectionStore) -> None:
    await store.unsubscribe_all(ME)
    assert await store.get(ME) is None


# Removal


async def test_remove_returns_what_was_and_only_once(store: ConnectionStore) -> None:
    await store.open(ME, b"1", ["lobby"])
    await store.open(YOU, b"2", ["lobby"])
    await store.set_metadata(ME, b"3")
    assert await store.remove(ME) == StoredConnection(b"3", START)
    assert await store.remove(ME) is None
    assert await store.get(ME) is None
    assert await store.subscribe(ME, "lobby") is False
    assert await subscribers(store, "lobby") == [YOU]
    assert await store.get(YOU) == StoredConnection(b"2", START)


async def test_remove_of_an_expired_connection_still_takes_its_subscriptions(
    store: ConnectionStore, clock: FakeClock
) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_TTL_S
    assert await subscribers(store, "lobby") == [ME]
    assert await store.remove(ME) is None
    assert await subscribers(store, "lobby") == []


# Claims


async def test_claim_is_given_once_within_five_minutes(store: ConnectionStore, clock: FakeClock) -> None:
    assert await store.claim("lobby", "1") is True
    assert await store.claim("lobby", "1") is False
    clock.time = START + CLAIM_TTL_S - 1
    assert await store.claim("lobby", "1") is False
    clock.time = START + CLAIM_TTL_S
    assert await store.claim("lobby", "1") is True
    assert await store.claim("lobby", "1") is False


@pytest.mark.parametrize(
    ("channel", "message_id"), [("games", "1"), ("lobby", "2"), ("lobby1", ""), ("lobb", "y1"), ('lobby","1', "x")]
)
async def test_claims_of_other_names_are_others(store: ConnectionStore, channel: str, message_id: str) -> None:
    await store.claim("lobby", "1")
    await store.claim("lobby", '1","x')
    assert await store.claim(channel, message_id) is True


async def test_released_claim_can_be_had_again(store: ConnectionStore) -> None:
    await store.release("lobby", "1")
    await store.claim("lobby", "1")
    await store.claim("lobby", "2")
    await store.release("lobby", "1")
    assert await store.claim("lobby", "1") is True
    assert await store.claim("lobby", "2") is False


async def test_claims_are_no_subscribers(store: ConnectionStore) -> None:
    await store.claim("lobby", "1")
    assert await subscribers(store, "lobby") == []
