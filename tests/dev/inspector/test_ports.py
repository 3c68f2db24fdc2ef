"""The inspector's ports: each has all methods of the gateway's, hands calls on, and records those that do something.

Longer than 400 lines: each method of each port has its step here.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.dev.history import MemoryHistory
from slip_sockets.dev.inspector.inspector import Inspector, RecordingWorker
from slip_sockets.dev.inspector.ports import (
    RecordingClient,
    RecordingConnections,
    RecordingHistory,
    RecordingPresence,
    RecordingQueue,
    RecordingSender,
    RecordingSubscriptions,
)
from slip_sockets.dev.inspector.recorder import Recorder
from slip_sockets.dev.inspector.records import Body, Record
from slip_sockets.gateway.deferred import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.errors import HttpError, Unavailable
from slip_sockets.gateway.gateway import Ports
from slip_sockets.gateway.observer import EventType, Observer
from slip_sockets.gateway.ports import (
    Checkpoint,
    Connections,
    History,
    HttpClient,
    Presence,
    Queue,
    Sender,
    Subscriptions,
)
from slip_sockets.gateway.values import (
    ChannelClose,
    ChannelState,
    Count,
    Done,
    Form,
    HttpResponse,
    Membership,
    Notified,
    Origin,
    Outcome,
    Page,
    Publication,
)
from slip_sockets.gateway.worker import DeadLetter, Retry, Worker
from slip_sockets.protocol.events import Keep, SendText
from slip_sockets.protocol.positions import Position

from ...gateway import doubles
from ...gateway.doubles import ME, START, YOU, FakeClock, ScriptedClient

RECORDING: dict[type, type] = {
    Connections: RecordingConnections,
    Subscriptions: RecordingSubscriptions,
    History: RecordingHistory,
    Presence: RecordingPresence,
    Sender: RecordingSender,
    Queue: RecordingQueue,
    HttpClient: RecordingClient,
    Worker: RecordingWorker,
}


def members(cls: type) -> dict[str, object]:
    """Return the signatures of public methods, and "property" for properties."""
    public = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
    return {
        name: "property" if isinstance(value, property) else inspect.signature(value)
        for name, value in public.items()
        if callable(value) or isinstance(value, property)
    }


@pytest.mark.parametrize(("port", "recording"), RECORDING.items(), ids=lambda cls: cls.__name__)
def test_a_recording_port_has_the_methods_of_the_port(port: type, recording: type) -> None:
    assert members(port)
    assert members(recording) == members(port)


def test_the_recorder_has_the_methods_of_an_observer() -> None:
    assert members(Observer).items() <= members(Recorder).items()


class World:
    """An inspector's ports over doubles."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryConnections(self.clock)
        self.sender = doubles.RecordingSender()
        self.queue = doubles.RecordingQueue()
        self.client = ScriptedClient()
        self.inspector = Inspector()
        channels = MemoryChannels(self.clock)
        self.inner = Ports(
            connections=self.store,
            subscriptions=self.store,
            claims=channels,
            marks=channels,
            history=MemoryHistory(self.clock),
            presence=self.store.presence,
            sender=self.sender,
            queue=self.queue,
            http=self.client,
            clock=self.clock,
        )
        self.ports = self.inspector.ports(self.inner)

    async def recorded(self, call: Callable[[], Awaitable[object]]) -> tuple[object, Record]:
        """Return the result of a call, and the record of the event during which it was made."""
        with self.inspector.recorder.recording(EventType.TEXT, ME, "", b"") as record:
            return await call(), record

    async def step(self, call: Callable[[], Awaitable[object]]) -> tuple[object, str]:
        """Return the result of a call, and the text of the one step that it was recorded as."""
        result, record = await self.recorded(call)
        (step,) = record.steps
        assert step.error is None
        assert step.at_s >= 0
        assert step.duration_s >= 0
        return result, step.text


def test_all_ports_are_recorded_but_claims_marks_and_the_clock() -> None:
    world = World()
    ports = world.ports
    stores = (ports.connections, ports.subscriptions, ports.history, ports.presence)
    recording = (*stores, ports.sender, ports.queue, ports.http)
    assert {type(port) for port in recording} == set(RECORDING.values()) - {RecordingWorker}
    others = (ports.claims, ports.marks, ports.clock)
    assert others == (world.inner.claims, world.inner.marks, world.inner.clock)


async def test_connections_are_recorded() -> None:
    world = World()
    connections = world.ports.connections
    opened = await world.step(lambda: connections.open(ME, b"1", ["lobby", "hall"]))
    assert opened == (None, f"Let {ME} in, subscribed to 'lobby', 'hall'")
    as_ann = await world.step(lambda: connections.open(ME, b"null", ["lobby", "$user:ann"], user="ann"))
    assert as_ann == (None, f"Let {ME} in as 'ann', subscribed to 'lobby'")
    many = [str(number) for number in range(11)]
    first_ten = ", ".join(map(repr, many[:10]))
    assert (await world.step(lambda: connections.open(YOU, b"1", many)))[1] == (
        f"Let {YOU} in, subscribed to {first_ten}, ..."
    )
    stored, record = await world.recorded(lambda: connections.get(ME))
    assert stored == await world.store.get(ME)
    assert record.steps == []
    assert await world.step(lambda: connections.set_metadata(ME, b"22")) == (True, f"Stored metadata of {ME}")
    _, record = await world.recorded(lambda: connections.set_metadata(ME, b"22"))
    assert record.steps[0].data == Body(b"22", 2)
    stored = await world.store.get(ME)
    assert await world.step(lambda: connections.remove(ME)) == (stored, f"Forgot {ME}")
    assert await world.step(lambda: connections.set_metadata(ME, b"3")) == (
        False,
        f"Stored metadata of {ME}: there is no such connection",
    )


async def test_subscriptions_are_recorded() -> None:
    world = World()
    subscriptions = world.ports.subscriptions
    assert (subscriptions.index_lag_s, subscriptions.page_size) == (0, world.store.page_size)
    await world.store.open(ME, b"1", [])
    assert await world.step(lambda: subscriptions.subscribe(ME, "lobby")) == (Form.RAW, f"Subscribed {ME} to 'lobby'")
    assert await world.step(lambda: subscriptions.subscribe(YOU, "lobby")) == (
        None,
        f"Subscribed {YOU} to 'lobby': there is no such connection",
    )

    async def read() -> object:
        pages = [page async for page in subscriptions.subscribers("lobby", page_size=10)]
        count = await subscriptions.count("lobby", after=None, until=math.inf)
        return pages, count, await subscriptions.prune([ME], accepted_before=START)

    result, record = await world.recorded(read)
    assert result == ([Page([ME], None)], Count(1, more=False), [ME])
    assert record.steps == []
    unsubscribed = await world.step(lambda: subscriptions.unsubscribe(ME, "lobby"))
    assert unsubscribed == (None, f"Unsubscribed {ME} from 'lobby'")
    unsubscribed = await world.step(lambda: subscriptions.unsubscribe_all(ME))
    assert unsubscribed == (None, f"Unsubscribed {ME} from all")


async def test_memberships_are_recorded() -> None:
    world = World()
    connections, subscriptions = world.ports.connections, world.ports.subscriptions
    ann = Membership("ann", b'{"name":"Ann"}')
    opened = await world.step(lambda: connections.open(ME, b"1", ["tea", "hall"], Form.SLIP_V1, "ann", {"tea": ann}))
    assert opened == (None, f"Let {ME} in as 'ann', subscribed to 'tea', 'hall', a member of 'tea'")
    joined, record = await world.recorded(lambda: subscriptions.subscribe(ME, "hall", None, ann))
    (step,) = record.steps
    assert (joined, step.text) == (Form.SLIP_V1, f"Subscribed {ME} to 'hall', as the member 'ann'")
    assert step.data == Body(b'{"name":"Ann"}', 14)
    await world.store.open(YOU, b"1", [])
    _, record = await world.recorded(lambda: subscriptions.subscribe(YOU, "hall", None, Membership(YOU)))
    assert record.steps[0].data is None
    assert [member.name for member in (await world.store.presence.read("hall"))[0]] == [YOU, "ann"]


async def test_who_was_there_and_what_was_told_are_recorded() -> None:
    world = World()
    presence = RecordingPresence(world.store.presence, world.inspector.recorder)
    for id_ in (ME, YOU):
        await world.store.open(id_, b"1", ["tea"], memberships={"tea": Membership(id_)})
    assert (await world.step(lambda: presence.read("tea")))[1] == "Read who is in 'tea': 2 connections"
    await world.store.unsubscribe(ME, "tea")
    there, _ = await presence.read("tea")
    assert (await world.step(lambda: presence.read("tea")))[1] == (
        "Read who is in 'tea': 1 connection, and 1 more that left a moment ago"
    )
    notified = Notified(version=1, count=1)
    text = "Noted that those in 'tea' know of 1 member"
    assert await world.step(lambda: presence.note("tea", notified)) == (True, text)
    assert await world.step(lambda: presence.note("tea", notified)) == (
        False,
        f"{text}: another look has written before",
    )
    left = [member for member in there if member.left_at is not None]
    assert await world.step(lambda: presence.forget("tea", left)) == (None, "Forgot 1 connection that left 'tea'")
    _, record = await world.recorded(lambda: presence.forget("tea", []))
    assert record.steps == []


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (
            '{"slip":"presence","channel":"tea","joined":[{"user":"ann","info":null}],"left":["bob","c"],"count":9}',
            "who is in 'tea' (1 came, 2 left, 9 in all)",
        ),
        (
            '{"slip":"presence","channel":"tea","all":true,"joined":[{"user":"ann","info":null}],"count":1}',
            "who is in 'tea' (1 in all)",
        ),
        ('{"slip":"presence","channel":"tea","count":1234}', "who is in 'tea' (1,234 in all)"),
        ('{"slip":"presence","channel":"tea"}', "a text"),
        ('{"slip":"text","data":"presence"}', "a text"),
        ("hello", "a text"),
    ],
)
async def test_what_is_sent_is_said(data: str, what: str) -> None:
    world = World()
    assert (await world.step(lambda: world.ports.sender.send([ME], data, until=math.inf)))[1] == f"Sent {what} to {ME}"


async def test_history_is_recorded_with_its_positions() -> None:
    world = World()
    history = world.ports.history
    keeping = Publication("room", "hi", keep=Keep(count=1, seconds=60))
    position, text = await world.step(lambda: history.keep(keeping, Origin("a"), ChannelState()))
    assert text == f"Kept a text of 'room' at {position}"
    assert isinstance(position, Position)
    assert (await world.step(lambda: history.newest("room")))[1] == f"The newest position of 'room' is {position}"
    before = Position(position.epoch, 0)
    assert (await world.step(lambda: history.past("room", before, limit=9)))[1] == (
        f"Read 'room' after {before}: 1 text; the newest position is {position}"
    )
    await world.inner.history.keep(keeping, Origin("b"), ChannelState())
    newest = Position(position.epoch, 2)
    assert (await world.step(lambda: history.past("room", before, limit=9)))[1] == (
        f"Read 'room' after {before}: not all of it is kept any more; the newest position is {newest}"
    )


async def test_the_sender_is_recorded_with_what_became_of_each_connection() -> None:
    world = World()
    sender = world.ports.sender
    assert sender.opening_window_s == world.sender.opening_window_s
    assert [sender.is_connection_id(text) for text in (ME, "")] == [True, False]
    assert [sender.looks_like_connection_id(text) for text in (ME, "ann")] == [True, False]
    sent = await world.step(lambda: sender.send([ME], "hi", until=math.inf))
    assert sent == (Outcome(done=1), f"Sent a text to {ME}")
    _, record = await world.recorded(lambda: sender.send([ME, YOU], "hi", until=math.inf))
    assert (record.steps[0].text, record.steps[0].data) == ("Sent a text to 2 connections", Body(b"hi", 2))
    world.sender.gone, world.sender.refused, world.sender.failing = {"a"}, {"b", "c"}, {"d": 9}
    world.sender.has_time_for = 5
    _, text = await world.step(lambda: sender.send(["a", "b", "c", "d", ME, YOU], "hi", until=math.inf))
    assert text == (
        "Sent a text to 6 connections: 1 done, 1 gone, 2 refused, 1 taking no more, 1 not reached for lack of time"
    )
    assert await world.step(lambda: sender.close([ME], until=math.inf)) == (Outcome(done=1), f"Closed {ME}")
    assert world.sender.closed == [ME]
    for call in (sender.send([], "hi", until=math.inf), sender.close([], until=math.inf)):
        result, record = await world.recorded(lambda call=call: call)  # type: ignore[misc]
        assert (result, record.steps) == (Outcome(), [])
    world.sender.opens_after_polls = 1
    assert await world.step(lambda: sender.is_open(ME)) == (False, f"{ME} is not open yet")
    assert await world.step(lambda: sender.is_open(ME)) == (True, f"{ME} is open")


async def test_the_queue_is_recorded_with_what_its_messages_do() -> None:
    world = World()
    queue = world.ports.queue
    assert queue.shards == world.queue.shards
    messages: list[Deferred] = [
        Continuation(ME, [SendText(ME, "1")]),
        Continuation(ME, [SendText(ME, "1"), SendText(ME, "2")]),
        CloseNotice(ME, 1001, "", None),
        FanOut(Publication("lobby", "hi"), "p1"),
        FanOutChunk(ChannelClose("lobby"), "p2", [ME, YOU], 1),
    ]
    text = (
        f"Queued an event that had to wait, 2 events that had to wait, CLOSE of {ME}, for the backend,"
        " a publish to all of 'lobby', a publish to 2 of 'lobby'"
    )
    assert await world.step(lambda: queue.put(messages)) == (None, text)
    assert await world.step(lambda: queue.put([*messages, messages[0]])) == (None, f"{text}, ...")
    assert world.queue.messages == [*messages, *messages, messages[0]]
    assert (await world.recorded(lambda: queue.put([])))[1].steps == []


async def test_a_call_that_fails_is_recorded_with_its_error() -> None:
    world = World()
    world.queue.is_away = True
    with pytest.raises(Unavailable), world.inspector.recorder.recording(EventType.TEXT, ME, "", b"") as record:
        await world.ports.queue.put([CloseNotice(ME, 1001, "", None)])
    (step,) = record.steps
    assert (step.text, step.error) == (f"Queued CLOSE of {ME}, for the backend", "the queue is away")


async def test_a_call_that_is_cancelled_is_recorded_as_broken_off() -> None:
    world = World()

    class SlowQueue(doubles.RecordingQueue):
        async def put(self, messages: Sequence[Deferred]) -> None:
            await asyncio.Event().wait()

    ports = world.inspector.ports(msgspec.structs.replace(world.inner, queue=SlowQueue()))
    with pytest.raises(TimeoutError), world.inspector.recorder.recording(EventType.TEXT, ME, "", b"") as record:
        async with asyncio.timeout(0):
            await ports.queue.put([CloseNotice(ME, 1001, "", None)])
    (step,) = record.steps
    assert step.error == "broken off: the event took too long"


async def test_a_post_is_recorded_with_its_response_or_its_error() -> None:
    world = World()
    world.client.response = HttpResponse(201, {"X": "y"}, b"{}")

    async def post() -> HttpResponse:
        return await world.ports.http.post("http://x/", {"A": "b"}, b'"body"', max_bytes=10)

    result, record = await world.recorded(post)
    assert result == world.client.response
    (exchange,) = record.exchanges
    assert (exchange.url, exchange.headers, exchange.body) == ("http://x/", {"A": "b"}, Body(b'"body"', 6))
    assert (exchange.status, exchange.response, exchange.error) == (201, Body(b"{}", 2), None)

    world.client.response = HttpError("not within 1 s")
    with pytest.raises(HttpError), world.inspector.recorder.recording(EventType.TEXT, ME, "", b"") as record:
        await post()
    (exchange,) = record.exchanges
    assert (exchange.status, exchange.response, exchange.error) == (None, None, "not within 1 s")


class ScriptedWorker:
    """The port Worker. It returns what the test put there."""

    def __init__(self, result: Done | Retry | DeadLetter) -> None:
        self.result = result
        self.attempts: list[tuple[Deferred, int, Checkpoint, float]] = []

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        self.attempts.append((message, number, checkpoint, deadline))
        return self.result


@pytest.mark.parametrize(
    ("result", "status"),
    [(Done(), 200), (Retry(1), None), (DeadLetter(CloseNotice(ME, 1001, "", None)), None)],
    ids=["done", "retry", "dead"],
)
async def test_each_attempt_of_the_worker_is_a_record(result: Done | Retry | DeadLetter, status: int | None) -> None:
    inspector, worker, checkpoint = Inspector(), ScriptedWorker(result), doubles.Saved()
    message = CloseNotice(ME, 1001, "", None)
    attempt = inspector.worker(worker).attempt(message, 3, checkpoint, deadline=7.0)
    assert await attempt == result
    assert worker.attempts == [(message, 3, checkpoint, 7.0)]
    (record,) = inspector.recorder.records
    assert (record.kind, record.connection_id, record.subject) == (EventType.DEFERRED, ME, message.title)
    assert record.status == status
    assert record.duration_s is not None


async def test_calls_outside_an_event_are_handed_on_and_not_recorded() -> None:
    world = World()
    await world.ports.connections.open(ME, b"1", [])
    assert await world.store.get(ME) is not None
    assert list(world.inspector.recorder.records) == []
