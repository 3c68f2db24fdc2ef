"""send-delayed, keep-alive and Keep-Alive-Interval: the control messages, and what the gateway makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.deferred import ReceivedText, Texts, Timer, TimerDue
from slip_sockets.gateway.errors import HttpError, HttpFailure, Incomplete
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.grip.backend import GripBackend
from slip_sockets.grip.framing import CONTENT_TYPE
from slip_sockets.grip.state import State

from ..gateway.doubles import ME, World
from .test_backend import control, text


class Client:
    """The port HttpClient. It returns `response` to each POST."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.response: HttpResponse | HttpError = respond()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        self.bodies.append(body)
        if isinstance(self.response, HttpError):
            raise self.response
        return self.response


def respond(body: bytes = b"", **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(200, {"content-type": CONTENT_TYPE, **named}, body)


def delayed(content: str = "later", **fields: object) -> bytes:
    return control(type="send-delayed", content=content, **fields)


def keep_alive(content: str = "still there", **fields: object) -> bytes:
    return control(type="keep-alive", content=content, **fields)


class GripWorld(World):
    """A gateway with a backend that speaks GRIP, to which ME is connected."""

    def __init__(self) -> None:
        super().__init__(is_ordered=True)
        self.grip = Client()
        backend = Backend("http://app.example/", GripBackend(), self.secrets, self.grip, self.clock, self.observer)
        sockets = self.gateway.sockets
        replies = msgspec.structs.replace(sockets.replies, backend=backend)
        sockets = msgspec.structs.replace(sockets, replies=replies)
        self.gateway = msgspec.structs.replace(self.gateway, sockets=sockets)
        self.began_at = 0.0

    async def reply(self, body: bytes = b"", **headers: str) -> None:
        """Have the backend respond so to a text of ME."""
        self.grip.response = respond(body, **headers)
        await self.defer(Texts(ME, [ReceivedText("m", b"hi")]))
        self.grip.response = respond()
        self.grip.bodies.clear()

    async def tick(self, *, deaths: int = 0) -> float:
        """Wait for the timer that is in the queue, and handle it, several times where functions die behind it.

        Return how long it took.
        """
        (timer,) = self.queue.messages
        assert isinstance(timer, Timer)
        began_at = self.clock.now()
        with pytest.raises(Incomplete) as early:
            await self.defer(timer)
        assert (early.value.remaining, early.value.is_exact) == (timer, True)
        assert early.value.pause_s is not None
        self.clock.time += early.value.pause_s
        self.queue.messages.clear()
        await self.defer(timer)
        (due,) = self.inbound.messages
        self.inbound.messages.clear()
        for _ in range(deaths + 1):
            await self.defer(due)
        return self.clock.now() - began_at

    @property
    def texts(self) -> list[str]:
        return [data for _, data in self.sender.sent]

    async def state(self) -> State:
        stored = await self.store.get(ME)
        assert stored is not None
        state = State.read(stored.metadata)
        assert state is not None
        return state


@pytest.fixture
async def world() -> GripWorld:
    world = GripWorld()
    await world.connected(ME, metadata=State([], prefix="m:").encoded())
    return world


# send-delayed


@pytest.mark.parametrize(
    ("fields", "after_s"), [({}, 1), ({"timeout": 7}, 7), ({"timeout": 0}, 1), ({"timeout": 901}, 600)]
)
async def test_delayed_text_is_sent_once_after_its_time(world: GripWorld, fields: Any, after_s: float) -> None:
    await world.reply(text(b"m:now") + delayed(**fields))
    assert world.texts == ["now"]
    assert await world.tick(deaths=1) == after_s
    assert world.texts == ["now", "later"]
    assert (world.queue.messages, world.grip.bodies) == ([], [])
    assert (await world.state()).timers == {}


async def test_second_delayed_text_sends_the_first_at_once(world: GripWorld) -> None:
    await world.reply(delayed("1") + text(b"m:between") + delayed("2"))
    assert world.texts == ["between", "1"]
    await world.tick()
    assert world.texts == ["between", "1", "2"]
    await world.reply(delayed("3"))
    first = world.queue.messages.pop()
    await world.reply(delayed("4"))
    assert world.texts[-1] == "3"
    await world.tick()
    assert isinstance(first, Timer)
    await world.defer(TimerDue(ME, first.timer_id))
    assert world.texts == ["between", "1", "2", "3", "4"]


async def test_flushed_text_is_sent_now_and_not_again(world: GripWorld) -> None:
    await world.reply(control(type="flush-delayed"))
    await world.reply(delayed())
    await world.reply(control(type="flush-delayed") + text(b"m:behind"))
    assert world.texts == ["later", "behind"]
    await world.tick()
    assert world.texts == ["later", "behind"]


# keep-alive


@pytest.mark.parametrize(
    ("fields", "after_s"), [({}, 55), ({"mode": "idle", "timeout": 7}, 7), ({"mode": "interval", "timeout": 0.5}, 1)]
)
async def test_keep_alive_is_sent_again_and_again(world: GripWorld, fields: Any, after_s: float) -> None:
    await world.reply(keep_alive(**fields))
    seen = set()
    for number in range(1, 4):
        assert await world.tick() == after_s
        assert world.texts == ["still there"] * number
        seen.add(world.queue.messages[0].deduplication_id)
    assert len(seen) == 3, "a queue drops what it has had"
    assert world.grip.bodies == []


async def test_keep_alive_in_mode_idle_is_sent_after_silence_alone(world: GripWorld) -> None:
    await world.reply(keep_alive(timeout=50))
    world.sender.last_active = {ME: world.clock.now() + 30}
    assert await world.tick() == 50
    assert world.texts == []
    assert await world.tick() == 30
    assert world.texts == ["still there"]
    world.sender.last_active = {ME: world.clock.now() + 0.5}  # by that text
    assert await world.tick() == 50
    assert world.texts == ["still there"] * 2


async def test_keep_alive_in_mode_interval_is_sent_whatever_else_is(world: GripWorld) -> None:
    await world.reply(keep_alive(timeout=50, mode="interval"))
    world.sender.last_active = {ME: world.clock.now() + 30}
    await world.tick()
    assert world.texts == ["still there"]
    await world.reply(keep_alive(timeout=50))
    old, new = world.queue.messages
    assert isinstance(old, Timer)
    assert isinstance(new, Timer)
    assert old.timer_id != new.timer_id


async def test_keep_alive_is_sent_where_it_cannot_be_known_whether_the_client_is_idle(world: GripWorld) -> None:
    await world.reply(keep_alive())
    world.sender.last_active = None
    await world.tick()
    assert world.texts == ["still there"]


async def test_keep_alive_of_bytes_is_a_text(world: GripWorld) -> None:
    await world.reply(control(type="keep-alive", content_bin="Wm/Dqw=="))
    await world.tick()
    assert world.texts == ["Zoë"]


async def test_keep_alive_without_content_ends_it(world: GripWorld) -> None:
    await world.reply(keep_alive())
    await world.reply(control(type="keep-alive"))
    await world.tick()
    assert (world.texts, world.queue.messages) == ([], [])


async def test_keep_alive_goes_on_where_it_is_asked_for_again_and_another_one_replaces_it(world: GripWorld) -> None:
    await world.reply(keep_alive())
    await world.reply(keep_alive())
    await world.tick()
    assert world.texts == ["still there"]
    (old,) = world.queue.messages
    world.queue.messages.clear()
    await world.reply(keep_alive("another"))
    await world.tick()
    assert isinstance(old, Timer)
    await world.defer(TimerDue(ME, old.timer_id))
    assert world.texts == ["still there", "another"]


async def test_tick_that_is_repeated_after_a_crash_puts_the_same_next_one(world: GripWorld) -> None:
    await world.reply(keep_alive())
    await world.tick(deaths=1)
    assert len({(each.group, each.deduplication_id) for each in world.queue.messages}) == 1


# Keep-Alive-Interval


@pytest.mark.parametrize(("header", "after_s"), [("30", 30), ("1", 20), ("+45", 45)])
async def test_interval_calls_the_backend_without_events(world: GripWorld, header: str, after_s: float) -> None:
    await world.reply(keep_alive_interval=header)
    for number in range(1, 3):
        assert await world.tick() == after_s
        assert world.grip.bodies == [b""] * number
    world.grip.response = respond(text(b"m:hello"), set_meta_a="1")
    await world.tick()
    assert world.texts == ["hello"]
    assert (await world.state()).meta == {"a": "1"}


@pytest.mark.parametrize("header", ["0", "-5", "x", ""])
async def test_interval_ends(world: GripWorld, header: str) -> None:
    await world.reply(keep_alive_interval="30")
    await world.reply(keep_alive_interval=header)
    await world.tick()
    assert (world.grip.bodies, world.queue.messages) == ([], [])


async def test_interval_stays_until_it_is_changed(world: GripWorld) -> None:
    await world.reply(keep_alive_interval="30")
    await world.reply()
    await world.reply(keep_alive_interval="30")
    await world.tick()
    assert world.grip.bodies == [b""]


async def test_interval_of_a_detached_backend_ends(world: GripWorld) -> None:
    await world.reply(keep_alive(), keep_alive_interval="30")
    interval = world.queue.messages.pop()
    await world.reply(control(type="detach"))
    await world.tick()
    assert isinstance(interval, Timer)
    await world.defer(TimerDue(ME, interval.timer_id))
    assert (world.grip.bodies, world.texts) == ([], ["still there"])


async def test_backend_that_cannot_be_reached_is_called_at_the_next_tick(world: GripWorld) -> None:
    await world.reply(keep_alive_interval="30")
    world.grip.response = HttpError("refused")
    await world.tick()
    world.grip.response = respond()
    assert await world.tick() == 30
    assert world.grip.bodies == [b"", b""]
    assert world.sender.closed == []


@pytest.mark.parametrize("response", [HttpResponse(500), HttpError("late", HttpFailure.TIMEOUT)])
async def test_backend_that_fails_in_a_tick_ends_the_connection(
    world: GripWorld, response: HttpResponse | HttpError
) -> None:
    await world.reply(keep_alive_interval="30")
    world.grip.response = response
    await world.tick()
    assert world.sender.closed == [ME]
    await world.tick()
    assert world.grip.bodies == [b""]
    assert world.queue.messages == []


# All of them


@pytest.mark.parametrize("asked", [delayed(), keep_alive(), b""])
async def test_timers_end_with_their_connection(world: GripWorld, asked: bytes) -> None:
    await world.reply(asked, **({} if asked else {"keep_alive_interval": "20"}))
    await world.store.remove(ME)
    await world.tick()
    assert (world.texts, world.grip.bodies, world.queue.messages) == ([], [], [])


@pytest.mark.parametrize(
    "fields",
    [
        {"content": 1},
        {"content": "x", "content-bin": 1},
        {"content": "x", "timeout": -1},
        {"content": "x", "timeout": "-1"},
        {"content": "x", "timeout": None},
    ],
)
@pytest.mark.parametrize("kind", ["send-delayed", "keep-alive"])
async def test_malformed_ones_are_ignored(world: GripWorld, kind: str, fields: dict[str, object]) -> None:
    await world.reply(control(type=kind, **fields))
    assert (world.texts, world.queue.messages) == ([], [])


async def test_timers_that_cannot_be_queued_are_asked_for_again(world: GripWorld) -> None:
    world.queue.is_away = True
    with pytest.raises(Incomplete):
        await world.reply(keep_alive() + text(b"m:a"))
    world.queue.is_away = False
    await world.reply(keep_alive() + text(b"m:a"))
    await world.tick()
    assert world.texts == ["a", "still there"]


@pytest.mark.parametrize("away", ["get", "the queue"])
async def test_tick_is_not_lost_where_something_is_away(world: GripWorld, away: str) -> None:
    await world.reply(keep_alive())
    (timer,) = world.queue.messages
    assert isinstance(timer, Timer)
    due = TimerDue(ME, timer.timer_id)
    world.store.away = {away}
    world.queue.is_away = away == "the queue"
    with pytest.raises(Incomplete) as error:
        await world.defer(due)
    assert error.value.remaining == due
    world.clock.time += 55
    world.inbound.is_away = True
    with pytest.raises(Incomplete) as error:
        await world.defer(timer)
    assert error.value.remaining == timer
