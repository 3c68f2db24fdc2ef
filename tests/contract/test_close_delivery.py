"""Sections 1 and 7: the backend gets a CLOSE for each client that has left, with code and reason, sooner or later."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer, DevSettings

from ..conftest import SECRET
from ..scripted_backend import Events, Post, Script, ScriptedBackend
from .raw import CLOSE, RawClient, frame, raw_socket
from .wire import TIMEOUT_S, Control, Warnings, accept, close, connect, joined, publish, replies, report, running


def with_close(payload: bytes) -> Callable[[RawClient], Awaitable[None]]:
    async def leave(client: RawClient) -> None:
        client.send(frame(CLOSE, payload))
        assert await client.read_frame() == (CLOSE, payload)  # the response repeats the code
        assert await client.read_to_end() == b""

    return leave


async def by_fin(client: RawClient) -> None:
    client.writer.write_eof()
    assert await client.read_to_end() == b""


async def by_rst(client: RawClient) -> None:
    client.reset()


LEAVING = {
    "1000": (with_close(b"\x03\xe8"), {"code": 1000, "reason": ""}),
    "1001": (with_close(b"\x03\xe9"), {"code": 1001, "reason": ""}),
    "3000 and reason": (with_close(b"\x0b\xb8bye"), {"code": 3000, "reason": "bye"}),
    "4999 and reason": (with_close(b"\x13\x87gr\xc3\xbc\xc3\x9fe"), {"code": 4999, "reason": "gr\u00fc\u00dfe"}),
    "no status": (with_close(b""), {"code": 1005, "reason": "Client-side close frame status not set"}),
    "FIN": (by_fin, {"code": 1006, "reason": ""}),
    "RST": (by_rst, {"code": 1006, "reason": ""}),
}


@pytest.mark.parametrize(("leave", "expected"), LEAVING.values(), ids=LEAVING.keys())
async def test_close_has_code_and_reason_and_disturbs_no_other_client(
    server: DevServer,
    backend: ScriptedBackend,
    control: Control,
    leave: Callable[[RawClient], Awaitable[None]],
    expected: dict[str, object],
) -> None:
    async with joined(server, backend, "lobby") as staying, raw_socket(server, "/?channel=lobby&n=1") as leaving:
        opened = await backend.next_post("OPEN")
        await leave(leaving)
        closed = await backend.next_post("CLOSE")
        assert closed.event == {"type": "CLOSE", "connectionId": opened.connection_id, **expected}
        assert closed.body["metadata"] == opened.body["metadata"]
        assert (await control(publish("lobby", "x"))).json["events"] == [report(1, 1)]
        assert await staying.recv() == "x"
    await backend.next_post("CLOSE")
    assert [post.event["type"] for post in backend.posts] == ["OPEN", "OPEN", "CLOSE", "CLOSE"]


@pytest.mark.parametrize("limits", [Limits(idle_timeout_s=0.1), Limits(max_duration_s=0.1)], ids=["idle", "duration"])
async def test_limits_of_api_gateway_close_with_1001(backend: ScriptedBackend, limits: Limits) -> None:
    async with running(backend.url, limits) as server, joined(server, backend) as member:
        assert await member.close_code() == 1001
        post = await backend.next_post("CLOSE")
        assert post.event == {
            "type": "CLOSE",
            "connectionId": member.connection_id,
            "code": 1001,
            "reason": "Going away",
        }


async def test_close_that_the_backend_ordered_still_carries_the_metadata(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby") as member:
        opened = backend.posts[-1]
        await control(close(member.connection_id))
        assert await member.close_code() == 1000
        post = await backend.next_post("CLOSE")
        assert post.event == {"type": "CLOSE", "connectionId": member.connection_id, "code": 1000, "reason": ""}
        assert post.body["metadata"] == opened.body["metadata"]
        assert (await control(publish("lobby", "x"))).json["events"] == [report(0, 0)]


def failing_first(failure: Script) -> Script:
    """Fail the first CLOSE; reply to the others with a publish."""
    failures = iter([failure])

    def script(post: Post) -> Any:
        fail = next(failures, None)
        return fail(post) if fail else [publish("lobby", f"{post.connection_id} has left")]

    return replies(CLOSE=script)


@pytest.mark.parametrize("status", [429, 500, 503, 599])
async def test_close_that_fails_with_429_or_5xx_is_sent_again(
    server: DevServer, backend: ScriptedBackend, warnings: Warnings, status: int
) -> None:
    async with joined(server, backend, "lobby") as staying:
        backend.script = failing_first(lambda _: web.Response(status=status))
        async with joined(server, backend, "lobby") as leaving:
            await leaving.client.close(4000, "done")
        first, second = await backend.next_post("CLOSE"), await backend.next_post("CLOSE")
        assert first.body == second.body
        assert first.headers["Authorization"].startswith("Bearer ")
        assert await staying.recv() == f"{leaving.connection_id} has left"
        subject = f"CLOSE of connection {leaving.connection_id}"
        assert warnings() == [f"{subject}: backend {backend.url} responded with {status}"]


async def test_close_that_takes_too_long_is_sent_again(backend: ScriptedBackend) -> None:
    async def stuck(post: Post) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    async with running(backend.url, backend_timeout_s=2) as server, joined(server, backend, "lobby") as staying:
        backend.script = failing_first(stuck)
        async with joined(server, backend) as leaving:
            pass
        assert await staying.recv() == f"{leaving.connection_id} has left"


@pytest.mark.parametrize("status", [302, 400, 401, 404, 410])
async def test_close_that_fails_with_another_status_is_not_sent_again(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, status: int
) -> None:
    await assert_sent_once(server, backend, control, lambda _: web.Response(status=status))
    assert [line.rpartition(" ")[2] for line in warnings()] == [str(status)]


@pytest.mark.parametrize("body", ["ok", '{"events": [{"type": "ACCEPT"}]}'])
async def test_close_with_an_invalid_response_is_not_sent_again(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, body: str
) -> None:
    await assert_sent_once(server, backend, control, lambda _: web.Response(text=body))
    (line,) = warnings()
    assert "responded with 200 and a body that is not valid: " in line


async def assert_sent_once(server: DevServer, backend: ScriptedBackend, control: Control, failure: Script) -> None:
    """If the notice were queued, it would be tried again at once, before the events of clients that come later."""
    backend.script = failing_first(failure)
    async with joined(server, backend) as leaving:
        pass
    await backend.next_post("CLOSE")
    async with joined(server, backend, "lobby") as other:
        await other.client.send("x")
        await backend.next_post("TEXT")
        assert await other.received(control) == []
    await backend.next_post("CLOSE")
    closed = [post.connection_id for post in backend.posts if post.event["type"] == "CLOSE"]
    assert closed == [leaving.connection_id, other.connection_id]
    assert server.queue.dead_letters == []


async def test_close_arrives_once_the_backend_is_back(
    server: DevServer, backend: ScriptedBackend, next_line: Callable[[str], Awaitable[str]]
) -> None:
    async with joined(server, backend, "?n=1") as member:
        opened = backend.posts[-1]
        await backend.aclose()
        await member.client.close(4001, "out")
        for _ in range(2):  # at once, and again at once by the queue; the next comes a second later
            line = await next_line("CLOSE of connection")
            assert line.startswith(
                f"CLOSE of connection {member.connection_id}: backend {backend.url} cannot be reached"
            )
    await backend.start(urlsplit(backend.url).port or 0)
    post = await backend.next_post("CLOSE")
    assert post.body == {
        "connectionId": member.connection_id,
        "metadata": opened.body["metadata"],
        "events": [{"type": "CLOSE", "connectionId": member.connection_id, "code": 4001, "reason": "out"}],
    }


async def test_stopping_closes_with_1001_and_sends_the_backend_a_close(backend: ScriptedBackend) -> None:
    async with running(backend.url) as server:
        clients = [await connect(server) for _ in range(20)]
        opened = {(await backend.next_post("OPEN")).connection_id for _ in clients}
    closed = [await backend.next_post("CLOSE") for _ in clients]
    assert {post.connection_id for post in closed} == opened
    assert {post.event["code"] for post in closed} == {1001}
    for client in clients:
        async with asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        assert client.close_code == 1001


async def test_client_that_is_let_in_while_the_server_stops_is_closed_too_and_has_its_close(
    backend: ScriptedBackend,
) -> None:
    admitted = asyncio.Event()

    async def opening(post: Post) -> Events:
        await admitted.wait()
        return [accept(post.connection_id)]

    async def code_at_the_end(server: DevServer) -> int | None:
        async with connect(server) as client, asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        return client.close_code

    backend.script = replies(OPEN=opening)
    server = DevServer(DevSettings(backend.url, SECRET, port=0))
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        code = tasks.create_task(code_at_the_end(server))
        opened = await backend.next_post("OPEN")
        tasks.create_task(server.aclose())
        admitted.set()
    assert code.result() == 1001
    assert [(post.connection_id, post.event["type"]) for post in backend.posts] == [
        (opened.connection_id, "OPEN"),
        (opened.connection_id, "CLOSE"),
    ]
