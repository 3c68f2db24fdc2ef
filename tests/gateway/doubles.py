"""The world as the gateway's tests see it: small real classes that record, and a clock that a test moves."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from slip_sockets.apigateway.connection_ids import has_usual_form, is_connection_id
from slip_sockets.apigateway.functions import control_function, websocket_function
from slip_sockets.apigateway.limits import OPENING_WINDOW_S
from slip_sockets.apigateway.requests import ProxyEvent, ProxyResponse
from slip_sockets.gateway.deferred import (
    CatchUp,
    CloseNotice,
    Continuation,
    Deferred,
    Disconnected,
    FanOut,
    FanOutChunk,
    Held,
    LateLook,
    Texts,
    Timer,
    TimerDue,
)
from slip_sockets.gateway.deferred_presence import Look
from slip_sockets.gateway.delivery import Deliverer
from slip_sockets.gateway.errors import BackendFailed, HttpError, Unavailable
from slip_sockets.gateway.fan_out import Broadcaster
from slip_sockets.gateway.gateway import Ports, build_gateway
from slip_sockets.gateway.looks import Looks
from slip_sockets.gateway.observer import EventType, HandledEvent, current_event, handling
from slip_sockets.gateway.ports import Occupancy
from slip_sockets.gateway.presence import Looker
from slip_sockets.gateway.values import Form, HttpResponse, Outcome
from slip_sockets.protocol.errors import SlipSocketsError
from slip_sockets.protocol.events import Report
from slip_sockets.protocol.tokens import mint
from slip_sockets.slip.backend import SlipBackend
from slip_sockets.slip.publish import SlipPublish

from .faulty_store import FaultyHistory, FaultyStore

SECRET = "a-secret-of-more-than-thirty-two-bytes"
ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="
START = 1_700_000_000.0


class FakeClock:
    """Time that passes only during a sleep, or when a test moves it."""

    def __init__(self) -> None:
        self.time = START
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


@dataclass
class RecordingSender:
    """The port Sender. It reaches all connections but those for which a test says otherwise."""

    sent: list[tuple[str, str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    failing: dict[str, int] = field(default_factory=dict)
    """How many more times a call for this id fails."""
    untils: list[float] = field(default_factory=list)
    has_time_for: float = math.inf
    """How many of the connections of a call are sent to in time."""
    opens_after_polls: int = 0
    last_active: dict[str, float] | None = field(default_factory=dict)
    """When connections were last active; None where that cannot be read."""

    opening_window_s = OPENING_WINDOW_S

    def is_connection_id(self, text: str) -> bool:
        return is_connection_id(text)

    def looks_like_connection_id(self, text: str) -> bool:
        return has_usual_form(text)

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        return self._each(connection_ids, lambda id_: self.sent.append((id_, data)), until)

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return self._each(connection_ids, self.closed.append, until)

    async def last_active_at(self, connection_id: str) -> float | None:
        if self.last_active is None:
            raise Unavailable("the management API is away")
        return self.last_active.get(connection_id)

    async def is_open(self, connection_id: str) -> bool:
        self.opens_after_polls -= 1
        return self.opens_after_polls < 0

    def _each(self, connection_ids: Sequence[str], do: Callable[[str], None], until: float) -> Outcome:
        self.calls.append(list(connection_ids))
        self.untils.append(until)
        outcome = Outcome()
        for number, id_ in enumerate(connection_ids):
            if number >= self.has_time_for:
                outcome.unsent.append(id_)
            elif id_ in self.gone:
                outcome.gone.append(id_)
            elif id_ in self.refused:
                outcome.refused[id_] = "Invalid connectionId"
            elif self.failing.get(id_, 0) > 0:
                self.failing[id_] -= 1
                outcome.failed[id_] = "the client's buffer is full"
            else:
                do(id_)
                outcome.done += 1
        return outcome


@dataclass
class RecordingQueue:
    """The port Queue."""

    shards = 8
    messages: list[Deferred] = field(default_factory=list)
    is_away: bool = False

    async def put(self, messages: Sequence[Deferred]) -> None:
        if self.is_away:
            raise Unavailable("the queue is away")
        self.messages += messages


@dataclass
class RecordingObserver:
    """The port Observer. Failures are counted by the type of the current event."""

    failures: Counter[str] = field(default_factory=Counter)
    backend_errors: list[BackendFailed | None] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    sent: int = 0
    gone: int = 0

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        assert seconds >= 0
        self.backend_errors.append(error)

    def failed(self, error: SlipSocketsError) -> None:
        event = current_event.get()
        assert event is not None
        self.failures[event.type.value] += 1

    def published(self, report: Report) -> None:
        self.reports.append(report)

    def delivered(self, *, sent: int, gone: int) -> None:
        self.sent += sent
        self.gone += gone


@dataclass
class ScriptedClient:
    """The port HttpClient. It returns what the test put there: a response, or an error to raise.

    Each of `responses` is returned once, before `response`.
    """

    response: HttpResponse | HttpError = field(default_factory=lambda: HttpResponse(200, body=b'{"events":[]}'))
    responses: list[HttpResponse | HttpError] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        self.requests.append(msgspec.json.decode(body))
        self.headers.append(dict(headers))
        response = self.responses.pop(0) if self.responses else self.response
        if isinstance(response, HttpError):
            raise response
        return response

    def will_reply(self, *events: dict[str, Any]) -> None:
        self.response = HttpResponse(200, body=msgspec.json.encode({"events": events}))


INLINE_LIMIT = 4
"""As a test can count."""


class Saved:
    """The port Checkpoint."""

    def __init__(self) -> None:
        self.saved: list[Deferred] = []

    async def save(self, remaining: Deferred) -> None:
        self.saved.append(remaining)

    async def load(self) -> Deferred | None:
        return self.saved[-1] if self.saved else None


@dataclass
class ScriptedRate:
    """The port DeliveryRate. It returns what a test put into `waits_s`, then 0."""

    waits_s: list[float] = field(default_factory=list)
    reserved: list[tuple[int, float]] = field(default_factory=list)
    is_away: bool = False

    async def reserve(self, calls: int, *, wait_at_most_s: float) -> float:
        self.reserved.append((calls, wait_at_most_s))
        if self.is_away:
            raise Unavailable("the table is away for reserve")
        return self.waits_s.pop(0) if self.waits_s else 0.0


class World:
    """A gateway and everything around it. `broadcaster` and `performer` do as the gateway's own.

    With `is_ordered` texts come by a queue, `inbound`.
    """

    def __init__(self, *, is_ordered: bool = False) -> None:
        self.clock = FakeClock()
        self.queue = RecordingQueue()
        self.store = FaultyStore(self.clock, Looks(self.queue, self.clock))
        self.history = FaultyHistory(self.clock)
        self.sender = RecordingSender()
        self.inbound = RecordingQueue()
        self.rate = ScriptedRate()
        self.checkpoint = Saved()
        self.client = ScriptedClient()
        self.observer = RecordingObserver()
        self.secrets_are_away = False
        store = self.store
        inbound = self.inbound if is_ordered else None
        self.gateway = build_gateway(
            Ports(
                store,
                store,
                store,
                store,
                self.history,
                self.store.presence,
                self.sender,
                self.queue,
                self.client,
                self.clock,
                self.rate,
                inbound,
            ),
            target_url="https://ada:pw@app.example/slip?key=k",
            secrets=self.secrets,
            backend_protocol=SlipBackend(),
            publish_protocol=SlipPublish(),
            inline_limit=INLINE_LIMIT,
            observer=self.observer,
        )
        self.performer = self.gateway.control.performer
        self.broadcaster = self.broadcaster_with(INLINE_LIMIT)
        self.looker = self.looker_with(None)

    def broadcaster_with(self, inline_limit: int) -> Broadcaster:
        deliverer = Deliverer(self.store, self.sender, self.clock)
        return Broadcaster(
            self.performer.broadcaster.listeners,
            self.store,
            self.history,
            deliverer,
            self.queue,
            self.clock,
            inline_limit,
            self.observer,
            self.rate,
        )

    def looker_with(self, occupancy: Occupancy | None) -> Looker:
        deliverer = Deliverer(self.store, self.sender, self.clock)
        presence = self.store.presence
        return Looker(
            presence, self.store, deliverer, self.queue, self.clock, INLINE_LIMIT, self.observer, occupancy=occupancy
        )

    async def secrets(self) -> Sequence[str]:
        if self.secrets_are_away:
            raise Unavailable("Secrets Manager is away")
        return [SECRET]

    async def websocket(self, event: ProxyEvent, *, deadline: float = math.inf) -> ProxyResponse:
        return await websocket_function(self.gateway.sockets, event, deadline=deadline)

    async def control(self, event: ProxyEvent) -> ProxyResponse:
        return await control_function(self.gateway.control, event)

    async def defer(self, message: Deferred, *, deadline: float = math.inf) -> None:
        """Handle a message of the queue, as its handler does. Raises Incomplete."""
        sockets = self.gateway.sockets
        match message:
            case FanOut():
                await self.broadcaster.split(message, self.checkpoint, deadline=deadline)
            case FanOutChunk():
                await self.broadcaster.deliver_chunk(message, self.checkpoint, deadline=deadline)
            case Timer():
                await sockets.on_timer(message, self.checkpoint, deadline=deadline)
            case TimerDue():
                with handling(HandledEvent(EventType.DEFERRED, message.connection_id)):
                    await sockets.on_timer_due(message, self.checkpoint, deadline=deadline)
            case CatchUp():
                await self.performer.recoverer.on_catch_up(message, self.checkpoint, deadline=deadline)
            case LateLook():
                await self.performer.recoverer.on_late_look(message, self.checkpoint, deadline=deadline)
            case Look():
                await self.looker.on_look(message, self.checkpoint, deadline=deadline)
            case Held():
                await self.broadcaster.broadcast_held(message, self.checkpoint, deadline=deadline)
            case CloseNotice():
                with handling(HandledEvent(EventType.CLOSE, message.connection_id)):
                    await sockets.on_close_notice(message, self.checkpoint, deadline=deadline)
            case Continuation():
                with handling(HandledEvent(EventType.DEFERRED, message.connection_id)):
                    await sockets.on_continuation(message, self.checkpoint, deadline=deadline)
            case Texts():
                with handling(HandledEvent(EventType.TEXT, message.connection_id)):
                    await sockets.on_texts(message, self.checkpoint, deadline=deadline)
            case Disconnected():
                with handling(HandledEvent(EventType.CLOSE, message.connection_id)):
                    await sockets.on_disconnected(message, self.checkpoint, deadline=deadline)

    async def connected(
        self,
        *connection_ids: str,
        channels: Sequence[str] = (),
        metadata: bytes = b"null",
        form: Form = Form.RAW,
        user: str | None = None,
    ) -> None:
        """Have these connected for a while already."""
        for connection_id in connection_ids:
            await self.store.open(connection_id, metadata, channels, form, user)
        self.clock.time += OPENING_WINDOW_S + 1


def control_event(events: Any, *, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    token = mint("ControlEvent", secret)
    return {"headers": {"authorization": f"bearer {token}"}, "body": json.dumps({"events": events})} | more


ACCEPT = {"type": "ACCEPT", "connectionId": ME}


def socket_event(kind: str, **more: Any) -> dict[str, Any]:
    """Return an event of the WebSocket API about ME, with what is there at least."""
    context = {"connectionId": ME, "eventType": kind, "identity": {"sourceIp": "203.0.113.7"}}
    return {"requestContext": context | more.pop("context", {}), "isBase64Encoded": False} | more
