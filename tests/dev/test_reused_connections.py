"""HTTP requests and handshakes over one TCP connection, as a proxy sends them that keeps its connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from slip_sockets.dev.server import DevServer

from ..contract.raw import CLOSE, PING, PONG, TEXT, RawClient, frame, handshake, raw_client
from ..contract.wire import running, text
from ..scripted_backend import Events, Post, ScriptedBackend

GET = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /control HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n4;name=value\r\n{}\r\n\r\n0\r\nTrailer: x\r\n\r\n"
IN_A_BODY = handshake("/in-a-body")
BEFORE = {
    "nothing": (b"", []),
    "a page": (b"GET /_inspector HTTP/1.1\r\nHost: localhost\r\n\r\n", [200]),
    "two requests": (GET + GET, [404, 404]),
    "a request with a body": (POST + b"Content-Length: 2\r\n\r\n{}", [403]),
    "a request with chunks": (CHUNKED, [403]),
    "a body that nothing reads": (
        b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000,
        [404],
    ),
    "a handshake within a body": (POST + b"Content-Length: %d\r\n\r\n" % len(IN_A_BODY) + IN_A_BODY, [403]),
    "a HEAD": (b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n", []),
    "a mix": (GET + CHUNKED + b"\r\n" + GET, [404, 403, 404]),
}


async def assert_echoes(client: RawClient) -> None:
    client.send(frame(TEXT, b"hello"), frame(PING, b"p"))
    assert {await client.read_frame(), await client.read_frame()} == {(TEXT, b"hello"), (PONG, b"p")}


def echo(post: Post) -> Events:
    match post.event:
        case {"type": "OPEN"}:
            is_refused = post.body["metadata"]["query"] == {"refuse": [""]}
            return [{"type": "CLOSE" if is_refused else "ACCEPT", "connectionId": post.connection_id}]
        case {"type": "TEXT", "data": str(data)}:
            return [text(post.connection_id, data)]
        case _:
            return []


@pytest.mark.parametrize(("sent", "statuses"), BEFORE.values(), ids=BEFORE.keys())
@pytest.mark.parametrize("size", [None, 7, 1_000_000], ids=["one after another", "in pieces", "at once"])
async def test_handshake_after_requests(
    backend: ScriptedBackend, sent: bytes, statuses: list[int], size: int | None
) -> None:
    backend.script = echo
    asked = handshake("/?a=b%20c", ("X-Latin", "caf\xe9"), ("X-Twice", "1"), ("X-Twice", "2"))
    async with running(backend.url, inspector=True) as server, raw_client(server) as client:
        data = sent if size is None else sent + asked
        for start in range(0, len(data), size or len(data) or 1):
            client.send(data[start : start + (size or len(data))])
            await client.writer.drain()
        if sent.startswith(b"HEAD"):
            assert (await client.read_head())[0] == 404
        assert [(await client.read_response())[0] for _ in statuses] == statuses
        if size is None:
            client.send(asked)
        status, head = await client.read_head()
        assert status == 101, head
        metadata = (await backend.next_post("OPEN")).body["metadata"]
        assert metadata["query"] == {"a": ["b c"]}
        assert metadata["ip"] == "127.0.0.1"
        await assert_echoes(client)
        assert len(server.edge.connection_ids) == 1


@pytest.mark.parametrize("is_first", [True, False], ids=["first on its connection", "after a request"])
async def test_connection_goes_on_after_a_refused_handshake(
    server: DevServer, backend: ScriptedBackend, *, is_first: bool
) -> None:
    backend.script = echo
    async with raw_client(server) as client:
        if not is_first:
            client.send(GET)
            assert (await client.read_response())[0] == 404
        for _ in range(2):
            client.send(handshake("/?refuse"))
            assert (await client.read_response())[0] == 400
            client.send(handshake("/elsewhere"))
            assert await client.read_response() == (403, b'{"message": "Forbidden"}')
            client.send(GET)
            assert (await client.read_response())[0] == 404
        client.send(handshake())
        assert (await client.read_head())[0] == 101
        await assert_echoes(client)


async def test_bytes_that_are_sent_with_a_handshake_belong_to_it(server: DevServer, backend: ScriptedBackend) -> None:
    backend.script = echo
    async with raw_client(server) as client:
        client.send(GET, handshake(), frame(TEXT, b"early"))
        assert [(await client.read_response())[0], (await client.read_head())[0]] == [404, 101]
        assert await client.read_frame() == (TEXT, b"early")
    async with raw_client(server) as client:
        client.send(GET, handshake("/?refuse"), GET)
        assert [(await client.read_response())[0] for _ in range(2)] == [404, 400]
        assert await client.read_to_end() == b""


@pytest.mark.parametrize("before", [b"", GET], ids=["first on its connection", "after a request"])
@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (handshake("/?refuse", ("Connection", "close")), 400),
        (handshake("/?refuse").replace(b": Upgrade", b": upgrade , CLOSE"), 400),
        (handshake().replace(b"Connection: Upgrade", b"Connection: x"), 426),
        (handshake().replace(b": websocket", b": h2c, websocket"), 426),
        (handshake().replace(b"Version: 13", b"Version: 7"), 426),
        (handshake("/", ("Host", "two")), 400),
        (handshake("/", ("Content-Length", "5")) + b"hello", 400),
        (handshake().replace(b"GET", b"POST"), 405),
        (handshake("/", ("Connection", "close")), 101),
    ],
)
async def test_handshake_is_judged_alike_wherever_it_stands(
    server: DevServer, backend: ScriptedBackend, before: bytes, asked: bytes, status: int
) -> None:
    """Those that are refused here end the connection."""
    backend.script = echo
    async with raw_client(server) as client:
        client.send(before)
        if before:
            await client.read_response()
        client.send(asked)
        assert (await client.read_head())[0] == status
        if status == 101:
            await assert_echoes(client)
        else:
            await client.read_to_end()


async def test_handshake_after_an_upgrade_to_something_else(server: DevServer, backend: ScriptedBackend) -> None:
    async with raw_client(server) as client:
        client.send(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert (await client.read_response())[0] == 404
        client.send(handshake())
        assert (await client.read_head())[0] == 101


async def test_server_stops_with_connections_that_changed_hands(backend: ScriptedBackend) -> None:
    backend.script = echo
    async with AsyncExitStack() as stack:
        async with running(backend.url) as server:
            client, refused = [await stack.enter_async_context(raw_client(server)) for _ in range(2)]
            client.send(GET, handshake())
            assert [(await client.read_response())[0], (await client.read_head())[0]] == [404, 101]
            refused.send(GET, handshake("/?refuse"))
            assert [(await refused.read_response())[0] for _ in range(2)] == [404, 400]
            answer = asyncio.create_task(client.read_close())
            answer.add_done_callback(lambda _: client.send(frame(CLOSE, b"\x03\xe9")))
        assert await answer == 1001
        assert await refused.read_to_end() == b""


async def test_client_that_vanishes_between_hands_is_forgotten(server: DevServer, backend: ScriptedBackend) -> None:
    async def refuse(post: Post) -> web.Response:
        client.reset()
        return web.Response(status=500)

    backend.script = refuse
    async with raw_client(server) as client:
        client.send(GET)
        assert (await client.read_response())[0] == 404
        client.send(handshake())
        await backend.next_post("OPEN")
        await server.edge.settle(20)
    assert server.edge.connection_ids == []
