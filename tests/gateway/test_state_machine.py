"""The gateway in any order of events, with a model beside it that knows who must hear what.

Clients come, subscribe, leave or vanish; one caller publishes; the store, the queue and the management API fail;
workers of the queue die; time passes. In the end all is mended, and everything must have come out right.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from slip_sockets.apigateway.limits import OPENING_WINDOW_S, ROW_LIFETIME_S

from .doubles import World, control_event, socket_event
from .fan_out import drain

CHANNELS = ("hall", "room:tea", "room:milk:1")
NAMES = ("hall", "room:tea", "room:*", "room:milk:*")
"""To which connections are subscribed."""
FAULTS = ("channel_state", "has_patterns", "subscribers", "claim", "remove", "get", "the queue")
channels = st.sampled_from(CHANNELS)
names = st.sampled_from(NAMES)
faults = st.sets(st.sampled_from(FAULTS), max_size=2)
seeds = st.integers(0, 2**32)
T = TypeVar("T")


class GatewayMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.world = World()
        self.count = 0
        self.published = 0
        self.subscribed: dict[str, set[str]] = {}  # by connection, of those who are there
        self.must_hear: dict[str, list[str]] = defaultdict(list)
        self.left: set[str] = set()

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            self.runner.close()

    def end(self) -> None:
        """All is mended, and what vanished is no longer young."""
        self.catch_up()
        for channel in CHANNELS:
            self.publish(channel, set())
        self.catch_up()
        self.check()

    # What happens

    @rule(count=st.integers(1, 3), listening=st.sets(names, min_size=1))
    def open(self, count: int, listening: set[str]) -> None:
        for _ in range(count):
            self.open_one(listening)

    def open_one(self, listening: set[str]) -> None:
        id_ = f"{self.count:015d}="
        self.count += 1
        self.mend()
        subscribe = [{"type": "SUBSCRIBE", "connectionId": id_, "channel": channel} for channel in sorted(listening)]
        self.world.client.will_reply({"type": "ACCEPT", "connectionId": id_}, *subscribe)
        assert self.event("CONNECT", id_) == 200
        self.subscribed[id_] = set()
        for channel in listening:
            self.joins(id_, channel)

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data(), channel=names)
    def text(self, data: st.DataObject, channel: str) -> None:
        """Subscribe, or unsubscribe who is."""
        id_ = self.one_of_those_there(data)
        self.mend()
        is_in = channel in self.subscribed[id_]
        kind = "UNSUBSCRIBE" if is_in else "SUBSCRIBE"
        self.world.client.will_reply({"type": kind, "connectionId": id_, "channel": channel})
        assert self.event("MESSAGE", id_, body="please") == 200
        if is_in:
            self.subscribed[id_].discard(channel)
            # What still waits in the queue may or may not come, unless another name has it come.
            still = self.subscribed[id_]
            self.must_hear[id_] = [
                text for text in self.must_hear[id_] if not hears({channel}, text) or hears(still, text)
            ]
        else:
            self.joins(id_, channel)

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data(), what=faults)
    def leave(self, data: st.DataObject, what: set[str]) -> None:
        """Whatever fails but the queue, the backend receives the CLOSE in the end."""
        id_ = self.one_of_those_there(data)
        self.world.client.will_reply()
        self.fail(what - {"the queue"})
        self.goes(id_)
        self.left.add(id_)
        assert self.event("DISCONNECT", id_) == 200
        self.mend()

    @precondition(lambda self: self.subscribed)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """The disconnect event never comes."""
        self.goes(self.one_of_those_there(data))

    @rule(channel=channels, what=faults)
    def publish(self, channel: str, what: set[str]) -> None:
        """Repeat until it is answered; then it is due at all who are subscribed."""
        text = f"{channel} {self.published:04d}"
        self.published += 1
        for id_, listening in self.subscribed.items():
            if hears(listening, channel):
                self.must_hear[id_].append(text)
        event = {"type": "PUBLISH_TEXT", "channelId": channel, "data": text, "id": text}
        self.fail(what)
        while self.control(event) != 200:
            self.mend()
        self.mend()

    def fail(self, what: set[str]) -> None:
        self.world.queue.is_away = "the queue" in what
        self.world.store.away = what - {"the queue"}

    def mend(self) -> None:
        self.world.store.away.clear()
        self.world.queue.is_away = False

    @rule(seed=seeds)
    def throttle(self, seed: int) -> None:
        chance = random.Random(seed)
        there = [id_ for id_ in self.subscribed if chance.random() < 0.3]
        self.world.sender.failing = {id_: chance.randrange(1, 4) for id_ in there}

    @rule(seed=seeds, steps=st.integers(1, 5), what=faults)
    def work(self, seed: int, steps: int, what: set[str]) -> None:
        self.fail(what)
        self.run(drain(self.world, random.Random(seed), steps=steps, deaths=0.2))
        self.mend()

    @rule(seconds=st.sampled_from([1, 10, 100]))
    def time_passes(self, seconds: float) -> None:
        """Not much of it while messages wait: order is kept for as long as a channel's marks live."""
        if seconds >= 10:
            self.catch_up()
        self.world.clock.time += seconds

    def catch_up(self) -> None:
        self.world.clock.time += OPENING_WINDOW_S + 1  # or who has vanished would be waited for
        self.world.sender.failing.clear()
        self.run(drain(self.world, random.Random(self.published)))

    @precondition(lambda self: len(self.subscribed) > 8)
    @rule()
    def two_hours_pass(self) -> None:
        """The rows of who is there expire; API Gateway has closed the sockets by then."""
        self.catch_up()
        for id_ in list(self.subscribed):
            self.goes(id_)
        self.world.clock.time += ROW_LIFETIME_S + 1

    # What must be so

    def check(self) -> None:
        heard: dict[str, list[str]] = defaultdict(list)
        for id_, text in self.world.sender.sent:
            heard[id_].append(text)
        for id_, texts in heard.items():
            for channel in CHANNELS:
                firsts = [text for text in dict.fromkeys(texts) if text.startswith(channel)]
                assert firsts == sorted(firsts), f"{id_} heard {firsts}"
        for id_ in self.subscribed:
            missing = set(self.must_hear[id_]) - set(heard[id_])
            assert not missing, f"{id_} never heard {missing}"
        for channel in NAMES:
            there = {id_ for id_, listening in self.subscribed.items() if channel in listening}
            assert set(self.run(self.listed(channel))) == there
        received = {
            request["connectionId"] for request in self.world.client.requests if request["events"][0]["type"] == "CLOSE"
        }
        assert received == self.left
        assert [id_ for id_ in self.left if self.run(self.world.store.get(id_)) is not None] == []

    async def listed(self, channel: str) -> list[str]:
        return [id_ async for page in self.world.store.subscribers(channel) for id_ in page.connection_ids]

    # Short ways

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def event(self, kind: str, id_: str, **more: Any) -> int:
        event = socket_event(kind, **more)
        event["requestContext"]["connectionId"] = id_
        return int(self.run(self.world.websocket(event))["statusCode"])

    def control(self, event: dict[str, Any]) -> int:
        return int(self.run(self.world.control(control_event([event])))["statusCode"])

    def one_of_those_there(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.subscribed)))

    def joins(self, id_: str, channel: str) -> None:
        self.subscribed[id_].add(channel)

    def goes(self, id_: str) -> None:
        del self.subscribed[id_]
        self.world.sender.gone.add(id_)


def hears(listening: set[str], channel: str) -> bool:
    """Whether who is subscribed to these names hears a channel, or a text that begins with its name."""
    return any(channel.startswith(name.removesuffix("*")) for name in listening)


TestGateway = GatewayMachine.TestCase
TestGateway.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is reported as it was found: making it smaller takes minutes
)
