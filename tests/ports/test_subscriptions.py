"""Every engine's port Subscriptions."""

from __future__ import annotations

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.gateway.ports import Claim
from slip_sockets.gateway.values import ChannelState, Count, Form, StoredConnection

from ..gateway.doubles import START, FakeClock
from .engines import ME, YOU, Channels, Store, subscribers

LONG = "é" * 512
"""1,024 bytes, the longest name of a channel."""


async def test_channel_without_subscribers_has_none(store: Store) -> None:
    assert await subscribers(store, "lobby") == []


async def test_open_subscribes_to_each_channel(store: Store) -> None:
    await store.open(ME, b"null", ["lobby", "games", "lobby"])
    await store.open(YOU, b"null", ["lobby"])
    assert await subscribers(store, "lobby") == [ME, YOU]
    assert await subscribers(store, "games") == [ME]


async def test_open_and_remove_take_any_number_of_channels(store: Store) -> None:
    channels = [f"room-{number}" for number in range(60)]
    await store.open(ME, b"1", channels)
    for channel in channels:
        assert await subscribers(store, channel) == [ME]
    assert await store.remove(ME) == StoredConnection(b"1", START)
    assert await store.get(ME) is None
    for channel in channels:
        assert await subscribers(store, channel) == []


async def test_subscribe_is_seen_once_however_often(store: Store) -> None:
    await store.open(ME, b"null", [])
    assert await store.subscribe(ME, "lobby") is Form.RAW
    assert await store.subscribe(ME, "lobby") is Form.RAW
    assert await subscribers(store, "lobby") == [ME]


async def test_subscribe_of_an_unknown_connection_writes_nothing(store: Store) -> None:
    await store.open(YOU, b"null", ["lobby"])
    assert await store.subscribe(ME, "lobby") is None
    assert await subscribers(store, "lobby") == [YOU]
    await store.open(ME, b"null", [])
    assert await subscribers(store, "lobby") == [YOU]


async def test_subscribers_of_before_a_time_are_those_that_were_not_subscribed_again(
    store: Store, clock: FakeClock
) -> None:
    await store.open(ME, b"null", ["lobby", "games"])
    clock.time = START + 60
    await store.open(YOU, b"null", ["lobby", "games"])
    await store.subscribe(ME, "games")

    async def found(channel: str, before: float) -> list[str]:
        pages = store.subscribers(channel, page_size=store.page_size, subscribed_before=before)
        return sorted([id_ async for page in pages for id_ in page.connection_ids])

    assert await found("lobby", START - 1) == []
    assert await found("lobby", START + 59) == [ME]
    assert await found("games", START + 59) == []
    assert await found("lobby", START + 60) == await found("games", START + 60) == [ME, YOU]


async def test_subscription_expires_and_a_repetition_prolongs_it(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"null", ["lobby", "games"])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_LIFETIME_S - 1
    assert await subscribers(store, "games") == [ME]
    clock.time = START + ROW_LIFETIME_S
    assert await subscribers(store, "games") == []
    assert await subscribers(store, "lobby") == [ME]
    clock.time = START + 60 + ROW_LIFETIME_S
    assert await subscribers(store, "lobby") == []


@pytest.mark.parametrize("channel", [LONG, "x" * 1024, "\U0001f600" * 256, "a", " ", "\x00\x7f\n", "$connection"])
async def test_any_channel_name_works(store: Store, channels: Channels, channel: str) -> None:
    await store.open(ME, b"null", [channel])
    await store.open(YOU, b"null", [])
    assert await store.subscribe(YOU, channel) is Form.RAW
    assert await subscribers(store, channel) == [ME, YOU]
    assert (await channels.claim(channel, "é" * 64, "me", lease_s=30)).claim is Claim.GRANTED
    await channels.mark_queued(channel, for_s=60)
    await channels.mark_slow(channel, [ME], for_s=60)
    assert await channels.channel_state(channel) == ChannelState(is_queued=True, slow=frozenset({ME}))
    await store.unsubscribe(ME, channel)
    assert await subscribers(store, channel) == [YOU]


async def test_names_of_channels_are_compared_exactly(store: Store) -> None:
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


async def test_unsubscribe_is_idempotent(store: Store) -> None:
    await store.open(ME, b"null", ["lobby"])
    await store.unsubscribe(ME, "games")
    await store.unsubscribe(YOU, "lobby")
    assert await subscribers(store, "lobby") == [ME]
    await store.unsubscribe(ME, "lobby")
    await store.unsubscribe(ME, "lobby")
    assert await subscribers(store, "lobby") == []


async def test_unsubscribe_all_leaves_the_connection(store: Store) -> None:
    await store.open(ME, b"1", [f"room-{number}" for number in range(30)])
    await store.open(YOU, b"2", ["room-0"])
    await store.unsubscribe_all(ME)
    await store.unsubscribe_all(ME)
    assert await subscribers(store, "room-0") == [YOU]
    assert await subscribers(store, "room-29") == []
    assert await store.get(ME) == StoredConnection(b"1", START)
    assert await store.subscribe(ME, "room-0") is Form.RAW


async def test_unsubscribe_all_of_an_unknown_connection_does_nothing(store: Store) -> None:
    await store.unsubscribe_all(ME)
    assert await store.get(ME) is None


# Pages


async def crowd(store: Store, size: int, channel: str = "lobby") -> list[str]:
    """Have so many connections subscribe, and return their ids in order."""
    ids = [f"{number:015}=" for number in range(size)]
    for connection_id in ids:
        await store.open(connection_id, b"null", [channel])
    return ids


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
async def test_subscribers_come_by_pages_of_at_most_that_size(store: Store, size: int) -> None:
    expected = await crowd(store, size)
    pages = [page async for page in store.subscribers("lobby", page_size=10)]
    assert sorted(id_ for page in pages for id_ in page.connection_ids) == expected
    assert {len(page.connection_ids) for page in pages[:-1]} <= {10}
    assert len(pages[-1].connection_ids) <= 10
    assert [page.cursor is None for page in pages] == [False] * (len(pages) - 1) + [True]


async def test_cursor_of_any_page_is_where_the_next_begins(store: Store) -> None:
    await crowd(store, 25)
    pages = [page async for page in store.subscribers("lobby", page_size=10)]
    for index, page in enumerate(pages[:-1]):
        rest = [page async for page in store.subscribers("lobby", after=page.cursor, page_size=10)]
        assert rest == pages[index + 1 :]


async def test_who_stays_is_met_once_while_others_come_and_go(store: Store) -> None:
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
        for id_ in (met[-1], next((id_ for id_ in reversed(ids) if id_ not in met and id_ in stay), met[0])):
            await store.unsubscribe(id_, "lobby")
            stay.discard(id_)
        await store.open(f"{37 * number % 100:015}+", b"null", ["lobby"])
        await store.subscribe(met[0], "lobby")  # again, or anew
    assert cursor is None
    assert len([id_ for id_ in met if id_ in stay]) == len(stay)
    assert {id_ for id_ in met if id_ in stay} == stay
    assert len(stay) > 10


async def test_cursor_outlives_that_most_leave(store: Store) -> None:
    ids = await crowd(store, 40)
    pages = aiter(store.subscribers("lobby", page_size=10))
    met = [*(await anext(pages)).connection_ids]
    stay = sorted(set(ids) - set(met))[-5:]
    for id_ in ids:
        if id_ not in stay:
            await store.unsubscribe(id_, "lobby")
    assert sorted([id_ async for page in pages for id_ in page.connection_ids]) == stay


async def test_who_leaves_and_comes_again_is_met_once(store: Store) -> None:
    ids = await crowd(store, 10)
    for id_ in ids[:3]:
        await store.unsubscribe(id_, "lobby")
        await store.subscribe(id_, "lobby")
    assert await subscribers(store, "lobby") == ids
    assert await store.count("lobby", after=None, until=START + 1) == Count(10, more=False)


async def test_cursor_outlives_everybody(store: Store) -> None:
    ids = await crowd(store, 8)
    page = await anext(aiter(store.subscribers("lobby", page_size=4)))
    for id_ in ids:
        await store.remove(id_)
    assert [page.connection_ids async for page in store.subscribers("lobby", after=page.cursor, page_size=4)] == [[]]


async def test_expired_subscribers_are_on_no_page_and_not_counted(store: Store, clock: FakeClock) -> None:
    expired = await crowd(store, 9)
    clock.time = START + 60
    await store.open(ME, b"null", ["lobby"])
    await store.subscribe(expired[4], "lobby")
    clock.time = START + ROW_LIFETIME_S
    pages = [page async for page in store.subscribers("lobby", page_size=3)]
    assert sorted(id_ for page in pages for id_ in page.connection_ids) == [expired[4], ME]
    assert await store.count("lobby", after=None, until=clock.time + 1) == Count(2, more=False)


async def test_count_is_of_those_after_the_cursor(store: Store, clock: FakeClock) -> None:
    await crowd(store, 25)
    await store.open(ME, b"null", ["games"])
    assert await store.count("lobby", after=None, until=START + 1) == Count(25, more=False)
    page = await anext(aiter(store.subscribers("lobby", page_size=10)))
    assert await store.count("lobby", after=page.cursor, until=START + 1) == Count(15, more=False)
    assert await store.count("nobody", after=None, until=START + 1) == Count(0, more=False)


async def test_count_is_broken_off_at_its_time(store: Store, clock: FakeClock) -> None:
    await crowd(store, 3)
    assert await store.count("lobby", after=None, until=START) == Count(0, more=True)


# Pruning


async def test_prune_is_for_those_accepted_before_or_unknown(store: Store, clock: FakeClock) -> None:
    old, barely_old, young, unknown = "old=", "barely-old=", "young=", "unknown="
    await store.open(old, b"1", ["lobby", "games"])
    clock.time = START + 9.75
    await store.open(barely_old, b"2", ["lobby"])
    clock.time = START + 10
    await store.open(young, b"3", ["lobby"])
    await store.open(ME, b"4", ["lobby"])
    left = await store.prune([young, old, unknown, barely_old], accepted_before=START + 10)
    assert list(left) == [young]
    assert await subscribers(store, "lobby") == sorted([young, ME])
    assert await subscribers(store, "games") == []
    assert await store.get(old) == StoredConnection(b"1", START)
    assert await store.subscribe(old, "lobby") is Form.RAW


async def test_prune_takes_any_number_and_each_once(store: Store, clock: FakeClock) -> None:
    old = [f"old-{number}=" for number in range(110)]
    young = [f"young-{number}=" for number in range(30)]
    for id_ in old:
        await store.open(id_, b"null", ["lobby"])
    clock.time = START + 1
    for id_ in young:
        await store.open(id_, b"null", ["lobby"])
    left = await store.prune([*young, *old, *young, *old], accepted_before=START + 1)
    assert list(left) == young
    assert await subscribers(store, "lobby") == sorted(young)
    assert list(await store.prune([], accepted_before=START + 1)) == []


async def test_prune_does_not_know_an_expired_connection(store: Store, clock: FakeClock) -> None:
    await store.open(ME, b"1", [])
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_LIFETIME_S
    assert list(await store.prune([ME], accepted_before=START)) == []
    assert await subscribers(store, "lobby") == []
