from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from slip_sockets.aws.checkpoints import DynamoDbCheckpoints
from slip_sockets.gateway.deferred import (
    CatchUp,
    CloseNotice,
    Continuation,
    Disconnected,
    FanOut,
    FanOutChunk,
    Held,
    LateLook,
    Texts,
    Timer,
    TimerDue,
)
from slip_sockets.gateway.deferred_presence import Look, OccupancyNotice, Sweep
from slip_sockets.gateway.ports import History, Presence
from slip_sockets.gateway.worker import DEFAULT_INBOUND_RETRY_S, DeferredWorker, Handler, InboundWorker, Worker

from ..aws.moto_server import channels_table, client, connections_table, dynamodb, moto_url, queue_url, sqs
from ..aws.service_models import calls_are_as_modelled
from ..gateway.doubles import FakeClock, RecordingQueue
from . import queues
from .engines import Channels, DynamoDb, Engine, Memory, Store
from .queues import QueueEngine, YieldingClock
from .scripted_handler import ScriptedHandler

__all__ = ["calls_are_as_modelled", "channels_table", "connections_table", "dynamodb", "moto_url", "queue_url", "sqs"]


@pytest.fixture
def clock() -> YieldingClock:
    return YieldingClock()


@pytest.fixture(params=["dynamodb", "memory"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "memory":
        return Memory()
    moto_url, connections_table, channels_table = map(
        request.getfixturevalue, ("moto_url", "connections_table", "channels_table")
    )
    return DynamoDb(client("dynamodb", moto_url), connections_table, channels_table)


@pytest.fixture
def store(engine: Engine, clock: FakeClock) -> Store:
    return engine.store(clock)


@pytest.fixture
def channels(engine: Engine, clock: FakeClock) -> Channels:
    return engine.channels(clock)


@pytest.fixture
def presence(engine: Engine, clock: FakeClock) -> Presence:
    return engine.presence(clock)


@pytest.fixture
def history(engine: Engine, clock: FakeClock) -> History:
    return engine.history(clock)


# The queue


OF_PRESENCE = (Look, OccupancyNotice, Sweep)


@pytest.fixture
def handler() -> ScriptedHandler:
    return ScriptedHandler()


@pytest.fixture(params=["sqs", "memory"])
async def queue_engine(
    request: pytest.FixtureRequest, handler: ScriptedHandler, clock: YieldingClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[QueueEngine]:
    """The queue of deferred messages. It has a worker with `handler` for all kinds of them."""
    kinds = (Continuation, CloseNotice, CatchUp, LateLook, FanOut, FanOutChunk, Held, Timer, *OF_PRESENCE)

    worker = DeferredWorker(dict.fromkeys(kinds, handler))
    engine = _queue_engine(request, worker, clock, monkeypatch, gives_up=False)
    yield engine
    await engine.aclose()


@pytest.fixture
def deferred() -> RecordingQueue:
    return RecordingQueue()


@pytest.fixture(params=["sqs", "memory"])
async def inbound_engine(
    request: pytest.FixtureRequest,
    handler: ScriptedHandler,
    deferred: RecordingQueue,
    clock: YieldingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[QueueEngine]:
    """The queue of what clients send. It has a worker with `handler`; what that gives up goes on in `deferred`."""
    handlers: dict[type[Any], Handler] = dict.fromkeys((Continuation, Texts, Disconnected, TimerDue), handler)
    worker = InboundWorker(handlers, deferred, retry_for_s=DEFAULT_INBOUND_RETRY_S)
    engine = _queue_engine(request, worker, clock, monkeypatch, gives_up=True)
    yield engine
    await engine.aclose()


def _queue_engine(
    request: pytest.FixtureRequest,
    worker: Worker,
    clock: YieldingClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    gives_up: bool,
) -> QueueEngine:
    if request.param == "memory":
        return queues.Memory(worker, clock)
    moto_url, sqs, queue_url, table = map(request.getfixturevalue, ("moto_url", "sqs", "queue_url", "channels_table"))
    queues.set_motos_time(clock, monkeypatch)
    checkpoints = DynamoDbCheckpoints(client("dynamodb", moto_url), table, clock)
    return queues.Sqs(sqs, client("sqs", moto_url), queue_url, checkpoints, worker, clock, gives_up=gives_up)
