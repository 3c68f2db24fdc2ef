"""Every engine's port Presence, and the memberships of its ports Connections and Subscriptions.

Longer than 400 lines, since it is one contract.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.gateway.ports import Presence
from slip_sockets.gateway.values import (
    NOT_NOTIFIED,
    ChannelState,
    Form,
    MemberConnection,
    Membership,
    Notified,
    StoredConnection,
)

from ..gateway.doubles import START, FakeClock
from .engines import ME, YOU, Channels, Engine, Store, subscribers

ANN = Membership("ann", b'{"colour":"red"}')
BOB = Membership("bob")
LEFT_LIFETIME_S = 10 * 60
NOTIFIED_LIFETIME_S = 2 * ROW_LIFETIME_S


class RecordingChanges:
    """The port MemberChanges. It notes each change, and who is in the channels at that moment."""

    def __init__(self, presence: Presence) -> None:
        self.heard: list[tuple[str, list[str], list[str]]] = []
        self._presence = presence

    async def joining(self, channels: Sequence[str]) -> None:
        await self._hear("joining", channels)

    async def leaving(self, channels: Sequence[str]) -> None:
        await self._hear("leaving", channels)

    async def _hear(self, change: str, channels: Sequence[str]) -> None:
        assert len(set(channels)) == len(channels) > 0
        found = [name for channel in channels for name in await there(self._presence, channel)]
        self.heard.append((change, sorted(channels), found))


async def members(presence: Presence, channel: str = "lobby") -> Sequence[MemberConnection]:
    return (await presence.read(channel))[0]


async def there(presence: Presence, channel: str = "lobby") -> list[str]:
    """Return the names of those that are there."""
    return [member.name for member in await members(presence, channel) if member.left_at is None]


@pytest.fixture
def changes(presence: Presence) -> RecordingChanges:
    return RecordingChanges(presence)


@pytest.fixture
def store(engine: Engine, clock: FakeClock, changes: RecordingChanges) -> Store:
    return engine.store(clock, changes)


End = Callable[[Store], Awaitable[object]]

ENDS: dict[str, End] = {
    "remove": lambda store: store.remove(ME),
    "unsubscribe": lambda store: store.unsubscribe(ME, "lobby"),
    "unsubscribe_all": lambda store: store.unsubscribe_all(ME),
    "prune": lambda store: store.prune([YOU, ME], accepted_before=START + 1),
}
"""All that ends a subscription."""


@pytest.fixture(params=ENDS)
def end(request: pytest.FixtureRequest) -> End:
    return ENDS[request.param]


# Memberships begin


async def test_channel_without_members_has_none_and_was_told_nothing(store: Store, presence: Presence) -> None:
    await store.open(ME, b"null", ["lobby"])
    assert await presence.read("lobby") == ([], NOT_NOTIFIED)


async def test_open_begins_memberships(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock
) -> None:
    clock.time = START + 0.25
    await store.open(ME, b"null", ["lobby", "games"], Form.SLIP_V1, "ann", {"lobby": ANN})
    assert changes.heard == [("joining", ["lobby"], [])]
    assert await members(presence) == [MemberConnection("ann", ME, START + 0.25, ANN.info, Form.SLIP_V1)]
    assert await members(presence, "games") == []
    assert await subscribers(store, "lobby") == await subscribers(store, "games") == [ME]
    assert await store.get(ME) == StoredConnection(b"null", START + 0.25, form=Form.SLIP_V1, user="ann")


async def test_open_begins_any_number_of_memberships(
    store: Store, presence: Presence, changes: RecordingChanges
) -> None:
    channels = [f"room-{number}" for number in range(30)]
    await store.open(ME, b"1", [*channels, "lobby"], memberships=dict.fromkeys(channels, BOB))
    assert changes.heard == [("joining", sorted(channels), [])]
    for channel in channels:
        assert await there(presence, channel) == ["bob"]
    await store.remove(ME)
    assert changes.heard[1:] == [("leaving", sorted(channels), ["bob"] * 30)]
    for channel in channels:
        assert await there(presence, channel) == []
        assert await subscribers(store, channel) == []


@pytest.mark.parametrize("form", [Form.RAW, Form.SLIP_V1])
@pytest.mark.parametrize("is_known", [True, False])
async def test_subscribe_begins_a_membership(
    store: Store, presence: Presence, changes: RecordingChanges, form: Form, is_known: bool
) -> None:
    await store.open(ME, b"null", [], form)
    assert await store.subscribe(ME, "lobby", form if is_known else None, BOB) is form
    assert changes.heard == [("joining", ["lobby"], [])]
    assert await members(presence) == [MemberConnection("bob", ME, START, form=form)]
    assert await store.is_subscribed(ME, "lobby")
    (page,) = [page async for page in store.subscribers("lobby", page_size=10)]
    assert list(page.framed) == ([ME] if form is Form.SLIP_V1 else [])


async def test_subscribe_makes_a_subscriber_a_member(store: Store, presence: Presence) -> None:
    await store.open(ME, b"null", ["lobby"])
    await store.subscribe(ME, "lobby", membership=BOB)
    assert await there(presence) == ["bob"]
    assert await subscribers(store, "lobby") == [ME]


async def test_subscribe_of_an_unknown_connection_begins_nothing(store: Store, presence: Presence) -> None:
    for form in (None, Form.RAW, Form.SLIP_V1):
        assert await store.subscribe(ME, "lobby", form, BOB) is None
    assert await members(presence) == []
    assert await subscribers(store, "lobby") == []


async def test_repeated_subscribe_with_presence_begins_anew(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock
) -> None:
    await store.open(ME, b"null", ["lobby"], memberships={"lobby": ANN})
    clock.time = START + 60
    await store.subscribe(ME, "lobby", membership=Membership("ann", b"2"))
    assert await members(presence) == [MemberConnection("ann", ME, START + 60, b"2")]
    await store.subscribe(ME, "lobby", membership=Membership("ann"))
    assert await members(presence) == [MemberConnection("ann", ME, START + 60)]
    assert changes.heard[1:] == [("joining", ["lobby"], ["ann"])] * 2
    clock.time = START + ROW_LIFETIME_S + 59
    assert await there(presence) == ["ann"]


@pytest.mark.parametrize("form", [None, Form.SLIP_V1])
async def test_subscribe_without_presence_leaves_a_membership_as_it_is(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock, form: Form | None, end: End
) -> None:
    await store.open(ME, b"null", ["lobby"], Form.SLIP_V1, memberships={"lobby": ANN})
    before = await members(presence)
    clock.time = START + 60
    assert await store.subscribe(ME, "lobby", form) is Form.SLIP_V1
    assert await members(presence) == before
    assert len(changes.heard) == 1
    (page,) = [page async for page in store.subscribers("lobby", page_size=10)]
    assert page.framed == {ME}
    await end(store)
    assert await there(presence) == []
    assert changes.heard[1:] == [("leaving", ["lobby"], ["ann"])]


# Memberships end


async def test_membership_ends_with_its_subscription_however_that_ends(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock, end: End
) -> None:
    await store.open(ME, b"1", ["lobby"], Form.SLIP_V1, memberships={"lobby": ANN})
    clock.time = START + 60.5
    await end(store)
    left = [MemberConnection("ann", ME, START, ANN.info, Form.SLIP_V1, START + 60.5)]
    assert await members(presence) == left
    assert changes.heard[1:] == [("leaving", ["lobby"], ["ann"])]
    assert await subscribers(store, "lobby") == []
    clock.time = START + 62
    await end(store)
    assert await members(presence) == left
    assert len(changes.heard) == 2


async def test_what_is_no_membership_ends_unheard_of(
    store: Store, presence: Presence, changes: RecordingChanges, end: End
) -> None:
    await store.open(ME, b"1", ["lobby"])
    await store.open(YOU, b"1", ["games"], memberships={"aside": BOB})
    changes.heard.clear()
    await end(store)
    assert changes.heard == []
    assert await members(presence) == []


async def test_other_memberships_stay(store: Store, presence: Presence, changes: RecordingChanges) -> None:
    await store.open(ME, b"1", ["lobby", "games"], memberships={"lobby": ANN, "games": ANN})
    await store.open(YOU, b"1", ["lobby"], memberships={"lobby": ANN})
    changes.heard.clear()
    await store.unsubscribe(ME, "lobby")
    assert await there(presence, "games") == ["ann"]
    assert [member.connection_id for member in await members(presence) if member.left_at is None] == [YOU]
    await store.remove(ME)
    assert changes.heard == [("leaving", ["lobby"], ["ann", "ann"]), ("leaving", ["games"], ["ann"])]
    assert await there(presence) == ["ann"]


async def test_prune_ends_the_memberships_of_those_that_it_prunes(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock
) -> None:
    old = [f"old-{number}=" for number in range(30)]
    for id_ in old:
        await store.open(id_, b"1", ["lobby", "games"], memberships={"lobby": Membership(id_)})
    clock.time = START + 1
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    changes.heard.clear()
    assert list(await store.prune([*old, ME], accepted_before=START + 1)) == [ME]
    assert changes.heard == [("leaving", ["lobby"], ["ann", *sorted(old)])]
    assert await there(presence) == ["ann"]
    assert len(await members(presence)) == 31
    assert await store.get(old[0]) is not None


async def test_who_comes_again_is_there(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock, end: End
) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    await end(store)
    clock.time = START + 5
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    assert await members(presence) == [MemberConnection("ann", ME, START + 5, ANN.info)]
    assert changes.heard[2:] == [("joining", ["lobby"], [])]


async def test_membership_expires_with_its_subscription(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock, end: End
) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    clock.time = START + ROW_LIFETIME_S - 1
    assert await there(presence) == ["ann"]
    clock.time = START + ROW_LIFETIME_S
    assert await members(presence) == []
    await end(store)
    assert await members(presence) == []
    assert len(changes.heard) == 1


async def test_membership_expires_where_its_subscription_is_prolonged(
    store: Store, presence: Presence, changes: RecordingChanges, clock: FakeClock, end: End
) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    clock.time = START + 60
    await store.subscribe(ME, "lobby")
    clock.time = START + ROW_LIFETIME_S
    assert await subscribers(store, "lobby") == [ME]
    await end(store)
    assert await members(presence) == []
    assert await subscribers(store, "lobby") == []
    assert len(changes.heard) == 1


async def test_who_has_left_stays_for_a_while(store: Store, presence: Presence, clock: FakeClock, end: End) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    await end(store)
    clock.time = START + LEFT_LIFETIME_S - 1
    assert len(await members(presence)) == 1
    clock.time = START + LEFT_LIFETIME_S
    assert await members(presence) == []


async def test_metadata_of_those_that_have_left_is_kept_where_it_is_asked_for(
    engine: Engine, presence: Presence, clock: FakeClock, end: End
) -> None:
    store = engine.store(clock, keeps_metadata=True)
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    await store.set_metadata(ME, b'{"a":2}')
    assert [member.metadata for member in await members(presence)] == [None]
    await end(store)
    assert [member.metadata for member in await members(presence)] == [b'{"a":2}']
    await store.open(ME, b"3", ["lobby"], memberships={"lobby": ANN})
    assert [member.metadata for member in await members(presence)] == [None]


# Reading


NAMES = ["ann", "an", "ann ", "ann2", "ann:1", "A" * 128, "é" * 64, "e\u0301", "\U0001f600" * 32, " ", "\x01\x7f\n", ME]


async def test_connections_of_one_name_stand_together(store: Store, presence: Presence) -> None:
    ids = [f"{number:015}=" for number in range(3 * len(NAMES))]
    expected = dict(zip(ids, itertools.cycle(NAMES), strict=False))
    for connection_id, name in expected.items():
        await store.open(connection_id, b"1", ["lobby"], memberships={"lobby": Membership(name)})
    found = await members(presence)
    assert {member.connection_id: member.name for member in found} == expected
    assert len([name for name, _ in itertools.groupby(member.name for member in found)]) == len(NAMES)


async def test_names_with_nul_do_not_come_between_others(store: Store, presence: Presence) -> None:
    names = ["a", "a\0A", "a", "a\0", "a\0A"]
    for number, name in enumerate(names):
        await store.open(f"B{number}", b"1", ["lobby"], memberships={"lobby": Membership(name)})
    found = await members(presence)
    assert [member.name for member in found] == ["a", "a", "a\0", "a\0A", "a\0A"]
    await store.remove("B1")
    assert await there(presence) == ["a", "a", "a\0", "a\0A"]


@pytest.mark.parametrize("channel", ["é" * 512, "\U0001f600" * 256, " ", "\x00\x7f\n", "presence:notified"])
async def test_channels_may_have_any_name(store: Store, presence: Presence, channel: str) -> None:
    longest = Membership("é" * 64, b'"' + b"x" * 1022 + b'"')
    await store.open(ME, b"1", [channel], memberships={channel: longest})
    assert await members(presence, channel) == [MemberConnection(longest.name, ME, START, longest.info)]
    assert await presence.note(channel, Notified(version=1))
    await store.unsubscribe(ME, channel)
    await presence.forget(channel, await members(presence, channel))
    assert await presence.read(channel) == ([], Notified(version=1))


async def test_thousand_members_are_read(engine: Engine, presence: Presence, clock: FakeClock) -> None:
    store = engine.store(clock)
    info = b'"' + b"x" * 1022 + b'"'
    ids = [f"{number:015}=" for number in range(1_000)]
    for connection_id in ids:
        await store.open(connection_id, b"1", ["lobby"], memberships={"lobby": Membership(connection_id, info)})
    assert await presence.note("lobby", Notified(version=1, count=1_000))
    found, notified = await presence.read("lobby")
    assert [member.connection_id for member in found] == ids
    assert notified.count == 1_000


async def test_members_are_none_of_a_channels_marks(store: Store, presence: Presence, channels: Channels) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    await presence.note("lobby", Notified(version=1))
    assert await channels.channel_state("lobby") == ChannelState()
    await channels.mark_queued("lobby", for_s=60)
    assert await there(presence) == ["ann"]


# What they were notified of


async def test_told_follows_the_version_before(presence: Presence) -> None:
    first = Notified(1, START, 2, {"ann": "1", "\U0001f600\0": "2"}, (ME, YOU), True, START + 1.5, START + 2.25)
    assert not await presence.note("lobby", Notified(version=2))
    assert await presence.note("lobby", first)
    assert await presence.read("lobby") == ([], first)
    for version in (1, 3, 4):
        assert not await presence.note("lobby", Notified(version=version))
    assert (await presence.read("lobby"))[1] == first
    second = Notified(version=2, users=None, count=201)
    assert await presence.note("lobby", second)
    assert (await presence.read("lobby"))[1] == second
    assert not await presence.note("lobby", second)
    assert (await presence.read("games"))[1] == NOT_NOTIFIED


async def test_told_expires(presence: Presence, clock: FakeClock) -> None:
    await presence.note("lobby", Notified(version=1))
    clock.time = START + NOTIFIED_LIFETIME_S - 1
    assert (await presence.read("lobby"))[1] == Notified(version=1)
    clock.time = START + NOTIFIED_LIFETIME_S
    assert (await presence.read("lobby"))[1] == NOT_NOTIFIED
    assert not await presence.note("lobby", Notified(version=2))
    assert await presence.note("lobby", Notified(version=1, count=1))
    clock.time += NOTIFIED_LIFETIME_S - 1
    assert await presence.note("lobby", Notified(version=2))
    clock.time += 60
    assert (await presence.read("lobby"))[1] == Notified(version=2)


# Forgetting


async def test_those_that_have_left_are_forgotten(store: Store, presence: Presence) -> None:
    ids = [f"{number:015}=" for number in range(20)]
    for connection_id in ids:
        await store.open(connection_id, b"1", ["lobby"], memberships={"lobby": ANN})
    for connection_id in ids[:18]:
        await store.remove(connection_id)
    left = [member for member in await members(presence) if member.left_at is not None]
    await presence.forget("lobby", left[:17])
    await presence.forget("lobby", left[:17])
    assert [member.connection_id for member in await members(presence)] == ids[17:]
    await presence.forget("lobby", [])
    await presence.forget("games", left)
    assert len(await members(presence)) == 3


async def test_who_came_again_or_is_there_is_not_forgotten(store: Store, presence: Presence, clock: FakeClock) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    await presence.forget("lobby", await members(presence))
    assert await there(presence) == ["ann"]
    await store.unsubscribe(ME, "lobby")
    left = await members(presence)
    clock.time = START + 0.001
    await store.subscribe(ME, "lobby", membership=ANN)
    await presence.forget("lobby", left)
    assert await there(presence) == ["ann"]
    await store.unsubscribe(ME, "lobby")
    await presence.forget("lobby", left)
    assert [member.left_at for member in await members(presence)] == [START + 0.001]
    await presence.forget("lobby", await members(presence))
    assert await members(presence) == []
