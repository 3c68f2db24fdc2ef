"""Kept messages in any order of events, with pages beside the gateway that know what they have.

Publishers publish, again where that failed; pages come, drop at any moment and come back; the index lags; functions run
side by side, and die or fail at any call of a port. In the end all is mended, and each page has each message that was
kept, once and in order, or was told that some are lost where they are really gone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import Phase, settings
from hypothesis.stateful import initialize, precondition, rule

from slip_sockets.apigateway.functions import control_function
from slip_sockets.apigateway.limits import OPENING_WINDOW_S
from slip_sockets.gateway.errors import HttpError
from slip_sockets.gateway.gateway import Ports, build_gateway
from slip_sockets.gateway.ports import CLAIM_LIFETIME_S
from slip_sockets.gateway.values import Form
from slip_sockets.protocol.events import MAX_KEPT
from slip_sockets.protocol.frames import (
    ErrorFrame,
    MessageFrame,
    RecoverFrame,
    SubscribedFrame,
    TextFrame,
    encode_frame,
)
from slip_sockets.slip.backend import SlipBackend
from slip_sockets.slip.publish import SlipPublish

from ..page_side import PageSide
from .doubles import INLINE_LIMIT, FakeClock, control_event, socket_event
from .recovery_world import BY_OPEN, BY_TEXT, CHANNELS, Backend, LaggingStore, RecordingHistory
from .stage import FUNCTION_S, Stage, Staged, StagedQueue, StagedSender
from .staged_machine import StagedMachine, seeds

MAX_PAGES = 4
INDEX_LAG_S, SILENCE_S = 2.0, 3.0
MAX_ROUNDS = 200
channels = st.sampled_from(CHANNELS)
_frames = msgspec.json.Decoder(MessageFrame | SubscribedFrame | ErrorFrame)


@dataclass
class Visitor:
    """A page and its sockets. `inbox` is on its way to it; with `is_open` there is a socket, if `id_` is set."""

    sides: dict[str, PageSide] = field(default_factory=lambda: {name: PageSide(name) for name in CHANNELS})
    id_: str | None = None
    is_open: bool = False
    inbox: deque[str] = field(default_factory=deque)


@dataclass
class Publishing:
    """A message of a publisher, which repeats it until it is published."""

    event: dict[str, Any]
    positions: set[str] = field(default_factory=set)
    is_running: bool = False
    is_published: bool = False


class RecoveryMachine(StagedMachine):
    @initialize(lag_s=st.sampled_from([0.0, INDEX_LAG_S]), crowd=st.sampled_from([0, INLINE_LIMIT]))
    def begin(self, lag_s: float, crowd: int) -> None:
        self.runner = asyncio.Runner()
        self.clock = clock = FakeClock()
        self.stage = stage = Stage(clock, self.runner.get_loop())
        self.store, self.history = LaggingStore(clock, lag_s), RecordingHistory(clock)
        self.sender, self.queue = StagedSender(stage, self.deliver), StagedQueue(stage)
        self.visitors: list[Visitor] = []
        self.by_id: dict[str, Visitor] = {}
        self.messages: list[Publishing] = []
        self.count = 0
        self.crowd = {f"crowd{number:010d}=": set[str]() for number in range(crowd)}
        for id_ in self.crowd:
            self.run(self.store.open(id_, b"null", CHANNELS, Form.RAW))
        store: Any = Staged(self.store, stage)
        history: Any = Staged(self.history, stage)
        queue: Any = Staged(self.queue, stage)
        backend: Any = Staged(Backend(), stage, HttpError)
        self.gateway = build_gateway(
            Ports(store, store, store, store, history, self.store.presence, self.sender, queue, backend, clock),
            target_url="https://app.example/slip",
            secrets=self.secrets,
            backend_protocol=SlipBackend(),
            publish_protocol=SlipPublish(),
            inline_limit=INLINE_LIMIT,
        )
        for is_hidden in (False, True):
            self.visitors.append(Visitor())
            self.connect(self.visitors[-1], asks=False, is_hidden=is_hidden)
        self.work(seed=0, steps=60, trouble=0)
        self.receive(seed=0)

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.runner.close()

    # What happens

    @precondition(lambda self: len(self.visitors) < MAX_PAGES or any(visitor.id_ is None for visitor in self.visitors))
    @rule(data=st.data(), asks=st.booleans(), is_hidden=st.booleans())
    def come(self, data: st.DataObject, asks: bool, is_hidden: bool) -> None:
        """A new page, or one that has dropped. With `asks` it is subscribed since its positions."""
        away = [visitor for visitor in self.visitors if visitor.id_ is None]
        if len(self.visitors) < MAX_PAGES:
            away.append(Visitor())
        visitor = data.draw(st.sampled_from(away))
        if visitor not in self.visitors:
            self.visitors.append(visitor)
        self.connect(visitor, asks=asks, is_hidden=is_hidden)

    def connect(self, visitor: Visitor, *, asks: bool, is_hidden: bool) -> None:
        visitor.id_ = id_ = f"{self.count:015d}="
        self.count += 1
        self.by_id[id_] = visitor
        self.sender.gone.add(id_)
        if is_hidden:
            self.store.hidden.add(id_)
        for side in visitor.sides.values():
            side.on_open()
        since = visitor.sides[BY_OPEN].position
        query = {"since": str(since)} if asks and since is not None else {}
        event = socket_event("CONNECT", queryStringParameters=query, multiValueQueryStringParameters=_lists(query))
        event["headers"] = {"Sec-WebSocket-Protocol": "slip.v1"}
        event["multiValueHeaders"] = _lists(event["headers"])

        def then(response: Any) -> None:
            if visitor.id_ != id_:
                return
            if response is not None and response["statusCode"] == 200:
                self.sender.gone.discard(id_)
                visitor.is_open = True
                self.join(visitor, asks=asks)
            else:
                visitor.id_ = None

        self.start(id_, event, then)

    def join(self, visitor: Visitor, *, asks: bool = False) -> None:
        """Have the backend subscribe a page to the other channel."""
        since = visitor.sides[BY_TEXT].position
        self.send(visitor, TextFrame(str(since) if asks and since is not None else ""))

    @precondition(lambda self: any(visitor.is_open for visitor in self.visitors))
    @rule(data=st.data(), is_noticed=st.booleans())
    def drop(self, data: st.DataObject, is_noticed: bool) -> None:
        """What is on its way is lost; API Gateway notices at once, or takes more for the page meanwhile."""
        visitor = data.draw(st.sampled_from([visitor for visitor in self.visitors if visitor.is_open]))
        self.leave(visitor)
        if is_noticed:
            self.notice()

    def leave(self, visitor: Visitor) -> None:
        visitor.id_, visitor.is_open = None, False
        visitor.inbox.clear()

    def notice(self) -> None:
        """API Gateway notices who has dropped."""
        there = {visitor.id_ for visitor in self.visitors}
        for id_ in sorted(self.by_id.keys() - there - self.sender.gone):
            self.sender.gone.add(id_)
            self.start(id_, socket_event("DISCONNECT"))

    @rule(
        names=st.lists(channels, min_size=1, max_size=4),
        has_id=st.booleans(),
        count=st.sampled_from([2, 1_000, 1_000]),
        seconds=st.sampled_from([60, 3_600, 3_600]),
    )
    def publish(self, names: list[str], has_id: bool, count: int, seconds: int) -> None:
        for channel in names:
            self.publish_one(channel, has_id, count, seconds)

    def publish_one(self, channel: str, has_id: bool, count: int, seconds: int) -> None:
        text = f"{channel} {len(self.messages)}"
        more = {"id": text} if has_id else {}
        keep = {"count": count, "seconds": seconds}
        message = Publishing({"type": "PUBLISH_TEXT", "channelId": channel, "data": text, "keep": keep, **more})
        self.messages.append(message)
        self.attempt(message)

    def repeat(self) -> None:
        """Publishers repeat what has failed."""
        for message in self.messages:
            if not message.is_running and not message.is_published:
                self.attempt(message)

    def attempt(self, message: Publishing) -> None:
        message.is_running = True

        def then(response: Any) -> None:
            message.is_running = False
            if response is not None and response["statusCode"] == 200:
                message.is_published = True
                (report,) = json.loads(response["body"])["events"]
                message.positions.add(report["position"])

        function = control_function(
            self.gateway.control, control_event([message.event]), deadline=self.clock.now() + FUNCTION_S - 1
        )
        self.stage.start(function, then)

    @precondition(lambda self: any(visitor.inbox for visitor in self.visitors))
    @rule(seed=seeds)
    def receive(self, seed: int) -> None:
        chance = random.Random(seed)
        for visitor in self.visitors:
            self.take_in(visitor, chance.randint(0, len(visitor.inbox)))

    @precondition(lambda self: any(side.is_holding for visitor in self.visitors for side in visitor.sides.values()))
    @rule()
    def hold_long_enough(self) -> None:
        for visitor in self.visitors:
            for side in visitor.sides.values():
                self.send(visitor, side.on_held_long_enough())

    @rule()
    def lose_patience(self) -> None:
        """No answer came for seconds, to a page or a publisher."""
        self.clock.time += SILENCE_S
        self.repeat()
        for visitor in self.visitors:
            if visitor.is_open:
                self.ask_again(visitor)

    def ask_again(self, visitor: Visitor) -> None:
        for side in visitor.sides.values():
            self.send(visitor, side.on_silence())
        if visitor.sides[BY_TEXT].position is None:
            self.join(visitor)
        if visitor.sides[BY_OPEN].position is None:
            self.leave(visitor)

    @rule(seconds=st.sampled_from([0.5, 2, 10, 70]))
    def time_passes(self, seconds: float) -> None:
        self.notice()
        self.clock.time += seconds

    @rule(seed=seeds, channel=channels, is_hidden=st.booleans(), trouble=st.sampled_from([0, 0, 0.05]))
    def come_beside_a_publish(self, seed: int, channel: str, is_hidden: bool, trouble: float) -> None:
        """Nothing comes after it that would show what is missing."""
        self.end()
        visitor = self.visitors[-1]
        self.leave(visitor)
        self.publish_one(channel, has_id=True, count=1_000, seconds=3_600)
        self.connect(visitor, asks=False, is_hidden=is_hidden)
        self.run(self.steps(random.Random(seed), 200, trouble))
        self.end()

    # The end

    def end(self) -> None:
        """All is mended, and everybody goes on until nothing changes any more."""
        chance = random.Random(self.count)
        for _ in range(MAX_ROUNDS):
            self.notice()
            self.repeat()
            self.run(self.steps(chance, 10_000, 0))
            if any(not message.is_published for message in self.messages):
                continue
            while any(visitor.inbox for visitor in self.visitors):
                for visitor in self.visitors:
                    self.take_in(visitor, len(visitor.inbox))
            self.hold_long_enough()
            if self.stage.functions:
                continue
            waiting = self.queue.first_of_groups()
            if waiting:
                self.clock.time = max(self.clock.time, min(entry.visible_at for entry in waiting))
                continue
            self.clock.time += max(SILENCE_S, OPENING_WINDOW_S)
            stuck = [visitor for visitor in self.visitors if not self.is_settled(visitor)]
            if not stuck:
                self.check()
                return
            for visitor in stuck:
                if visitor.is_open:
                    self.ask_again(visitor)
                if not visitor.is_open:
                    self.leave(visitor)
                    self.connect(visitor, asks=False, is_hidden=False)
        raise AssertionError("it does not come to an end")

    def is_settled(self, visitor: Visitor) -> bool:
        return visitor.is_open and all(side.is_settled and not side.is_holding for side in visitor.sides.values())

    def check(self) -> None:
        for channel in CHANNELS:
            kept = self.history.kept[channel]
            ends = {self.run(self.history.newest(channel)), *list(kept)[-1:]}  # two where all is kept no more
            for visitor in self.visitors:
                side = visitor.sides[channel]
                side.account_for(kept)
                assert side.position in ends, f"{side.position} of {ends}, silently less"
        for message in self.messages:
            text, kept = message.event["data"], self.history.kept[message.event["channelId"]]
            places = [position for position, data in kept.items() if data == text]
            assert message.positions <= {str(position) for position in places}
            if "id" in message.event:
                for one, other in itertools.pairwise(places):
                    apart_s = self.history.kept_at[other] - self.history.kept_at[one]
                    assert one.epoch != other.epoch or apart_s > CLAIM_LIFETIME_S, f"{text!r} is kept at {places}"
            for id_, heard in self.crowd.items():
                assert text in heard, f"{id_} never heard {text!r}"

    # Short ways

    def send(self, visitor: Visitor, frame: RecoverFrame | TextFrame | None) -> None:
        if frame is not None and visitor.id_ is not None and visitor.is_open:
            self.start(visitor.id_, socket_event("MESSAGE", body=encode_frame(frame)))

    def deliver(self, id_: str, data: str) -> None:
        if id_ in self.crowd:
            self.crowd[id_].add(data)
        elif self.by_id[id_].id_ == id_:
            self.by_id[id_].inbox.append(data)

    def take_in(self, visitor: Visitor, count: int) -> None:
        for _ in range(min(count, len(visitor.inbox))):
            frame = _frames.decode(visitor.inbox.popleft())
            if isinstance(frame, ErrorFrame):
                self.join(visitor)
                continue
            side = visitor.sides[frame.channel]
            if isinstance(frame, MessageFrame):
                side.on_message(frame)
                continue
            lost = len(side.lost)
            self.send(visitor, side.on_subscribed(frame))
            for before, _ in side.lost[lost:]:
                past = self.run(self.history.past(frame.channel, before, limit=MAX_KEPT))
                assert not past.is_whole, f"told that what came after {before} is lost, and it is there"


def _lists(values: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [value] for name, value in values.items()}


TestRecovery = RecoveryMachine.TestCase
TestRecovery.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is reported as it was found: making it smaller takes minutes
)
