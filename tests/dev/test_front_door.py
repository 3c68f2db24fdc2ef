"""Clients that are slow with their first request, and the limit on their number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from slip_sockets.dev import front_door, http_server
from slip_sockets.dev import server as dev_server
from slip_sockets.dev.server import DevServer

from ..contract.raw import HANDSHAKE, RawClient, handshake, raw_client
from ..contract.wire import TIMEOUT_S, joined, running
from ..scripted_backend import Events, Post, ScriptedBackend

BEGUN = b"GET / HTTP/1.1\r\nHost: x\r\n"
BRIEF_S = 0.3
"""A time limit that a test waits for."""


async def is_cut_off(client: RawClient) -> bool:
    with suppress(ConnectionResetError):
        assert await client.read_to_end() == b""
    return True


async def test_the_client_that_has_waited_longest_makes_room(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 3)
    async with running(backend.url) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(5)]
        for client in clients:
            client.send(BEGUN)
        assert await is_cut_off(clients[0])
        assert await is_cut_off(clients[1])
        assert len(server._door.waiting) == 3
        for client in clients[2:]:
            client.send(b"\r\n")
            assert (await client.read_head())[0] == 404
        assert len(server._door.waiting) == 0


async def test_client_that_has_sent_its_head_counts_no_more(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 1)
    async with running(backend.url) as server, raw_client(server) as served:
        served.send(BEGUN, b"\r\n")
        assert (await served.read_head())[0] == 404
        async with raw_client(server) as slow, raw_client(server) as next_one:
            slow.send(BEGUN)
            next_one.send(BEGUN, b"\r\n")
            assert (await next_one.read_head())[0] == 404
            assert await is_cut_off(slow)
            served.send(BEGUN, b"Connection: close\r\n\r\n")
            assert b"404" in await served.read_to_end()


# The end of the server


@asynccontextmanager
async def stopping(server: DevServer, backend: ScriptedBackend) -> AsyncIterator[None]:
    """In the block the server is stopping: it waits for the backend, which handles a client's CLOSE."""
    may_end = asyncio.Event()

    async def script(post: Post) -> Events:
        await may_end.wait()
        return []

    async with joined(server, backend), asyncio.TaskGroup() as tasks:
        backend.script = script
        tasks.create_task(server.aclose())
        await backend.next_post("CLOSE")
        try:
            yield
        finally:
            may_end.set()


async def test_client_that_has_sent_no_head_is_cut_off_when_the_server_stops(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", 600)
    monkeypatch.setattr(dev_server, "STOP_PATIENCE_S", 600)
    async with running(backend.url, backend_timeout_s=600) as server, raw_client(server) as client:
        client.send(BEGUN)
        async with stopping(server, backend):
            assert await is_cut_off(client)


async def test_kept_connection_is_let_in_no_more_when_the_server_stops(
    server: DevServer, backend: ScriptedBackend
) -> None:
    async with raw_client(server) as client:
        client.send(BEGUN, b"\r\n")
        assert (await client.read_head())[0] == 404
        async with stopping(server, backend):
            client.send(handshake())
            with suppress(ConnectionResetError):
                assert await client.read_to_end() == b'{"message": "Not Found"}'
    assert [post.kind for post in backend.posts] == ["OPEN", "CLOSE"]


# Requests that never end


async def response_while_sending(client: RawClient, piece: bytes) -> bytes:
    """Send `piece` again and again, slowly, until the server has closed. Return the server's bytes."""
    async with asyncio.timeout(TIMEOUT_S):
        response = asyncio.create_task(client.read_to_end())
        while not (await asyncio.wait([response], timeout=BRIEF_S / 20))[0]:
            client.send(piece)
        return await response


async def keep_sending(client: RawClient, piece: bytes) -> None:
    """Send until the server has ended the connection for good."""
    while True:
        client.send(piece)
        await client.writer.drain()


HEADS = {
    "a handshake": b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX: ",
    "another request": b"POST /control HTTP/1.1\r\nX: ",
    "a request line": b"GET /",
    "no CR": b"GET / HTTP/1.1\nUpgrade: websocket\n\n",
}


@pytest.mark.parametrize("beginning", HEADS.values(), ids=HEADS.keys())
async def test_head_that_dribbles_is_cut_off_in_time_with_408(
    server: DevServer, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    async with raw_client(server) as client:
        client.send(beginning)
        response = await response_while_sending(client, b"x")
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")
    assert backend.posts == []


async def test_client_that_goes_on_sending_after_its_408_is_cut_off(
    server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    monkeypatch.setattr(front_door, "LINGER_S", BRIEF_S)
    async with raw_client(server) as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert (await client.read_head())[0] == 408
        async with asyncio.timeout(TIMEOUT_S):
            with pytest.raises(ConnectionError):
                await keep_sending(client, b"x" * 10_000)


@pytest.mark.parametrize("piece", [b"", b"\r\n"], ids=["nothing", "empty lines"])
async def test_connection_without_a_request_is_cut_off_in_time(
    server: DevServer, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(front_door, "HEAD_TIMEOUT_S", BRIEF_S)
    async with raw_client(server) as client:
        with suppress(ConnectionError):
            assert await response_while_sending(client, piece) == b""


async def test_second_head_that_dribbles_is_cut_off_in_time(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev_server, "IDLE_CONNECTION_S", BRIEF_S)
    async with running(backend.url) as server, raw_client(server) as client:
        client.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.read_head())[0] == 404
        client.send(b"GET /nothing HTTP/1.1\r\nX: ")
        with suppress(ConnectionError):
            assert await response_while_sending(client, b"x") == b'{"message": "Not Found"}'


@pytest.mark.parametrize("path", ["/control", "/@connections/AAAAAAAAAAAAAAA=", "/_inspector/control"])
async def test_body_that_dribbles_is_refused_in_time_with_408(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT_S", BRIEF_S)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Authorization: AWS4-HMAC-SHA256 x\r\nContent-Length: 1000000\r\n\r\n"
    )
    async with running(backend.url, inspector=True) as server, raw_client(server) as client:
        client.send(head.encode())
        async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
            response = tasks.create_task(client.read_head())
            while not (await asyncio.wait([response], timeout=BRIEF_S / 20))[0]:
                client.send(b"x")
        assert response.result()[0] == 408


async def test_the_client_that_has_dawdled_longest_makes_room(
    server: DevServer, backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 2)
    async with raw_client(server) as first, raw_client(server) as second:
        first.send(b"GET / HTTP/1.1\r\n")
        second.send(b"GET / HTTP/1.1\r\n")
        async with joined(server, backend):
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await first.read_head()
        second.send("\r\n".join([*(f"{name}: {value}" for name, value in HANDSHAKE), "", ""]).encode())
        assert (await second.read_head())[0] == 101
