"""The edge does what API Gateway does: with the function's responses, and at its limits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from slip_sockets.apigateway.requests import ProxyEvent, ProxyResponse
from slip_sockets.dev import edge
from slip_sockets.dev.edge import MAX_CONCURRENT_TEXTS, Limits, ManagementError

from ..contract.raw import TEXT, frame, raw_client, raw_socket
from ..contract.wire import TIMEOUT_S, Warnings, connect, refusal
from .edges import RecordingFunction, edge_with, responding


async def received(client: ClientConnection) -> str | bytes:
    async with asyncio.timeout(TIMEOUT_S):
        return await client.recv()


async def test_connect_response_decides_before_the_upgrade() -> None:
    admitted = asyncio.Event()

    async def wait(event: ProxyEvent) -> ProxyResponse:
        await admitted.wait()
        return {"statusCode": 200}

    function = RecordingFunction(CONNECT=wait)
    async with edge_with(function) as server, asyncio.TaskGroup() as tasks, raw_client(server) as client:
        response = tasks.create_task(client.handshake())
        event = await function.next_event("CONNECT")
        connection_id = event["requestContext"]["connectionId"]
        for call in (
            server.edge.get,
            server.edge.delete,
            lambda connection_id: server.edge.post(connection_id, b"\x81\x00"),
        ):
            with pytest.raises(ManagementError) as refused:
                call(connection_id)
            assert (refused.value.status, refused.value.name) == (410, "GoneException")
        assert not response.done()
        assert server.edge.connection_ids == []
        admitted.set()
        assert (await response)[0] == 101
        assert server.edge.connection_ids == [connection_id]


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 429, 500, 503])
async def test_refusal_reaches_the_client_and_ends_there(status: int) -> None:
    function = RecordingFunction(CONNECT=responding(status))
    async with edge_with(function) as server:
        assert await refusal(server) == status
        assert server.edge.connection_ids == []
    assert len(function.events) == 1


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_2xx_opens_the_socket(status: int) -> None:
    async with edge_with(RecordingFunction(CONNECT=responding(status))) as server, connect(server) as client:
        assert client.response is not None
        assert client.response.status_code == 101


async def test_only_the_subprotocol_of_the_connect_responses_headers_counts() -> None:
    function = RecordingFunction(CONNECT=responding(200, **{"Sec-WebSocket-Protocol": "b", "X-Mine": "1"}))
    async with (
        edge_with(function) as server,
        connect(server, subprotocols=[websockets.Subprotocol("a"), websockets.Subprotocol("b")]) as client,
    ):
        assert client.subprotocol == "b"
        assert client.response is not None
        assert "X-Mine" not in client.response.headers


async def fail(event: ProxyEvent) -> ProxyResponse:
    raise ZeroDivisionError("a bug in the function")


async def hang(event: ProxyEvent) -> ProxyResponse:
    await asyncio.Event().wait()
    raise AssertionError("waits for ever")


async def nonsense(event: ProxyEvent) -> ProxyResponse:
    return {"no": "status"}


BRIEF = Limits(integration_timeout_s=0.1)


@pytest.mark.parametrize(("responder", "status"), [(fail, 502), (nonsense, 502), (hang, 504)])
async def test_function_that_fails_on_connect_refuses(responder: Any, status: int) -> None:
    function = RecordingFunction(CONNECT=responder)
    async with edge_with(function, BRIEF) as server, raw_client(server) as client:
        assert (await client.handshake())[0] == status
        body = json.loads(await client.read_to_end())
    context = function.events[0]["requestContext"]
    ids = {"connectionId": context["connectionId"], "requestId": context["requestId"]}
    assert body == {"message": "Internal server error", **ids}
    assert len(function.events) == 1


@pytest.mark.parametrize("responder", [fail, hang])
async def test_function_that_fails_on_a_text_makes_the_edge_send_an_error(responder: Any) -> None:
    function = RecordingFunction(MESSAGE=responder)
    async with edge_with(function, BRIEF) as server, connect(server) as client:
        await client.send("x")
        message = json.loads(await received(client))
        context = function.events[1]["requestContext"]
        ids = {"connectionId": context["connectionId"], "requestId": context["requestId"]}
        assert message == {"message": "Internal server error", **ids}
        function.responders.clear()
        await client.send("the socket is still open")
        assert (await function.next_event("MESSAGE"))["body"] == "x"
        assert (await function.next_event("MESSAGE"))["body"] == "the socket is still open"


@pytest.mark.parametrize("status", [200, 400, 403, 500, 502])
async def test_function_that_responds_to_a_text_with_any_status_sends_the_client_nothing(status: int) -> None:
    function = RecordingFunction(MESSAGE=responding(status))
    async with edge_with(function) as server, connect(server) as client:
        await client.send("x")
        event = await function.next_event("MESSAGE")
        server.edge.post(event["requestContext"]["connectionId"], b"\x81\x03end")
        assert await received(client) == "end"


@pytest.mark.parametrize("responder", [fail, hang])
async def test_function_that_fails_on_disconnect_disturbs_no_client(responder: Any, warnings: Warnings) -> None:
    function = RecordingFunction(DISCONNECT=responder)
    async with edge_with(function, BRIEF) as server, connect(server) as staying:
        async with connect(server):
            pass
        await function.next_event("DISCONNECT")
        await staying.send("x")
        await function.next_event("MESSAGE")
        function.responders.clear()
    assert len(warnings()) == 1


async def test_flood_is_taken_sixteen_texts_at_a_time_and_nothing_is_lost() -> None:
    gate = asyncio.Event()
    active = most = 0

    async def slow(event: ProxyEvent) -> ProxyResponse:
        nonlocal active, most
        if event["body"] == "quick":
            return {"statusCode": 200}
        active += 1
        most = max(most, active)
        await gate.wait()
        active -= 1
        return {"statusCode": 200}

    function = RecordingFunction(MESSAGE=slow)
    async with edge_with(function) as server, raw_socket(server) as flooding, connect(server) as quick:
        flooding.send(*(frame(TEXT, str(number).encode()) for number in range(20_000)))
        for _ in range(MAX_CONCURRENT_TEXTS):
            await function.next_event("MESSAGE")
        await quick.send("quick")
        assert (await function.next_event("MESSAGE"))["body"] == "quick"
        assert (active, most) == (MAX_CONCURRENT_TEXTS, MAX_CONCURRENT_TEXTS)
        flooding.send(frame(0x8, b"\x03\xe8"))
        gate.set()
        event = await function.next_event("DISCONNECT")
        assert event["requestContext"]["disconnectStatusCode"] == 1000
    assert most == MAX_CONCURRENT_TEXTS
    bodies = [event["body"] for event in function.events if event["requestContext"]["eventType"] == "MESSAGE"]
    assert sorted(map(int, bodies[:16] + bodies[17:])) == list(range(20_000))


class Gate:
    """A responder that lets one text through for each `open`."""

    def __init__(self) -> None:
        self.active: list[str] = []
        self._permits = asyncio.Semaphore(0)

    async def __call__(self, event: ProxyEvent) -> ProxyResponse:
        self.active.append(event["body"])
        await self._permits.acquire()
        self.active.remove(event["body"])
        return {"statusCode": 200}

    def open(self, texts: int = 1) -> None:
        for _ in range(texts):
            self._permits.release()


async def test_one_text_at_a_time_comes_in_order_and_the_disconnect_last() -> None:
    gate = Gate()
    function = RecordingFunction(MESSAGE=gate)
    async with edge_with(function) as server, raw_socket(server) as client:
        server.edge.max_concurrent_texts = 1
        client.send(*(frame(TEXT, str(number).encode()) for number in range(200)), frame(0x8, b"\x03\xe8"))
        for number in range(200):
            assert (await function.next_event("MESSAGE"))["body"] == str(number)
            assert gate.active == [str(number)]
            gate.open()
        await function.next_event("DISCONNECT")
    kinds = [event["requestContext"]["eventType"] for event in function.events]
    assert kinds == ["CONNECT", *["MESSAGE"] * 200, "DISCONNECT"]


async def test_disconnect_waits_for_the_text_in_flight() -> None:
    gate = Gate()
    in_flight: list[list[str]] = []

    async def disconnect(event: ProxyEvent) -> ProxyResponse:
        in_flight.append([*gate.active])
        return {"statusCode": 200}

    function = RecordingFunction(MESSAGE=gate, DISCONNECT=disconnect)
    async with edge_with(function) as server, raw_socket(server) as client:
        server.edge.max_concurrent_texts = 1
        client.send(frame(TEXT, b"last"))
        await function.next_event("MESSAGE")
        server.edge.delete(server.edge.connection_ids[0])
        gate.open()
        await function.next_event("DISCONNECT")
    assert in_flight == [[]]


async def test_concurrency_changes_while_texts_wait() -> None:
    gate = Gate()
    function = RecordingFunction(MESSAGE=gate)
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(*(frame(TEXT, str(number).encode()) for number in range(40)))
        for _ in range(MAX_CONCURRENT_TEXTS):
            await function.next_event("MESSAGE")
        server.edge.max_concurrent_texts = 1
        gate.open(MAX_CONCURRENT_TEXTS)
        for number in range(MAX_CONCURRENT_TEXTS, 40):
            assert (await function.next_event("MESSAGE"))["body"] == str(number)
            assert gate.active == [str(number)]
            gate.open()
        server.edge.max_concurrent_texts = MAX_CONCURRENT_TEXTS
        client.send(*(frame(TEXT, str(number).encode()) for number in range(40, 42)))
        for number in range(40, 42):
            assert (await function.next_event("MESSAGE"))["body"] == str(number)
        assert gate.active == ["40", "41"]
        gate.open(2)


async def pinged_to_the_end(client: ClientConnection) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            await (await client.ping())


async def test_idle_limit_counts_data_and_not_pings() -> None:
    async with edge_with(RecordingFunction(), Limits(idle_timeout_s=0.2)) as server:
        since = time.monotonic()  # the edge counts from the upgrade, and the client sees it later
        async with connect(server) as client:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await pinged_to_the_end(client)
        assert closed.value.rcvd == websockets.frames.Close(1001, "Going away")
        assert time.monotonic() - since >= 0.2


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass for the edge, and for the loop of a test."""
    passed_s = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal passed_s
        passed_s += seconds
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "time", lambda: time.monotonic() + passed_s)

    clock = SimpleNamespace(time=lambda: time.time() + passed_s, monotonic=time.monotonic)
    monkeypatch.setattr(edge, "time", clock)
    return pass_time


@pytest.mark.parametrize("speaks", ["client", "server"])
async def test_data_either_way_puts_off_the_idle_limit_and_not_the_total_one(
    speaks: str, pass_time: Callable[[float], None]
) -> None:
    limits = Limits(idle_timeout_s=600, max_duration_s=7200)
    async with edge_with(RecordingFunction(), limits) as server, connect(server) as client:
        (connection_id,) = server.edge.connection_ids
        for _ in range(14):
            pass_time(500)
            if speaks == "client":
                await client.send("x")
                await (await client.ping())
            else:
                server.edge.post(connection_id, b"\x81\x01x")
                assert await received(client) == "x"
        pass_time(200)
        async with asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        assert client.close_code == 1001


def test_limits_are_api_gateways() -> None:
    assert Limits() == Limits(
        idle_timeout_s=600,
        max_duration_s=7200,
        integration_timeout_s=29,
        max_message_bytes=131_072,
        max_frame_bytes=32_768,
    )


async def test_another_path_is_forbidden() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server:
        assert await refusal(server, "elsewhere") == 403
    assert function.events == []
