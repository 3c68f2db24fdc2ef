"""What the members of a channel are told, under any history."""

from __future__ import annotations

import math
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from slip_sockets.dev.presence import MemoryPresence
from slip_sockets.gateway import plan_presence
from slip_sockets.gateway.looks import GRACE_S
from slip_sockets.gateway.plan_presence import COUNT_EVERY_S, LookPlan, frames_of, plan_look
from slip_sockets.gateway.values import NOT_NOTIFIED, Form, MemberConnection, Membership, Notified
from slip_sockets.protocol.events import MAX_TEXT_BYTES
from slip_sockets.protocol.frames import PresenceFrame

from .doubles import START, FakeClock
from .presence_page import PresencePage

ROOM = "room"
T = TypeVar("T")


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits")


def member(number: int, *, age_s: float = 100.0, left_s: float | None = None, **more: Any) -> MemberConnection:
    """A page that joined `age_s` before START, and left `left_s` before it."""
    left_at = None if left_s is None else START - left_s
    more = {"form": Form.SLIP_V1} | more
    return MemberConnection(f"user{number}", f"c{number}", START - age_s, left_at=left_at, **more)


def notified_of(connections: list[MemberConnection], at: float = START - 50) -> Notified:
    """What is told once all of them know of each other."""
    notified = plan_look(ROOM, connections, NOT_NOTIFIED, at).notified
    assert notified is not None
    return notified


def frame(plan: LookPlan) -> PresenceFrame:
    (sending,) = plan.sendings
    (text,) = sending.frames
    return msgspec.json.decode(text, type=PresenceFrame)


def crowd(count: int) -> list[MemberConnection]:
    return [member(number) for number in range(count)]


def test_a_newcomer_is_sent_all_and_the_others_what_has_changed() -> None:
    before = crowd(2)
    plan = plan_look(ROOM, [*before, member(2, age_s=1)], notified_of(before), START)
    to_new, to_others = plan.sendings
    assert to_new.connection_ids == ["c2"]
    assert to_others.connection_ids == ["c0", "c1"]
    everybody = ",".join(f'{{"user":"user{number}","info":null}}' for number in range(3))
    assert to_new.frames == [f'{{"slip":"presence","channel":"room","all":true,"joined":[{everybody}],"count":3}}']
    one = '{"user":"user2","info":null}'
    assert to_others.frames == [f'{{"slip":"presence","channel":"room","joined":[{one}],"count":3}}']
    assert plan.notified is not None
    assert plan_look(ROOM, [*before, member(2, age_s=1)], plan.notified, START + 1).sendings == []


def test_one_that_has_left_counts_until_its_grace_is_over() -> None:
    before = crowd(3)
    notified = notified_of(before)
    leaving = [*before[:2], member(2, left_s=9)]
    plan = plan_look(ROOM, leaving, notified, START)
    assert (plan.sendings, plan.notified, plan.forgotten, plan.grace_until) == ([], None, [], START + 1)
    plan = plan_look(ROOM, leaving, notified, START + 1)
    assert frame(plan) == PresenceFrame(channel=ROOM, left=["user2"], count=2)
    assert (plan.forgotten, plan.grace_until) == ([leaving[2]], None)


def test_the_info_of_the_newest_connection_wins_also_in_its_grace() -> None:
    old = member(0, info=b'"phone"')
    new = msgspec.structs.replace(member(0, age_s=99, info=b'"desk"'), connection_id="c9")
    notified = notified_of([old, new])
    left = msgspec.structs.replace(new, left_at=START)
    assert plan_look(ROOM, [old, left], notified, START + 1).sendings == []
    plan = plan_look(ROOM, [old, left], notified, START + GRACE_S)
    assert [joined.info for joined in frame(plan).joined] == ["phone"]


def test_nobody_is_told_anything_where_no_page_listens() -> None:
    raw = [member(number, form=Form.RAW, age_s=1) for number in range(3)]
    plan = plan_look(ROOM, raw, NOT_NOTIFIED, START)
    assert (plan.sendings, plan.notified) == ([], None)


def test_more_than_two_hundred_are_told_by_their_number() -> None:
    notified = notified_of(crowd(200))
    plan = plan_look(ROOM, crowd(201), notified, START)
    assert frame(plan) == PresenceFrame(channel=ROOM, count=201)
    assert len(plan.sendings[0].connection_ids) == 201
    assert plan.notified is not None
    notified = plan.notified
    early = plan_look(ROOM, crowd(202), notified, START + 1)
    assert (early.sendings, early.notified, early.count_due_at) == ([], None, START + COUNT_EVERY_S)
    newcomer = plan_look(ROOM, [*crowd(202), member(202, age_s=-0.5)], notified, START + 1)
    assert newcomer.sendings[0].connection_ids == ["c202"]
    due = plan_look(ROOM, crowd(202), notified, START + COUNT_EVERY_S)
    assert (frame(due).count, len(due.sendings[0].connection_ids)) == (202, 202)
    again = plan_look(ROOM, crowd(200), notified, START + 1)
    assert (len(frame(again).joined), frame(again).all, len(again.sendings[0].connection_ids)) == (200, True, 200)


def test_a_number_that_only_newcomers_know_is_told_to_all_in_time() -> None:
    notified = notified_of(crowd(201), START)
    newcomer = member(201, age_s=-1)
    first = plan_look(ROOM, [*crowd(201), newcomer], notified, START + 2)
    assert (first.sendings[0].connection_ids, first.count_due_at) == (["c201"], START + COUNT_EVERY_S)
    assert first.notified is not None
    back = plan_look(ROOM, [*crowd(200), newcomer], first.notified, START + COUNT_EVERY_S)
    assert (frame(back).count, len(back.sendings[0].connection_ids)) == (201, 201)


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_repeated_look_tells_everybody_everything(is_repeated: bool) -> None:
    plan = plan_look(ROOM, crowd(3), notified_of(crowd(3)), START, is_repeated=is_repeated)
    assert [sending.connection_ids for sending in plan.sendings] == [["c0", "c1", "c2"]] * is_repeated


def test_what_may_be_sent_twice_without_harm_is_not_risky() -> None:
    notified = notified_of(crowd(2))
    again = msgspec.structs.replace(member(1, age_s=1), connection_id="c9")
    assert not plan_look(ROOM, [*crowd(2), again], notified, START).is_risky
    assert plan_look(ROOM, crowd(3), notified, START).is_risky


def test_the_backend_hears_of_the_first_and_the_last() -> None:
    first = [member(0, age_s=2), member(1, age_s=1)]
    plan = plan_look(ROOM, first, NOT_NOTIFIED, START, has_occupancy=True)
    assert plan.announced is not None
    assert (plan.announced.is_occupied, plan.announced.who, plan.announced.version) == (True, first[0], 1)
    assert plan.notified is not None
    left = [member(0, left_s=12), member(1, left_s=11)]
    last = plan_look(ROOM, left, plan.notified, START, has_occupancy=True).announced
    assert last is not None
    assert (last.is_occupied, last.who, last.version) == (False, left[1], 2)
    expired = plan_look(ROOM, [], plan.notified, START, has_occupancy=True).announced
    assert expired is not None
    assert (expired.who.name, expired.who.connection_id) == ("user0", "c0")
    assert plan_look(ROOM, [member(0, left_s=9)], plan.notified, START, has_occupancy=True).announced is None
    assert plan_look(ROOM, first, NOT_NOTIFIED, START).announced is None


def test_a_sweep_comes_when_those_who_are_there_have_expired() -> None:
    plan = plan_look(ROOM, crowd(2), NOT_NOTIFIED, START, expires_after_s=1_000)
    assert plan.notified is not None
    assert plan.sweep_due_at == plan.notified.swept_at == START + 1_000
    quiet = plan_look(ROOM, crowd(2), plan.notified, START + 999, expires_after_s=1_000)
    assert (quiet.sweep_due_at, quiet.notified) == (None, None)
    again = plan_look(ROOM, [member(0, age_s=-500)], plan.notified, START + 1_000, expires_after_s=1_000)
    assert again.sweep_due_at == START + 2_000
    assert plan_look(ROOM, [], plan.notified, START + 1_000, expires_after_s=1_000).sweep_due_at is None


def test_many_that_come_at_once_are_greeted_once_and_their_note_stays_small() -> None:
    many = [member(number, age_s=number / 1_000) for number in range(3_000)]
    plan = plan_look(ROOM, many, NOT_NOTIFIED, START)
    assert plan.notified is not None
    assert len(plan.notified.greeted) == plan_presence.MAX_GREETED
    assert plan_look(ROOM, many, plan.notified, START + 1).sendings == []


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=300)), max_size=200, unique_by=lambda each: each[0]),
    st.lists(st.text(max_size=60), max_size=200),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=50, derandomize=True, database=None)
def test_frames_fit_and_say_all(joined: list[tuple[str, str]], left: list[str], factor: int) -> None:
    came = [MemberConnection(name, "c", 0, msgspec.json.encode(info * factor)) for name, info in joined]
    texts = frames_of(ROOM, came, left, 7, is_all=True)
    frames = [msgspec.json.decode(text, type=PresenceFrame) for text in texts]
    assert [(each.user, each.info) for part in frames for each in part.joined] == [
        (name, info * factor) for name, info in joined
    ]
    assert [name for part in frames for name in part.left] == left
    assert [part.all for part in frames] == [True] + [False] * (len(frames) - 1)
    assert max(len(text.encode()) for text in texts) <= MAX_TEXT_BYTES


def test_two_hundred_large_members_are_sent_in_parts() -> None:
    large = [member(number, info=b'"' + b"x" * 1_000 + b'"') for number in range(200)]
    texts = frames_of(ROOM, large, (), 200, is_all=True)
    assert len(texts) == 2
    page = PresencePage()
    for text in texts:
        assert len(text.encode()) <= MAX_TEXT_BYTES
        page.receive(text)
    page.check(large, START, 200)


# Under any history

MAX_LISTED = 3
NAMES = ["ann", "bob", "cem", "dee", "eve"]
numbers = st.integers(0, 7)


class Lives(RuleBasedStateMachine):
    """Members come and go, and looks at them break off anywhere. Pages know who counts whenever a look is through."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.presence = MemoryPresence(self.clock)
        self.pages: dict[str, PresencePage] = {}
        self.is_repeated = False
        self.lost: set[str] = set()
        self.max_listed, plan_presence.MAX_LISTED = plan_presence.MAX_LISTED, MAX_LISTED

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            plan_presence.MAX_LISTED = self.max_listed

    @rule(number=numbers, name=st.sampled_from(NAMES), info=st.sampled_from(["null", "1", "2"]), is_raw=st.booleans())
    def join(self, number: int, name: str, info: str, is_raw: bool) -> None:
        """A connection whose number is even is of one user, and is there again after it has left."""
        id_ = f"c{number}" if number % 2 == 0 else f"c{number} {len(self.pages)}"
        name = NAMES[number // 2] if number % 2 == 0 else name
        form = Form.RAW if is_raw and number % 2 else Form.SLIP_V1
        self.pages.setdefault(id_, PresencePage())
        self.presence.join(ROOM, id_, Membership(name, info.encode()), form)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        live = [each.connection_id for each in self.read()[0] if each.left_at is None]
        if live:
            self.presence.leave(ROOM, data.draw(st.sampled_from(live)), None)

    @rule(seconds=st.sampled_from([0.5, 1, 3, 5, 9, 10, 11, 61]))
    def wait(self, seconds: float) -> None:
        self.clock.time += seconds

    @rule(seed=st.integers(0, 1_000), sent=st.sampled_from([0, 0.5, 1]))
    def break_off(self, seed: int, sent: float) -> None:
        """A look that is not noted, of which some frames were sent."""
        plan = self.plan()
        chance = random.Random(seed)
        for sending in plan.sendings:
            for id_ in sending.connection_ids:
                if chance.random() < sent:
                    for text in sending.frames:
                        self.pages[id_].receive(text)
        self.is_repeated = self.is_repeated or plan.is_risky

    @rule(seed=st.integers(0, 1_000), lost=st.sampled_from([0, 0, 0.5]))
    def look(self, seed: int, lost: float) -> None:
        self.look_once(seed, lost)

    def look_once(self, seed: int, lost: float) -> LookPlan:
        plan = self.plan()
        chance = random.Random(seed)
        owed: list[str] = []
        for sending in plan.sendings:
            for id_ in sending.connection_ids:
                if chance.random() < lost:
                    owed.append(id_)
                    continue
                for text in sending.frames:
                    self.pages[id_].receive(text)
        if plan.notified is not None:
            assert finished(self.presence.note(ROOM, msgspec.structs.replace(plan.notified, owed=tuple(owed))))
        finished(self.presence.forget(ROOM, plan.forgotten))
        self.is_repeated = False
        return plan

    def settle(self) -> None:
        plan = self.look_once(0, 0)
        while plan.count_due_at is not None:
            self.clock.time = max(self.clock.time, math.ceil(plan.count_due_at))
            plan = self.look_once(0, 0)
        connections, notified = self.read()
        assert not notified.owed
        for each in connections:
            if each.left_at is None and each.form is Form.SLIP_V1:
                self.pages[each.connection_id].check(connections, self.clock.time, MAX_LISTED)
            elif each.form is Form.RAW:
                assert not self.pages[each.connection_id].frames
        assert self.plan().sendings == []

    def plan(self) -> LookPlan:
        connections, notified = self.read()
        return plan_look(ROOM, connections, notified, self.clock.time, is_repeated=self.is_repeated)

    def read(self) -> tuple[list[MemberConnection], Notified]:
        connections, notified = finished(self.presence.read(ROOM))
        return list(connections), notified


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=150, stateful_step_count=30, deadline=None, derandomize=True, database=None)
