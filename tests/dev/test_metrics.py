"""What a development server counts: through real sockets, and the latencies by themselves."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from slip_sockets.dev.metrics import MAX_LATENCIES, Metrics
from slip_sockets.dev.server import DevServer
from slip_sockets.gateway.errors import BackendFailed, BackendFault, Unavailable
from slip_sockets.gateway.observer import EventType, HandledEvent, handling
from slip_sockets.protocol.events import Report

from ..contract.wire import TIMEOUT_S, Control, connect, joined, publish, refusal, replies, text
from ..scripted_backend import ScriptedBackend

NOTHING: dict[str, Any] = {
    "BackendCalls": 0,
    "BackendFailures": 0,
    "BackendLatency": {"p50": None, "p95": None},
    "Failures": {},
    "Matched": 0,
    "Sent": 0,
    "Gone": 0,
    "Queued": 0,
}


def counts(server: DevServer) -> dict[str, Any]:
    """Return the values that are not 0; without latencies, which differ from run to run."""
    values = server.metrics.values()
    assert values.keys() == NOTHING.keys()
    return {name: value for name, value in values.items() if value and name != "BackendLatency"}


async def test_a_server_that_has_just_started_has_counted_nothing(server: DevServer) -> None:
    assert server.metrics.values() == NOTHING


async def test_each_event_of_a_socket_is_a_call_of_the_backend(server: DevServer, backend: ScriptedBackend) -> None:
    async with connect(server) as client:
        assert counts(server) == {"BackendCalls": 1}
        await client.send("x")
        await backend.next_post("TEXT")
        await server.edge.settle(TIMEOUT_S)
        assert counts(server) == {"BackendCalls": 2}
    await backend.next_post("CLOSE")
    await server.edge.settle(TIMEOUT_S)
    assert counts(server) == {"BackendCalls": 3}
    p50, p95 = server.metrics.latency_ms(0.5), server.metrics.latency_ms(0.95)
    assert p50 is not None
    assert p95 is not None
    assert 0 < p50 <= p95 < TIMEOUT_S * 1000


async def test_a_failing_backend_is_counted_by_the_event(server: DevServer, backend: ScriptedBackend) -> None:
    async with joined(server, backend) as member:
        backend.script = lambda _: web.Response(status=500)
        for _ in range(2):
            await member.client.send("x")
            await backend.next_post("TEXT")
            await server.edge.settle(TIMEOUT_S)
        assert await refusal(server) == 500
        assert counts(server) == {"BackendCalls": 4, "BackendFailures": 3, "Failures": {"TEXT": 2, "OPEN": 1}}
        backend.script = replies()


async def test_a_client_that_is_not_let_in_is_a_failure_of_its_open_and_not_of_the_call(
    server: DevServer, backend: ScriptedBackend
) -> None:
    backend.script = lambda _: []
    assert await refusal(server) == 400
    assert counts(server) == {"BackendCalls": 1, "Failures": {"OPEN": 1}}


async def test_publishes_count_subscribers(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    backend.script = replies(TEXT=lambda post: [publish("lobby", "by reply"), text(post.connection_id, "to one")])
    async with joined(server, backend, "lobby") as member, joined(server, backend, "lobby"):
        assert (await control(publish("lobby", "1"), publish("empty", "2"))).status == 200
        assert counts(server) == {"BackendCalls": 2, "Matched": 2, "Sent": 2}
        await member.client.send("x")
        assert [await member.recv() for _ in range(3)] == ["1", "by reply", "to one"]
        await server.edge.settle(TIMEOUT_S)
        assert counts(server) == {"BackendCalls": 3, "Matched": 4, "Sent": 4}


async def test_a_publish_by_the_queue_is_queued_first_and_sent_then(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby") as member:
        await server._channels.mark_queued("lobby", for_s=60)
        assert (await control(publish("lobby", "1"))).json["events"][0]["queued"] == 1
        assert await member.recv() == "1"
        assert counts(server) == {"BackendCalls": 1, "Matched": 1, "Queued": 1, "Sent": 1}


async def test_a_refused_call_of_the_control_api_is_a_failure(server: DevServer, control: Control) -> None:
    assert (await control.send_as("Bearer x", b"{}")).status == 403
    assert (await control.send(b"{}")).status == 400
    assert counts(server) == {"Failures": {"CONTROL": 2}}


def test_gone_subscribers_are_counted_as_they_are_found() -> None:
    metrics = Metrics()
    metrics.delivered(sent=1, gone=2)
    metrics.published(Report(matched=5, sent=1, gone=2, queued=2))
    metrics.delivered(sent=1, gone=1)
    assert metrics.values() == NOTHING | {"Matched": 5, "Sent": 2, "Gone": 3, "Queued": 2}


def test_failures_count_by_the_type_of_the_current_event() -> None:
    metrics = Metrics()
    for event_type in (EventType.CLOSE, EventType.DEFERRED, EventType.CLOSE):
        with handling(HandledEvent(event_type)):
            metrics.failed(Unavailable("the table is away"))
    assert metrics.values()["Failures"] == {"CLOSE": 2, "DEFERRED": 1}


def test_latencies_are_those_of_the_last_calls_failed_ones_included() -> None:
    metrics = Metrics()
    failed = BackendFailed(BackendFault.TIMEOUT, "did not respond")
    metrics.backend_called(seconds=0.002, error=failed)
    assert metrics.values()["BackendLatency"] == {"p50": 2.0, "p95": 2.0}
    for ms in range(1, 101):
        metrics.backend_called(seconds=ms / 1000, error=None)
    assert (metrics.backend_calls, metrics.backend_failures) == (101, 1)
    for _ in range(MAX_LATENCIES // 100):
        for ms in range(100, 0, -1):
            metrics.backend_called(seconds=ms / 1000, error=None)
    assert metrics.values()["BackendLatency"] == {"p50": 50.0, "p95": 95.0}
    assert [metrics.latency_ms(share) for share in (0.001, 0.01, 0.5, 0.951, 1.0)] == [1.0, 1.0, 50.0, 96.0, 100.0]
