"""Members in any order of events, with pages beside the gateway that know who is there.

Pages come, drop with and without notice, and move between rooms; functions run side by side, and die or fail at any
call of a port; the queue brings messages again. In the end all is mended: the members are those who are there, each
page knows who counts, and the backend has heard of first and last members in turn.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import Phase, settings
from hypothesis.stateful import initialize, precondition, rule

from slip_sockets.apigateway.limits import OPENING_WINDOW_S
from slip_sockets.gateway import plan_presence
from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.deferred_presence import OccupancyNotice, Sweep
from slip_sockets.gateway.errors import HttpError
from slip_sockets.gateway.gateway import Ports, build_gateway
from slip_sockets.gateway.looks import Looks
from slip_sockets.gateway.plan_presence import is_counted
from slip_sockets.gateway.values import Form, HttpResponse, MemberConnection, Notified
from slip_sockets.protocol.frames import SUBPROTOCOL, TextFrame, encode_frame
from slip_sockets.slip.backend import SlipBackend
from slip_sockets.slip.publish import SlipPublish

from .doubles import FakeClock, socket_event
from .faulty_store import FaultyPresence, FaultyStore
from .presence_page import PresencePage
from .stage import FUNCTION_S, Stage, Staged, StagedQueue, StagedSender
from .staged_machine import StagedMachine, seeds

HALL, ROOM = "hall", "room"
USERS = ["ann", "bob", "cem", None]
MAX_PAGES, MAX_ROUNDS = 6, 400
SOON_S, AFTER_GRACE_S = 2.5, 13.0
SLOW_S = 4.0
"""For longer no function takes from the announcement of a change to its writing."""


@dataclass
class Visitor:
    user: str | None
    form: Form
    id_: str
    is_open: bool = False
    pages: defaultdict[str, PresencePage] = field(default_factory=lambda: defaultdict(PresencePage))


class Backend:
    """Lets each client in, as a member of the hall. A text takes it into the room, with info, or out of it."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        request = json.loads(body)
        id_, event = request["connectionId"], request["events"][0]
        events: list[dict[str, Any]] = []
        match event["type"]:
            case "OPEN":
                query = request["metadata"]["query"]
                user = {"user": query["user"][0]} if "user" in query else {}
                protocol = {"subprotocol": SUBPROTOCOL} if "framed" in query else {}
                events.append({"type": "ACCEPT", "connectionId": id_, **user, **protocol})
                events.append({"type": "SUBSCRIBE", "connectionId": id_, "channel": HALL, "presence": {}})
            case "TEXT" if event["data"] == "leave":
                events.append({"type": "UNSUBSCRIBE", "connectionId": id_, "channel": ROOM})
            case "TEXT":
                presence = {"info": event["data"]}
                events.append({"type": "SUBSCRIBE", "connectionId": id_, "channel": ROOM, "presence": presence})
        return HttpResponse(200, body=msgspec.json.encode({"events": events}))


class SeenPresence(FaultyPresence):
    """It knows in which channels a look has found nobody since the last time that somebody was announced."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.found_empty: set[str] = set()

    async def read(self, channel: str) -> tuple[Sequence[MemberConnection], Notified]:
        connections, notified = await super().read(channel)
        if not any(is_counted(each, self._clock.now()) for each in connections):
            self.found_empty.add(channel)
        return connections, notified


class WatchedQueue(StagedQueue):
    """`said` has what is to be told to the backend, by channel and version."""

    def __init__(self, stage: Stage, presence: SeenPresence) -> None:
        super().__init__(stage)
        self.said: defaultdict[str, dict[int, bool]] = defaultdict(dict)
        self._presence = presence

    async def put(self, messages: Sequence[Deferred]) -> None:
        for message in messages:
            if isinstance(message, OccupancyNotice):
                self._check(message)
        await super().put(messages)
        for entry in self.entries:  # as in the queue of timers
            if isinstance(entry.message, Sweep):
                entry.visible_at = max(entry.visible_at, entry.message.due_at)

    def _check(self, notice: OccupancyNotice) -> None:
        assert notice.connection_id, "nobody"
        said, channel, version = self.said[notice.channel], notice.channel, notice.version
        assert said.get(version, notice.is_occupied) is notice.is_occupied, "two decisions of one version"
        if version in said:
            return
        assert version > max(said, default=0)
        assert notice.is_occupied is not list(said.values() or [False])[-1], "they do not alternate"
        if notice.is_occupied:
            self._presence.found_empty.discard(channel)
        else:
            assert channel in self._presence.found_empty, "vacated while somebody was there"
        said[version] = notice.is_occupied


class PresenceMachine(StagedMachine):
    queue: WatchedQueue

    @initialize(inline_limit=st.sampled_from([2, 100]), max_listed=st.sampled_from([2, 3, 200]))
    def begin(self, inline_limit: int, max_listed: int) -> None:
        self.runner = asyncio.Runner()
        self.clock = clock = FakeClock()
        self.stage = stage = Stage(clock, self.runner.get_loop())
        self.presence = SeenPresence(clock)
        self.sender, self.queue = StagedSender(stage, self.deliver), WatchedQueue(stage, self.presence)
        queue: Any = Staged(self.queue, stage)
        self.store = FaultyStore(clock, Looks(queue, clock), self.presence)
        self.visitors: dict[str, Visitor] = {}
        self.dies_after = 0  # the function that sends dies after so many frames, 0 for none
        self.unnoticed: list[str] = []
        self.listed, plan_presence.MAX_LISTED = plan_presence.MAX_LISTED, max_listed
        store: Any = Staged(self.store, stage)
        presence: Any = Staged(self.presence, stage)
        backend: Any = Staged(Backend(), stage, HttpError)
        history: Any = None
        self.gateway = build_gateway(
            Ports(store, store, store, store, history, presence, self.sender, queue, backend, clock),
            target_url="https://app.example/slip",
            secrets=self.secrets,
            backend_protocol=SlipBackend(),
            publish_protocol=SlipPublish(),
            inline_limit=inline_limit,
            occupancy_events=True,
        )

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            plan_presence.MAX_LISTED = self.listed
            self.runner.close()

    # What happens

    @property
    def open(self) -> list[Visitor]:
        return [visitor for visitor in self.visitors.values() if visitor.is_open]

    @precondition(lambda self: len(self.open) < MAX_PAGES)
    @rule(user=st.sampled_from(USERS), form=st.sampled_from([Form.SLIP_V1, Form.SLIP_V1, Form.RAW]))
    def come(self, user: str | None, form: Form) -> None:
        id_ = f"{len(self.visitors):015d}="
        visitor = self.visitors[id_] = Visitor(user, form, id_)
        self.sender.gone.add(id_)
        query = {"user": user} if user is not None else {}
        event = socket_event("CONNECT", queryStringParameters=query)
        if form is Form.SLIP_V1:
            query["framed"] = "yes"
            event["headers"] = {"Sec-WebSocket-Protocol": SUBPROTOCOL}
            event["multiValueHeaders"] = {"Sec-WebSocket-Protocol": [SUBPROTOCOL]}
        event["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}

        def then(response: Any) -> None:
            if response is not None and response["statusCode"] == 200:
                self.sender.gone.discard(id_)
                visitor.is_open = True
            else:
                self.unnoticed.append(id_)

        self.start(id_, event, then)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), text=st.sampled_from(["busy", "free", "leave"]))
    def move(self, data: st.DataObject, text: str) -> None:
        """Into the room, with other info, or out of it."""
        visitor = data.draw(st.sampled_from(self.open))
        body = encode_frame(TextFrame(text)) if visitor.form is Form.SLIP_V1 else text
        self.start(visitor.id_, socket_event("MESSAGE", body=body))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), is_noticed=st.booleans(), is_back=st.booleans())
    def drop(self, data: st.DataObject, is_noticed: bool, is_back: bool) -> None:
        visitor = data.draw(st.sampled_from(self.open))
        visitor.is_open = False
        self.sender.gone.add(visitor.id_)
        self.unnoticed.append(visitor.id_)
        if is_noticed:
            self.notice()
        if is_back:
            self.come(visitor.user, visitor.form)

    def notice(self) -> None:
        """API Gateway notices who is not there any more, again where that went wrong."""
        ids, self.unnoticed = self.unnoticed, []
        for id_ in ids:

            def then(response: Any, id_: str = id_) -> None:
                if response is None or response["statusCode"] != 200:
                    self.unnoticed.append(id_)

            self.start(id_, socket_event("DISCONNECT"), then)

    @rule(seconds=st.sampled_from([0.5, 1, 3, 9, 11, 70]), seed=seeds)
    def time_passes(self, seconds: float, seed: int) -> None:
        now = self.clock.now()
        began_at = min((running.until - FUNCTION_S for running in self.stage.functions), default=now)
        if now + seconds - began_at > SLOW_S:
            self.run(self.finish(random.Random(seed)))
        self.clock.time += seconds

    async def finish(self, chance: random.Random) -> None:
        while await self.stage.step(chance, 0):
            pass

    @precondition(lambda self: 0 < len(self.open) < MAX_PAGES)
    @rule(data=st.data(), seed=seeds, trouble=st.sampled_from([0.1, 0.3]), steps=st.integers(2, 20))
    def change_back_beside_a_look(self, data: st.DataObject, seed: int, trouble: float, steps: int) -> None:
        """A look goes wrong, after which all is as before: nothing comes that would show what is missing."""
        self.end()
        chance = random.Random(seed)
        self.dies_after = chance.randint(0, 2)
        user = data.draw(st.sampled_from(USERS))
        if data.draw(st.booleans()):
            self.come(user, Form.SLIP_V1)
            self.run(self.finish(chance))
            self.clock.time += SOON_S
            self.run(self.steps(chance, steps, trouble))
            self.run(self.finish(chance))
            last = list(self.visitors.values())[-1]
            if last.is_open:
                self.leave(last)
        else:
            visitor = data.draw(st.sampled_from(self.open))
            self.leave(visitor)
            self.run(self.finish(chance))
            self.clock.time += AFTER_GRACE_S
            self.run(self.steps(chance, steps, trouble))
            self.come(visitor.user, visitor.form)
        self.run(self.finish(chance))
        self.clock.time += AFTER_GRACE_S
        self.end()

    def leave(self, visitor: Visitor) -> None:
        visitor.is_open = False
        self.sender.gone.add(visitor.id_)
        self.unnoticed.append(visitor.id_)
        self.notice()

    # The end

    def end(self) -> None:
        """All is mended, and everything goes on until nothing changes any more."""
        chance = random.Random(len(self.visitors))
        for _ in range(MAX_ROUNDS):
            self.notice()
            self.run(self.steps(chance, 10_000, 0))
            if self.stage.functions or self.unnoticed:
                continue
            waiting = [entry for entry in self.queue.first_of_groups() if not isinstance(entry.message, Sweep)]
            if not waiting:
                self.clock.time += OPENING_WINDOW_S
                self.check()
                return
            self.clock.time = max(self.clock.time, min(entry.visible_at for entry in waiting))
        raise AssertionError("it does not come to an end")

    def check(self) -> None:
        for channel in (HALL, ROOM):
            connections, notified = self.run(self.presence.read(channel))
            there = {visitor.id_: visitor.user or visitor.id_ for visitor in self.open}
            if channel == ROOM:
                there = {id_: name for id_, name in there.items() if self.run(self.store.is_subscribed(id_, ROOM))}
            assert {each.connection_id: each.name for each in connections} == there
            for each in connections:
                page = self.visitors[each.connection_id].pages[channel]
                if each.form is Form.SLIP_V1:
                    page.check(list(connections), self.clock.now(), plan_presence.MAX_LISTED)
                else:
                    assert not page.frames
            assert list(self.queue.said[channel].values() or [False])[-1] is notified.is_occupied is bool(there)

    # Short ways

    def deliver(self, id_: str, data: str) -> None:
        visitor = self.visitors[id_]
        assert visitor.form is Form.SLIP_V1
        visitor.pages[json.loads(data)["channel"]].receive(data)
        self.dies_after -= 1
        if self.dies_after == 0:
            self.stage.kill_current()


TestPresence = PresenceMachine.TestCase
TestPresence.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is reported as it was found: making it smaller takes minutes
)
