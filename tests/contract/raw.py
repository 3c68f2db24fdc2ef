"""Ends of the wire that do what libraries do not: a client byte by byte, and a backend that misbehaves."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from .wire import TIMEOUT_S, Listening

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
HANDSHAKE = (
    ("Host", "sockets.example"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
)


def handshake(target: str = "/", *more: tuple[str, str]) -> bytes:
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*HANDSHAKE, *more)), "", ""]
    return "\r\n".join(lines).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return a client's frame; RFC 6455, section 5.2."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, mask_bit | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    return head + (bytes(4) if masked else b"") + payload  # a mask of zeros changes nothing


class RawClient:
    """A WebSocket client that sends the bytes that a test hands it, and reads only when the test asks for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def handshake(
        self, target: str = "/", headers: Sequence[tuple[str, str]] = HANDSHAKE, method: str = "GET"
    ) -> tuple[int, bytes]:
        """Return the response's status and head."""
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return await self.read_head()

    async def read_head(self) -> tuple[int, bytes]:
        """Return the status and the head of the server's HTTP response."""
        async with asyncio.timeout(TIMEOUT_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1]), head

    async def read_response(self) -> tuple[int, bytes]:
        """Return the status and the body of the server's HTTP response, whose length it has told."""
        status, head = await self.read_head()
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        assert length is not None, head
        async with asyncio.timeout(TIMEOUT_S):
            return status, await self._reader.readexactly(int(length[1]))

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def read_frame(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame; the server's are whole and not masked."""
        async with asyncio.timeout(TIMEOUT_S):
            first, second = await self._reader.readexactly(2)
            assert first & 0xF0 == 0x80
            size = second
            if second == 126:
                (size,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif second == 127:
                (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(size)

    async def read_close(self) -> int:
        """Return the code of the close frame that is next."""
        opcode, payload = await self.read_frame()
        assert opcode == CLOSE
        return int.from_bytes(payload[:2])

    async def read_to_end(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.read()

    def reset(self) -> None:
        """Vanish with a TCP RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def raw_client(server: Listening, *, receive_bytes: int | None = None) -> AsyncIterator[RawClient]:
    """A TCP connection to the server. `receive_bytes` keeps the client's own buffers small."""
    raw = socket.socket()
    if receive_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=receive_bytes or 1 << 20)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def raw_socket(
    server: Listening, target: str = "/", *, receive_bytes: int | None = None
) -> AsyncIterator[RawClient]:
    """A raw client that has been let in."""
    async with raw_client(server, receive_bytes=receive_bytes) as client:
        status, head = await client.handshake(target)
        assert status == 101, head
        yield client


Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class FaultyBackend:
    """Reads each POST whole, and then does what `behaviour` says; `requests` counts them."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests = 0
        self.url = ""
        self._handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._is_closed = False

    def abort(self) -> None:
        """Cut all connections, those too that are only now being made."""
        self._is_closed = True
        for handler, writer in self._handlers.items():
            handler.cancel()
            writer.transport.abort()  # a handler that has not begun would not

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_closed:
            writer.transport.abort()
            return
        handler = asyncio.create_task(self._handle(reader, writer))
        self._handlers[handler] = writer
        handler.add_done_callback(self._handlers.pop)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            self.requests += 1
            await self.behaviour(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def faulty_backend(behaviour: Behaviour) -> AsyncIterator[FaultyBackend]:
    backend = FaultyBackend(behaviour)
    listener = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/slip"
    try:
        yield backend
    finally:
        listener.close()
        backend.abort()
        await listener.wait_closed()  # from Python 3.12 on, it waits for all connections


def saying(*parts: bytes) -> Behaviour:
    """Send these bytes, then break off."""

    async def behaviour(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()

    return behaviour
