"""A socket at the edge: its limits, and clients that stall or cut. `test_conformance` compares it with RFC 6455."""

from __future__ import annotations

import asyncio
import errno

import pytest
from websockets.http11 import Request

from slip_sockets.dev import websocket
from slip_sockets.dev.edge import Limits

from ..contract.raw import BINARY, CONT, HANDSHAKE, TEXT, RawClient, frame, raw_client, raw_socket
from ..contract.wire import TIMEOUT_S
from .edges import EdgeServer, RecordingFunction, edge_with, end, next_text

KIB = 1024
GREETING = "gr\u00fc\u00dfe \U0001f44b".encode()


async def test_bytes_may_come_one_by_one() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_client(server) as client:
        request = "\r\n".join(["GET / HTTP/1.1", *(f"{name}: {value}" for name, value in HANDSHAKE), "", ""]).encode()
        for byte in request:
            client.send(bytes([byte]))
            await client.writer.drain()
        assert (await client.read_head())[0] == 101
        for byte in frame(TEXT, GREETING):
            client.send(bytes([byte]))
            await client.writer.drain()
        assert await next_text(function) == GREETING.decode()


async def test_largest_frame_and_message_are_taken() -> None:
    function = RecordingFunction()
    quarter = b"x" * (32 * KIB)
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, quarter))
        assert await next_text(function) == "x" * 32 * KIB
        client.send(frame(TEXT, quarter, fin=False), *[frame(CONT, quarter, fin=False)] * 2, frame(CONT, quarter))
        assert await next_text(function) == "x" * 128 * KIB


async def keep_sending(client: RawClient) -> None:
    """Send until the server has ended the connection for good."""
    while True:
        client.send(frame(TEXT, b"x" * 1000))
        await client.writer.drain()


async def test_client_that_ignores_the_close_is_cut_off_however_much_it_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        monkeypatch.setattr(websocket, "STALLED_AFTER_S", 0.2)  # not earlier: it limits the handshake too
        server.edge.delete(server.edge.connection_ids[0])
        assert await client.read_close() == 1000
        assert await end(function) == (1000, "")
        async with asyncio.timeout(TIMEOUT_S):
            with pytest.raises(ConnectionError):
                await keep_sending(client)
    assert len(function.events) == 2


async def test_client_that_leaves_its_handshake_unfinished_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "STALLED_AFTER_S", 0.1)
    async with edge_with(RecordingFunction()) as server, raw_client(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await client.read_to_end() == b""


async def test_limits_are_options() -> None:
    function = RecordingFunction()
    limits = Limits(max_message_bytes=20, max_frame_bytes=10)

    async def code_after(server: EdgeServer, *frames: bytes) -> int:
        async with raw_socket(server) as client:
            client.send(*frames)
            return await client.read_close()

    part = b"x" * 10
    async with edge_with(function, limits) as server:
        assert await code_after(server, frame(TEXT, part + b"x")) == 1009
        assert (
            await code_after(server, frame(TEXT, part, fin=False), frame(CONT, part, fin=False), frame(CONT, b"x"))
            == 1009
        )
        assert await code_after(server, frame(TEXT, part), frame(BINARY)) == 1003
    assert await next_text(function) == "x" * 10


class CutTransport(asyncio.Transport):
    """Of a client that has reset the connection: asyncio raises an error, and calls connection_lost later."""

    def write(self, data: object) -> None: ...

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


class RecordingListener:
    def __init__(self) -> None:
        self.closed: list[int] = []

    def on_handshake(self, socket: websocket.WebSocket, request: Request) -> None: ...

    def on_text(self, socket: websocket.WebSocket, text: str) -> None: ...

    def on_closed(self, socket: websocket.WebSocket, code: int, reason: str) -> None:
        self.closed.append(code)

    def on_lost(self, socket: websocket.WebSocket) -> None: ...


async def test_client_that_cuts_during_the_response_is_closed_at_once() -> None:
    """Until connection_lost is called, publishes would send to it, and fail."""
    listener = RecordingListener()
    socket = websocket.WebSocket(listener, max_message_bytes=KIB, max_frame_bytes=KIB)
    socket.connection_made(CutTransport())
    socket.data_received(
        "\r\n".join(["GET / HTTP/1.1", *(f"{name}: {value}" for name, value in HANDSHAKE), "", ""]).encode()
    )
    socket.accept(None)
    socket.eof_received()
    assert (socket.is_open, listener.closed) == (False, [1006])
    socket.connection_lost(None)
    assert listener.closed == [1006]
