"""Presence: who is in a channel, and who is notified of it.

Longer than 400 lines: all cases play in one room.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from slip_sockets.gateway.deferred import Continuation
from slip_sockets.gateway.deferred_presence import Look
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.looks import GRACE_S
from slip_sockets.gateway.perform import MAX_REPORTS_BYTES
from slip_sockets.gateway.values import Form, MemberConnection
from slip_sockets.protocol.events import (
    Member,
    Members,
    Presence,
    PresenceReport,
    PublishText,
    SendText,
    Subscribe,
    Unsubscribe,
)

from .doubles import ACCEPT, ME, START, YOU, World, control_event, socket_event
from .presence_room import ROOM, RecordingOccupancy, RecordingSweeps, Room

THEY = "T0000000000000="
SOON_S, LATER_S = 2.5, 15.0
"""After which a newcomer has its first frame, and one that has left no longer counts."""


@pytest.fixture
async def room() -> Room:
    """Two pages that know of each other."""
    room = Room()
    await room.enter(ME, user="ann", info=b'{"age":7}')
    await room.enter(YOU, user="bob")
    await room.pass_time(LATER_S)
    assert room.frames() == {ME: 1, YOU: 1}
    return room


def counted_reads(world: World) -> list[str]:
    """Return the ids of connections that are read from now on."""
    reads: list[str] = []
    get = world.store.get

    async def counted(connection_id: str) -> Any:
        reads.append(connection_id)
        return await get(connection_id)

    world.store.get = counted  # type: ignore[method-assign]
    return reads


def members(room: Room) -> dict[str, list[str] | None]:
    return {id_: None if page.members is None else sorted(page.members) for id_, page in room.pages.items()}


async def test_those_who_come_together_are_told_together_and_each_once(room: Room) -> None:
    await room.enter("C1", "C2", "C3", user="cem")
    await room.pass_time(SOON_S)
    assert room.frames() == {ME: 1, YOU: 1, "C1": 1, "C2": 1, "C3": 1}
    assert set(map(str, members(room).values())) == {"['ann', 'bob', 'cem']"}
    assert room.pages["C3"].members == {"ann": {"age": 7}, "bob": None, "cem": None}
    await room.pass_time(LATER_S)
    assert room.frames() == {}


async def test_a_user_on_three_connections_is_one_member(room: Room) -> None:
    await room.enter("A2", "A3", user="ann", info=b'"new"')
    await room.pass_time(SOON_S)
    assert room.pages[YOU].members == {"ann": "new", "bob": None}
    report = await room.report()
    assert report == PresenceReport(
        2, [Member("ann", "new", 3, int(START * 1000)), Member("bob", None, 1, int(START * 1000))], more=False
    )
    room.frames()
    await room.leave([ME])
    await room.pass_time(LATER_S)
    assert room.frames() == {}
    await room.leave(["A2", "A3"])
    await room.pass_time(LATER_S)
    assert room.frames() == {YOU: 1}
    assert room.pages[YOU].members == {"bob": None}


async def test_raw_members_are_seen_and_are_sent_nothing(room: Room) -> None:
    await room.enter(THEY, form=Form.RAW)
    await room.pass_time(LATER_S)
    assert room.pages[ME].members == {"ann": {"age": 7}, "bob": None, THEY: None}
    assert not room.pages[THEY].frames
    assert (await room.report()).count == 3


async def test_one_that_is_back_within_the_grace_was_never_away(room: Room) -> None:
    await room.leave([YOU])
    assert [member.user for member in (await room.report()).members] == ["ann"]
    await room.pass_time(GRACE_S - 1)
    await room.enter(THEY, user="bob")
    await room.pass_time(LATER_S)
    assert room.frames() == {THEY: 1}
    assert room.pages[THEY].members == room.pages[ME].members == {"ann": {"age": 7}, "bob": None}


async def test_one_that_is_not_back_is_told_as_left(room: Room) -> None:
    await room.leave([YOU])
    await room.pass_time(GRACE_S - 0.5)
    assert room.frames() == {}
    await room.pass_time(LATER_S - GRACE_S)
    assert room.frames() == {ME: 1}
    assert room.pages[ME].members == {"ann": {"age": 7}}


async def test_unsubscribing_has_the_same_grace(room: Room) -> None:
    await room.world.performer.run([Unsubscribe(YOU, ROOM)])
    assert (await room.report()).count == 1
    await room.pass_time(3)
    await room.world.performer.run([Subscribe(YOU, ROOM, presence=Presence())])
    await room.pass_time(LATER_S)
    assert members(room)[ME] == members(room)[YOU] == ["ann", "bob"]
    assert room.frames() == {}  # what it knows still holds
    await room.world.performer.run([Unsubscribe(YOU, ROOM)])
    await room.pass_time(LATER_S)
    assert members(room)[ME] == ["ann"]


async def test_other_info_is_told(room: Room) -> None:
    await room.world.performer.run([Subscribe(YOU, ROOM, presence=Presence({"typing": True}))])
    await room.pass_time(SOON_S)
    assert room.pages[ME].members == room.pages[YOU].members == {"ann": {"age": 7}, "bob": {"typing": True}}
    await room.world.performer.run([Subscribe(YOU, ROOM)])
    await room.pass_time(LATER_S)
    assert (await room.report()).members[1].info == {"typing": True}


@pytest.mark.parametrize("users", [1_000, 150])
async def test_a_storm_sends_nothing_to_those_who_stay_and_one_frame_to_each_who_is_back(users: int) -> None:
    room = Room()
    staying = [f"S{number}" for number in range(20)]
    await room.enter(*staying)
    dropped = {f"D{number}": f"user{number % users}" for number in range(1_000)}
    for id_, user in dropped.items():
        await room.enter(id_, user=user)
    await room.pass_time(100)
    known = members(room)
    room.frames()
    await room.leave(dropped)
    for second in range(9):
        for number in range(second * 100, second * 100 + 100 + 100 * (second == 8)):
            await room.enter(f"B{number}", user=f"user{number % users}")
        await room.pass_time(1)
    await room.pass_time(100)
    assert room.frames() == {f"B{number}": 1 for number in range(1_000)}
    assert {id_: members(room)[id_] for id_ in staying} == {id_: known[id_] for id_ in staying}
    assert members(room)["B7"] == known[staying[0]]
    assert (await room.report()).count == users + len(staying)


async def test_a_large_channel_is_told_its_number_seldom_and_by_the_queue() -> None:
    room = Room()
    await room.enter(*(f"C{number:03}" for number in range(300)))
    await room.pass_time(LATER_S)
    assert set(room.frames().values()) == {1}
    assert (room.pages["C007"].members, room.pages["C007"].count) == (None, 300)
    for number in range(300, 310):
        await room.enter(f"C{number}")
        await room.pass_time(1)
    await room.pass_time(LATER_S)
    frames = room.frames()
    assert max(frames.values()) <= 4
    assert {page.count for page in room.pages.values()} == {310}
    await room.leave(f"C{number}" for number in range(200, 310))
    await room.pass_time(2 * LATER_S)
    assert {len(room.pages[f"C{number:03}"].members or ()) for number in range(200)} == {200}


async def test_one_that_takes_no_more_is_sent_all_later(room: Room) -> None:
    room.world.sender.failing[YOU] = 1
    await room.enter(THEY)
    await room.pass_time(SOON_S)
    assert room.frames() == {ME: 1, THEY: 1}
    await room.pass_time(LATER_S)
    assert room.frames() == {YOU: 1}
    assert members(room)[YOU] == members(room)[ME]


async def test_one_that_is_gone_is_a_member_no_more(room: Room) -> None:
    room.world.sender.gone.add(YOU)
    room.world.clock.time += 100
    await room.enter(THEY)
    await room.pass_time(2 * LATER_S)
    assert members(room)[ME] == members(room)[THEY] == [THEY, "ann"]


async def test_a_look_that_is_not_noted_tells_everybody_everything(room: Room) -> None:
    await room.enter(THEY)
    presence: Any = room.world.store.presence
    presence.away.add("note")
    look = Look(ROOM, room.world.clock.time)
    with pytest.raises(Incomplete) as raised:
        await room.world.looker.on_look(look, room.world.checkpoint, deadline=float("inf"))
    assert raised.value.remaining == room.world.checkpoint.saved[-1] == msgspec.structs.replace(look, is_repeated=True)
    presence.away.clear()
    await room.leave([THEY])
    room.world.clock.time += GRACE_S
    await room.attempt(raised.value.remaining)
    room.receive()
    assert members(room)[ME] == members(room)[YOU] == ["ann", "bob"]


async def test_what_only_newcomers_are_sent_is_not_saved_before(room: Room) -> None:
    await room.enter(THEY, user="bob")
    await room.attempt(Look(ROOM, room.world.clock.time))
    assert room.world.checkpoint.saved == []
    room.receive()
    assert room.frames() == {THEY: 1}


async def test_a_look_waits_for_its_time_and_then_for_its_turn() -> None:
    world = World()
    with pytest.raises(Incomplete) as raised:
        await world.defer(Look(ROOM, START + 3))
    assert (raised.value.pause_s, raised.value.is_exact) == (3, True)
    world.clock.time += 3
    for aside in (Look(ROOM, START + 3, is_after_grace=True), Look(ROOM, START + 3, is_later=True)):
        await world.defer(aside)
        (look,) = world.queue.messages
        assert look == Look(ROOM, START + 3)
        assert look.group != aside.group
        world.queue.messages.clear()
    await world.defer(Look(ROOM, START + 3))
    assert world.queue.messages == []


async def test_one_whose_leave_was_written_late_is_looked_at_again(room: Room) -> None:
    await room.leave([YOU])
    room.world.queue.messages.clear()
    await room.pass_time(GRACE_S - 1)
    await room.attempt(Look(ROOM, room.world.clock.time))
    await room.pass_time(LATER_S)
    assert members(room)[ME] == ["ann"]


async def test_of_two_looks_at_a_time_the_later_one_tells_all_anew(room: Room) -> None:
    await room.enter(THEY)
    presence = room.world.store.presence
    _, notified = await presence.read(ROOM)
    note = presence.note

    async def overtaken(channel: str, later: Any) -> bool:
        presence.note = note  # type: ignore[method-assign]
        await note(channel, msgspec.structs.replace(notified, version=notified.version + 1))
        return await note(channel, later)

    presence.note = overtaken  # type: ignore[method-assign,assignment]
    await room.attempt(Look(ROOM, room.world.clock.time))
    room.receive()
    assert room.frames() == {ME: 2, YOU: 2, THEY: 2}


# What a backend asks for


async def test_open_makes_a_user_a_member(world: World) -> None:
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": ROOM, "presence": {"info": {"x": 1}}}
    world.client.will_reply(ACCEPT | {"user": "ann"}, subscribe)
    await world.websocket(socket_event("CONNECT", headers={"Sec-WebSocket-Protocol": "slip.v1"}))
    connections, _ = await world.store.presence.read(ROOM)
    assert connections == [MemberConnection("ann", ME, START, b'{"x":1}')]
    looks = [Look(ROOM, START + 2), Look(ROOM, START + 12, is_after_grace=True)]
    assert world.queue.messages == looks


async def test_what_waits_for_the_socket_knows_the_user(world: World) -> None:
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": ROOM, "presence": {"info": 1}}
    publish = {"type": "PUBLISH_TEXT", "channelId": "a", "data": "x"}
    world.client.will_reply(ACCEPT | {"user": "ann"}, publish, subscribe)
    await world.websocket(socket_event("CONNECT"))
    (waiting,) = world.queue.messages
    assert waiting == Continuation(ME, [PublishText("a", "x"), Subscribe(ME, ROOM, presence=Presence(1))], user="ann")
    assert msgspec.json.decode(msgspec.json.encode(waiting), type=Continuation) == waiting
    reads = counted_reads(world)
    await world.defer(waiting)
    assert reads == [ME]  # by the engine in memory itself
    assert (await world.store.presence.read(ROOM))[0] == [MemberConnection("ann", ME, START, b"1")]


async def test_a_text_costs_no_read_more(world: World) -> None:
    await world.connected(ME, user="ann")
    reads = counted_reads(world)
    subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": ROOM, "presence": {}}
    world.client.will_reply(subscribe)
    await world.websocket(socket_event("MESSAGE", body="hi"))
    assert len(reads) == 1 + 1  # the engine in memory reads in `subscribe` too
    assert [each.name for each in (await world.store.presence.read(ROOM))[0]] == ["ann"]
    reads.clear()
    await world.control(control_event([subscribe, subscribe | {"channel": "other"}]))
    assert len(reads) == 1 + 2


async def test_nobody_without_a_connection_becomes_a_member(world: World) -> None:
    await world.performer.run([Subscribe(ME, ROOM, presence=Presence())])
    assert (await world.store.presence.read(ROOM))[0] == []


async def test_a_connection_without_a_user_is_a_member_itself(world: World) -> None:
    await world.connected(ME, form=Form.SLIP_V1)
    await world.performer.run([SendText(ME, "x"), Subscribe(ME, ROOM, presence=Presence("i"))])
    (member,) = (await world.store.presence.read(ROOM))[0]
    assert (member.name, member.info, member.form) == (ME, b'"i"', Form.SLIP_V1)


# What a publisher asks for


async def test_the_control_api_reports_members(room: Room) -> None:
    response = await room.world.control(control_event([{"type": "PRESENCE", "channelId": ROOM}]))
    since = int(START * 1000)
    ann = {"user": "ann", "info": {"age": 7}, "connections": 1, "since": since}
    bob = {"user": "bob", "info": None, "connections": 1, "since": since}
    report = {"count": 2, "members": [ann, bob], "more": False}
    assert json.loads(response["body"])["events"] == [report]


async def test_a_backend_cannot_ask_who_is_there(world: World) -> None:
    await world.connected(ME)
    world.client.will_reply({"type": "PRESENCE", "channelId": ROOM})
    assert (await world.websocket(socket_event("MESSAGE", body="hi")))["statusCode"] == 400


async def test_a_report_has_a_thousand_members_by_their_names() -> None:
    room = Room()
    await room.enter(*(f"C{number:04}" for number in range(1_003)))
    report = await room.report()
    assert (report.count, report.more) == (1_003, True)
    assert [member.user for member in report.members] == [f"C{number:04}" for number in range(1_000)]


async def test_the_reports_of_a_batch_share_their_bytes() -> None:
    room = Room()
    info = b'"' + b"x" * 1_000 + b'"'
    await room.enter(*(f"C{number:04}" for number in range(1_000)), info=info)
    reports = await room.world.performer.run([Members(ROOM)] * 3)
    numbers = [len(report.members) for report in reports if isinstance(report, PresenceReport)]
    assert numbers[0] == 1_000
    assert sum(numbers) == MAX_REPORTS_BYTES // len(msgspec.json.encode(reports[0].members[0]))  # type: ignore[union-attr]
    assert [report.more for report in reports] == [False, True, True]  # type: ignore[union-attr]


# The backend hears of the first and the last


async def test_the_backend_hears_of_the_first_and_of_the_last() -> None:
    room, occupancy = Room(), RecordingOccupancy()
    room.world.looker = room.world.looker_with(occupancy)
    await room.enter(ME, YOU, user="ann", form=Form.RAW)
    await room.pass_time(LATER_S)
    ((is_occupied, who),) = occupancy.changes.values()
    assert (is_occupied, who.connection_id) == (True, ME)
    await room.leave([YOU])
    await room.pass_time(LATER_S)
    assert len(occupancy.changes) == 1
    await room.leave([ME])
    await room.enter(THEY)
    await room.pass_time(LATER_S)
    assert len(occupancy.changes) == 1
    await room.leave([THEY])
    await room.pass_time(LATER_S)
    (_, (is_occupied, who)) = occupancy.changes.values()
    assert (is_occupied, who.connection_id, who.metadata) == (False, THEY, b"null")


async def test_the_backend_hears_of_those_who_vanish_without_a_trace() -> None:
    room, occupancy, sweeps = Room(), RecordingOccupancy(), RecordingSweeps()
    room.world.looker = msgspec.structs.replace(room.world.looker_with(occupancy), sweeps=sweeps)
    await room.enter(ME, user="ann")
    await room.pass_time(100)
    (due_at,) = sweeps.due
    room.world.clock.time = due_at
    await room.attempt(Look(ROOM, due_at))
    said = [(is_occupied, who.name) for is_occupied, who in occupancy.changes.values()]
    assert said == [(True, "ann"), (False, "ann")]


@pytest.mark.parametrize("is_back", [False, True])
async def test_what_was_announced_holds_also_where_nobody_is_there_any_more(is_back: bool) -> None:
    room, occupancy = Room(), RecordingOccupancy()
    room.world.looker = room.world.looker_with(occupancy)
    presence: Any = room.world.store.presence
    await room.enter(ME)
    presence.away.add("note")
    with pytest.raises(Incomplete) as raised:
        await room.world.defer(Look(ROOM, room.world.clock.time))
    presence.away.clear()
    await room.leave([ME])
    room.world.clock.time += GRACE_S
    if is_back:
        await room.enter(YOU)
    await room.attempt(raised.value.remaining)  # type: ignore[arg-type]
    said = [is_occupied for is_occupied, _ in occupancy.changes.values()]
    assert said == ([True] if is_back else [True, False])
    assert (await presence.read(ROOM))[1].is_occupied is is_back
