"""A TCP server on the test's own event loop: a test decides about every byte it sends, and when its sockets close.

It closes and resets at once, before the client's transports have seen it: the event loop did not run in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@dataclass(frozen=True, slots=True)
class Request:
    connection: int
    first_line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def target(self) -> str:
        return self.first_line.split(" ")[1]

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: RawServer, sock: socket.socket, number: int) -> None:
        self.number = number
        self._server = server
        self._socket = sock
        self._received = b""

    async def read(self) -> Request | None:
        """Return the next request; None where the client has closed."""
        while b"\r\n\r\n" not in self._received:
            if not await self._receive():
                return None
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first_line, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
        length = next((int(value) for name, value in headers if name == "Content-Length"), 0)
        while len(self._received) < length:
            if not await self._receive():
                return None
        body, self._received = self._received[:length], self._received[length:]
        request = Request(self.number, first_line, headers, body)
        self._server.requests.append(request)
        return request

    async def _receive(self) -> bool:
        part = await self.receive()
        self._received += part
        return bool(part)

    async def receive(self) -> bytes:
        """Return some bytes; none where the client has closed."""
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        except OSError:
            return b""

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def trickle(self, data: bytes, pause_s: float) -> None:
        """Send byte by byte, until all is sent or the client has closed."""
        for byte in data:
            await self.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self.receive()
                    return

    async def gone(self) -> None:
        """Wait until the client has closed."""
        while await self.receive():
            pass

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)  # of the script, which waits for a request
            self._socket.close()

    def reset(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


Script = Callable[[Peer], Awaitable[None]]


def responding(*responses: bytes) -> Script:
    """Return a script with a response for each request of a connection; the last one is for all that follow."""

    async def script(peer: Peer) -> None:
        for number in range(1_000_000):
            if await peer.read() is None:
                return
            await peer.send(responses[min(number, len(responses) - 1)])

    return script


class RawServer:
    """`script` has each connection; when it returns, the connection is closed."""

    def __init__(self, script: Script, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Request] = []
        self.peers: list[Peer] = []
        self._script = script
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> RawServer:
        self._start(self._accept())
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            peer.close()
        self._listener.close()
        if error is None:
            for result in results:
                if result is not None and not isinstance(result, asyncio.CancelledError | OSError):
                    raise result

    def _start(self, coroutine: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(coroutine))

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            peer = Peer(self, sock, len(self.peers) + 1)
            self.peers.append(peer)
            self._start(self._serve(peer))

    async def _serve(self, peer: Peer) -> None:
        try:
            await self._script(peer)
        finally:
            peer.close()
