"""RFC 6455 at the edge, frame by frame."""

from __future__ import annotations

import asyncio
import errno

import pytest
from websockets.http11 import Request

from slip_sockets.dev import websocket
from slip_sockets.dev.edge import Limits

from ..contract.raw import BINARY, CLOSE, CONT, HANDSHAKE, PING, PONG, TEXT, RawClient, frame, raw_client, raw_socket
from ..contract.wire import TIMEOUT_S
from .edges import EdgeServer, RecordingFunction, edge_with

KIB = 1024
GREETING = "gr\u00fc\u00dfe \U0001f44b".encode()


async def told(function: RecordingFunction) -> str:
    body: str = (await function.next_event("MESSAGE"))["body"]
    return body


async def end(function: RecordingFunction) -> tuple[int, str]:
    context = (await function.next_event("DISCONNECT"))["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


async def test_fragments_are_one_message_also_when_cut_inside_a_character() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        for cut in range(len(GREETING) + 1):
            first, second = frame(TEXT, GREETING[:cut], fin=False), frame(CONT, GREETING[cut:])
            client.send(first, frame(CONT, b"", fin=False), second)
            assert await told(function) == GREETING.decode()
        client.send(*[frame(TEXT, b"a", fin=False), *[frame(CONT, b"b", fin=False)] * 1000, frame(CONT)])
        assert await told(function) == "a" + "b" * 1000


async def test_empty_fragments_without_end_are_not_gathered() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(CONT, b"", fin=False) * 10_000, frame(PING))
        assert await client.read_frame() == (PONG, b"")
        (socket,) = server.edge._sockets
        assert socket._message == [b"a"]
        client.send(frame(CONT, b"b"))
        assert await told(function) == "ab"


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
        assert await told(function) == GREETING.decode()


async def test_control_frames_may_come_between_fragments() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, b"a", fin=False), frame(PING, b"?"), frame(PONG), frame(CONT, b"b"))
        assert await told(function) == "ab"
        assert await client.read_frame() == (PONG, b"?")


@pytest.mark.parametrize("payload", [b"", b"hello", b"x" * 125])
async def test_ping_is_answered_with_its_payload_and_the_function_is_not_told(payload: bytes) -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(PING, payload), frame(PONG, b"unasked"), frame(TEXT, b"x"))
        assert await client.read_frame() == (PONG, payload)
        assert await told(function) == "x"
    assert len(function.events) == 3


async def test_largest_frame_and_message_are_taken() -> None:
    function = RecordingFunction()
    quarter = b"x" * (32 * KIB)
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(TEXT, quarter))
        assert await told(function) == "x" * 32 * KIB
        client.send(frame(TEXT, quarter, fin=False), *[frame(CONT, quarter, fin=False)] * 2, frame(CONT, quarter))
        assert await told(function) == "x" * 128 * KIB


FAULTS: dict[str, tuple[bytes, int]] = {
    "binary": (frame(BINARY, b"x"), 1003),
    "empty binary": (frame(BINARY), 1003),
    "frame over 32 KB": (frame(TEXT, b"x" * (32 * KIB + 1)), 1009),
    "fragment over 32 KB": (frame(TEXT, fin=False) + frame(CONT, b"x" * (32 * KIB + 1)), 1009),
    "message over 128 KB": (
        frame(TEXT, b"x" * 32 * KIB, fin=False) + frame(CONT, b"x" * 32 * KIB, fin=False) * 3 + frame(CONT, b"x"),
        1009,
    ),
    "not UTF-8": (frame(TEXT, b"\xff\xfe"), 1007),
    "half a character": (frame(TEXT, GREETING[:-1]), 1007),
    "a surrogate": (frame(TEXT, b"\xed\xa0\x80"), 1007),
    "overlong": (frame(TEXT, b"\xc0\xaf"), 1007),
    "not UTF-8 over fragments": (frame(TEXT, b"\xc3", fin=False) + frame(CONT, b"\x28"), 1007),
    "not masked": (frame(TEXT, b"x", masked=False), 1002),
    "RSV1": (frame(TEXT, b"x", rsv=4), 1002),
    "RSV2": (frame(TEXT, b"x", rsv=2), 1002),
    "RSV3": (frame(PING, rsv=1), 1002),
    "unknown data opcode": (frame(0x3, b"x"), 1002),
    "unknown control opcode": (frame(0xB), 1002),
    "continuation of nothing": (frame(CONT, b"x"), 1002),
    "message inside a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "ping over 125 bytes": (frame(PING, b"x" * 126), 1002),
    "close with half a code": (frame(CLOSE, b"\x03"), 1002),
    "close with a reserved code": (frame(CLOSE, b"\x03\xed"), 1002),
    "close with a reason that is not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize(("fault", "code"), FAULTS.values(), ids=FAULTS.keys())
async def test_fault_closes_its_own_socket_with_its_code(fault: bytes, code: int) -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as staying, raw_socket(server) as client:
        client.send(frame(TEXT, b"before"), fault, frame(TEXT, b"after"))
        assert await client.read_close() == code
        assert (await end(function))[0] == code
        assert len(server.edge.connection_ids) == 1
        staying.send(frame(TEXT, b"x"))
        assert [await told(function)] == ["x"]
    bodies = [event["body"] for event in function.events if "body" in event]
    assert bodies == ["before", "x"]


async def test_close_is_answered_once_and_the_connection_ends() -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_socket(server) as client:
        client.send(frame(CLOSE, b"\x0f\xa0bye"), frame(TEXT, b"after"), frame(CLOSE))
        assert await client.read_to_end() == b"\x88\x05\x0f\xa0bye"
        assert await end(function) == (4000, "bye")
    assert len(function.events) == 2


IMPROPER = {
    "no key": (HANDSHAKE[:3] + HANDSHAKE[4:], 400),
    "no version": (HANDSHAKE[:4], 400),
    "another version": ((*HANDSHAKE[:4], ("Sec-WebSocket-Version", "8")), 400),
    "short key": ((*HANDSHAKE[:3], ("Sec-WebSocket-Key", "c2hvcnQ="), HANDSHAKE[4]), 400),
    "header of 9,000 bytes": ((*HANDSHAKE, ("X-Long", "x" * 9_000)), 431),
    "200 headers": ((*HANDSHAKE, *[("X-Many", "x")] * 200), 431),
}


@pytest.mark.parametrize(("headers", "status"), IMPROPER.values(), ids=IMPROPER.keys())
async def test_improper_handshake_is_refused_and_the_function_not_told(
    headers: tuple[tuple[str, str], ...], status: int
) -> None:
    function = RecordingFunction()
    async with edge_with(function) as server, raw_client(server) as client:
        assert (await client.handshake("/", headers))[0] == status
        await client.read_to_end()
    assert function.events == []


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
        monkeypatch.setattr(websocket, "STALLED_AFTER_S", 0.2)  # not before: the handshake has as long
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
    assert await told(function) == "x" * 10


class CutTransport(asyncio.Transport):
    """Of a client that has reset the connection: asyncio tells so with an error, then with connection_lost."""

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


async def test_client_that_cuts_while_it_is_answered_is_closed_at_once() -> None:
    """Until connection_lost comes, others would send to it and fail with it."""
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
