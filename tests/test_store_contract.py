"""What every ConnectionStore does, held against the one on DynamoDB and the one in memory: the development server
must not lie about AWS."""

from __future__ import annotations

import pytest

from slip_sockets.aws.connections import DynamoDbConnectionStore
from slip_sockets.dev.memory import MemoryConnectionStore
from slip_sockets.gateway.ports import (
    CLAIM_TTL_S,
    ROW_TTL_S,
    ChannelState,
    Claim,
    ConnectionStore,
    Count,
    StoredConnection,
)

from .aws.moto_server import client, dynamodb, moto_url, table_name
from .gateway.doubles import START, FakeClock

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
    dynamodb = client("dynamodb", request.getfixturevalue("moto_url"))
    return DynamoDbConnectionStore(dynamodb, request.getfixturevalue("table_name"), clock)


async def subscribers(store: ConnectionStore, channel: str) -> list[str]:
    return sorted([whose async for page in store.subscribers(channel) for whose in page.connection_ids])


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
    assert await store.claim(channel, "é" * 64, "me", lease_s=30) is Claim.MINE
    await store.mark_queued(channel, for_s=60)
    await store.mark_slow(channel, [ME], for_s=60)
    assert await store.channel_state(channel) == ChannelState(is_queued=True, slow=frozenset({ME}))
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


# Pages


async def crowd(store: ConnectionStore, size: int, channel: str = "lobby") -> list[str]:
    """Have so many connections subscribe, and return their ids in order."""
    ids = [f"{number:015}=" for number in range(size)]
    for connection_id in ids:
        await store.open(connection_id, b"null", [channel])
    return ids


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
async def test_subscribers_come_by_pages_of_at_most_that_size(store: ConnectionStore, size: int) -> None:
    expected = await crowd(store, size)
    pages = [page async for page in store.subscribers("lobby", page_size=10)]
    assert sorted(whose for page in pages for whose in page.connection_ids) == expected
    assert {len(page.connection_ids) for page in pages[:-1]} <= {10}
    assert len(pages[-1].connection_ids) <= 10
    assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]


async def test_cursor_of_any_page_is_where_the_next_begins(store: ConnectionStore) -> None:
    await crowd(store, 25)
    pages = [page async for page in store.subscribers("lobby", page_size=10)]
    for index, page in enumerate(pages[:-1]):
        rest = [page async for page in store.subscribers("lobby", after=page.cursor, page_size=10)]
        assert rest == pages[index + 1 :]


async def test_who_stays_is_met_once_while_others_come_and_go(store: ConnectionStore) -> None:
    ids = await crowd(store, 40)
    stay = set(ids)
    met: list[str] = []
    cursor: str | None = None
    for number in range(100):
        page = await anext(aiter(store.subscribers("lobby", after=cursor, page_size=4)))
        met += page.connection_ids
        cursor = page.cursor
        if cursor is None:
            break
        # One that was met, the last that was; one that was not; and one that comes, anywhere in the order of ids.
        for whose in (met[-1], next((whose for whose in reversed(ids) if whose not in met and whose in stay), met[0])):
            await store.unsubscribe(whose, "lobby")
            stay.discard(whose)
        await store.open(f"{37 * number % 100:015}+", b"null", ["lobby"])
        await store.subscribe(met[0], "lobby")  # again, or anew
    assert cursor is None
    assert len([whose for whose in met if whose in stay]) == len(stay)
    assert {whose for whose in met if whose in stay} == stay
    assert len(stay) > 10


async def test_cursor_outlives_that_most_leave(store: ConnectionStore) -> None:
    ids = await crowd(store, 40)
    pages = aiter(store.subscribers("lobby", page_size=10))
    met = [*(await anext(pages)).connection_ids]
    stay = sorted(set(ids) - set(met))[-5:]
    for whose in ids:
        if whose not in stay:
            await store.unsubscribe(whose, "lobby")
    assert sorted([whose async for page in pages for whose in page.connection_ids]) == stay


async def test_who_leaves_and_comes_again_is_met_once(store: ConnectionStore) -> None:
    ids = await crowd(store, 10)
    for whose in ids[:3]:
        await store.unsubscribe(whose, "lobby")
        await store.subscribe(whose, "lobby")
    assert await subscribers(store, "lobby") == ids
    assert await store.count("lobby", after=None, until=START + 1) == Count(10, more=False)


async def test_cursor_outlives_everybody(store: ConnectionStore) -> None:
    ids = await crowd(store, 8)
    page = await anext(aiter(store.subscribers("lobby", page_size=4)))
    for whose in ids:
        await store.remove(whose)
    assert [page.connection_ids async for page in store.subscribers("lobby", after=page.cursor)] == [[]]


async def test_expired_subscribers_are_on_no_page_and_not_counted(store: ConnectionStore, clock: FakeClock) -> None:
    expired = await crowd(store, 9)
    clock.time = START + 60
    await store.open(ME, b"null", ["lobby"])
    await store.subscribe(expired[4], "lobby")
    clock.time = START + ROW_TTL_S
    pages = [page async for page in store.subscribers("lobby", page_size=3)]
    assert sorted(whose for page in pages for whose in page.connection_ids) == [expired[4], ME]
    assert await store.count("lobby", after=None, until=clock.time + 1) == Count(2, more=False)


async def test_count_is_of_those_after_the_cursor(store: ConnectionStore, clock: FakeClock) -> None:
    await crowd(store, 25)
    await store.open(ME, b"null", ["games"])
    assert await store.count("lobby", after=None, until=START + 1) == Count(25, more=False)
    page = await anext(aiter(store.subscribers("lobby", page_size=10)))
    assert await store.count("lobby", after=page.cursor, until=START + 1) == Count(15, more=False)
    assert await store.count("nobody", after=None, until=START + 1) == Count(0, more=False)


async def test_count_is_broken_off_at_its_time(store: ConnectionStore, clock: FakeClock) -> None:
    await crowd(store, 3)
    assert await store.count("lobby", after=None, until=START) == Count(0, more=True)


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


# Forgetting


async def test_forget_is_for_those_accepted_before_or_unknown(store: ConnectionStore, clock: FakeClock) -> None:
    old, barely_old, young, unknown = "old=", "barely-old=", "young=", "unknown="
    await store.open(old, b"1", ["lobby", "games"])
    clock.time = START + 9.75
    await store.open(barely_old, b"2", ["lobby"])
    clock.time = START + 10
    await store.open(young, b"3", ["lobby"])
    await store.open(ME, b"4", ["lobby"])
    left = await store.forget([young, old, unknown, barely_old], accepted_before=START + 10)
    assert list(left) == [young]
    assert await subscribers(store, "lobby") == sorted([young, ME])
    assert await subscribers(store, "games") == []
    assert await store.get(old) == StoredConnection(b"1", START)
    assert await store.subscribe(old, "lobby") is True


async def test_forget_takes_any_number_and_each_once(store: ConnectionStore, clock: FakeClock) -> None:
    old = [f"old-{number}=" for number in range(110)]
    young = [f"young-{number}=" for number in range(30)]
    for whose in old:
        await store.open(whose, b"null", ["lobby"])
    clock.time = START + 1
    for whose in young:
        await store.open(whose, b"null", ["lobby"])
    left = await store.forget([*young, *old, *young, *old], accepted_before=START + 1)
    assert list(left) == young
    assert await subscribers(store, "lobby") == sorted(young)
    assert list(await store.forget([], accepted_before=START + 1)) == []


async def test_forget_does_not_know_an_expired_connection(store: ConnectionStore, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_TTL_S
    assert list(await store.forget([ME], accepted_before=START)) == []
    assert await subscribers(store, "lobby") == []


# Claims

OTHER = "another claimant"


async def test_claim_has_one_owner_for_its_lease(store: ConnectionStore, clock: FakeClock) -> None:
    assert await store.claim("lobby", "1", "me", lease_s=30) is Claim.MINE
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.PENDING
    clock.time = START + 29.75
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.PENDING
    clock.time = START + 30
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.MINE
    assert await store.claim("lobby", "1", "me", lease_s=30) is Claim.PENDING


async def test_same_claimant_may_ask_again_and_prolongs_the_lease(store: ConnectionStore, clock: FakeClock) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 20
    assert await store.claim("lobby", "1", "me", lease_s=30) is Claim.MINE
    clock.time = START + 49.75
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.PENDING
    clock.time = START + 50
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.MINE


async def test_lease_may_be_longer_than_the_memory_of_a_claim(store: ConnectionStore, clock: FakeClock) -> None:
    await store.claim("lobby", "1", "me", lease_s=CLAIM_TTL_S + 60)
    clock.time = START + CLAIM_TTL_S + 59
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.PENDING


async def test_confirmed_claim_is_done_for_five_minutes(store: ConnectionStore, clock: FakeClock) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 10
    await store.confirm("lobby", "1", "me")
    for seconds in (10, 40, 10 + CLAIM_TTL_S - 1):
        clock.time = START + seconds
        assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.DONE
        assert await store.claim("lobby", "1", "me", lease_s=30) is Claim.DONE
    clock.time = START + 10 + CLAIM_TTL_S
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.MINE


async def test_confirmation_after_the_lease_counts_while_nobody_else_has_claimed(
    store: ConnectionStore, clock: FakeClock
) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 60
    await store.confirm("lobby", "1", "me")
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.DONE


async def test_who_lost_the_lease_changes_nothing(store: ConnectionStore, clock: FakeClock) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 30
    await store.claim("lobby", "1", OTHER, lease_s=30)
    await store.confirm("lobby", "1", "me")
    await store.release("lobby", "1", "me")
    assert await store.claim("lobby", "1", "a third", lease_s=30) is Claim.PENDING
    await store.confirm("lobby", "1", OTHER)
    await store.release("lobby", "1", "me")
    assert await store.claim("lobby", "1", "a third", lease_s=30) is Claim.DONE


async def test_confirmation_of_what_is_forgotten_creates_nothing(store: ConnectionStore, clock: FakeClock) -> None:
    await store.confirm("lobby", "1", "me")
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.MINE
    clock.time = START + CLAIM_TTL_S
    await store.confirm("lobby", "1", OTHER)
    assert await store.claim("lobby", "1", "me", lease_s=30) is Claim.MINE


@pytest.mark.parametrize(
    ("channel", "message_id"), [("games", "1"), ("lobby", "2"), ("lobby1", ""), ("lobb", "y1"), ('lobby","1', "x")]
)
async def test_claims_of_other_names_are_others(store: ConnectionStore, channel: str, message_id: str) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    await store.claim("lobby", '1","x', "me", lease_s=30)
    assert await store.claim(channel, message_id, OTHER, lease_s=30) is Claim.MINE


async def test_released_claim_can_be_had_again(store: ConnectionStore) -> None:
    await store.release("lobby", "1", "me")
    await store.claim("lobby", "1", "me", lease_s=30)
    await store.claim("lobby", "2", "me", lease_s=30)
    await store.release("lobby", "1", "me")
    await store.release("lobby", "1", "me")
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.MINE
    assert await store.claim("lobby", "2", OTHER, lease_s=30) is Claim.PENDING


async def test_confirmed_claim_is_not_released(store: ConnectionStore) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    await store.confirm("lobby", "1", "me")
    await store.release("lobby", "1", "me")
    assert await store.claim("lobby", "1", OTHER, lease_s=30) is Claim.DONE


async def test_claims_and_marks_are_no_subscribers(store: ConnectionStore) -> None:
    await store.claim("lobby", "1", "me", lease_s=30)
    await store.mark_queued("lobby", for_s=60)
    await store.mark_slow("lobby", [ME], for_s=60)
    assert await subscribers(store, "lobby") == []


# Marks


async def test_channel_has_no_state_of_its_own_accord(store: ConnectionStore) -> None:
    await store.open(ME, b"null", ["lobby"])
    assert await store.channel_state("lobby") == ChannelState(is_queued=False, slow=frozenset())


async def test_marks_are_the_channels_alone(store: ConnectionStore) -> None:
    await store.mark_queued("lobby", for_s=60)
    await store.mark_slow("games", [ME, YOU], for_s=60)
    await store.mark_slow("lobby ", [], for_s=60)
    assert await store.channel_state("lobby") == ChannelState(is_queued=True)
    assert await store.channel_state("games") == ChannelState(slow=frozenset({ME, YOU}))
    assert await store.channel_state("lobby ") == ChannelState()


async def test_marks_expire_each_by_itself(store: ConnectionStore, clock: FakeClock) -> None:
    await store.mark_queued("lobby", for_s=60)
    await store.mark_slow("lobby", [ME], for_s=30)
    await store.mark_slow("lobby", [YOU], for_s=90)
    seen = []
    for seconds in (29, 30, 59, 60, 89, 90):
        clock.time = START + seconds
        seen.append(await store.channel_state("lobby"))
    both, you = frozenset({ME, YOU}), frozenset({YOU})
    assert seen == [
        ChannelState(is_queued=True, slow=both),
        ChannelState(is_queued=True, slow=you),
        ChannelState(is_queued=True, slow=you),
        ChannelState(slow=you),
        ChannelState(slow=you),
        ChannelState(),
    ]


async def test_marks_are_prolonged_and_never_made_shorter(store: ConnectionStore, clock: FakeClock) -> None:
    await store.mark_queued("lobby", for_s=60)
    await store.mark_queued("lobby", for_s=10)
    await store.mark_slow("lobby", [ME], for_s=60)
    await store.mark_slow("lobby", [YOU, ME], for_s=10)
    clock.time = START + 59
    assert await store.channel_state("lobby") == ChannelState(is_queued=True, slow=frozenset({ME}))
    await store.mark_queued("lobby", for_s=60)
    await store.mark_slow("lobby", [ME], for_s=60)
    clock.time = START + 118
    assert await store.channel_state("lobby") == ChannelState(is_queued=True, slow=frozenset({ME}))
    clock.time = START + 119
    assert await store.channel_state("lobby") == ChannelState()


async def test_mark_may_be_set_again_after_its_time(store: ConnectionStore, clock: FakeClock) -> None:
    await store.mark_queued("lobby", for_s=60)
    clock.time = START + 600
    await store.mark_queued("lobby", for_s=5)
    assert await store.channel_state("lobby") == ChannelState(is_queued=True)
