"""One port for WebSockets and HTTP: whether a request asks for a WebSocket decides who gets its TCP connection.

The first request is looked at here, each further one of a kept connection by a middleware of the HTTP server, and the
one after a refused handshake here again: proxies send the requests of several clients over one connection.
"""

from __future__ import annotations

import asyncio
import http
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp import web

from .websocket import WebSocket

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*websocket", re.IGNORECASE)
MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
"""How long a client may take for the head of its first request, even if it keeps sending."""
MAX_WAITING = 4096
"""Connections without a whole head at once. Beyond it, the one that has waited longest is cut off."""
LINGER_S = 2.0
"""How long a refused client may go on sending: if it is cut off at once, it may lose the response. RFC 9112, section
9.6."""


class FrontDoor:
    """The door of one server. `new_connection` makes the protocol for a TCP connection, for asyncio's `create_server`;
    `middleware` belongs into the HTTP server."""

    def __init__(
        self, new_socket: Callable[[], WebSocket], new_http_handler: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self.waiting: dict[Visitor, None] = {}
        """Connections without a whole head, in the order in which they came."""
        self._new_socket = new_socket
        self._new_http_handler = new_http_handler
        self.is_closed = False

    def new_connection(self) -> Visitor:
        return Visitor(self)

    def close(self) -> None:
        """Cut the connections without a whole head, and from now on each that comes, or comes back."""
        self.is_closed = True
        for visitor in self.waiting:
            visitor.abort()

    def admit(self, transport: asyncio.Transport, data: bytes, *, is_handshake: bool) -> None:
        """Hand over a connection with the bytes of its next request, as far as they have come."""
        handler: asyncio.Protocol
        if self.is_closed:
            transport.abort()
            return
        if is_handshake:
            handler = socket = self._new_socket()
            socket.on_refused = self._wait
        else:
            handler = cast(asyncio.Protocol, self._new_http_handler())
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def _wait(self, transport: asyncio.Transport) -> None:
        """Wait for the next request on a connection."""
        visitor = self.new_connection()
        transport.set_protocol(visitor)
        visitor.connection_made(transport)

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def admit_handshake(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            if any("websocket" in value.lower() for value in request.headers.getall("Upgrade", ())):
                self._admit_handshake(request)
                return web.Response()  # into nothing
            return await handler(request)

        return admit_handshake

    def _admit_handshake(self, request: web.Request) -> None:
        """Take a connection from the HTTP server, which has responded to all requests before this one."""
        http_handler, transport = request.protocol, request.transport
        if transport is None:  # the client is gone
            return
        first = f"{request.method} {request.raw_path} HTTP/{request.version.major}.{request.version.minor}"
        lines = [first.encode(errors="surrogateescape"), *(b"%b: %b" % header for header in request.raw_headers)]
        tail = _Tail()
        http_handler.set_parser(cast(Any, tail))  # gets the bytes behind the head
        http_handler.transport = None  # otherwise it would be closed
        http_handler.connection_lost(None)
        self.admit(transport, b"\r\n".join([*lines, b"", bytes(tail.data)]), is_handshake=True)


class Visitor(asyncio.Protocol):
    """Reads the head of a request, and hands the connection over with the bytes read so far.

    While it waits for the head it is in `door.waiting`, behind those that have waited longer.
    """

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._head = bytearray()
        self._is_refused = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        waiting = self._door.waiting
        if self._door.is_closed:
            self.abort()
        if len(waiting) >= MAX_WAITING:
            longest = next(iter(waiting))
            longest._stop_waiting()
            longest.abort()
        waiting[self] = None
        self._timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._give_up)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_waiting()

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._head += data
        while self._head.startswith(b"\r\n"):  # not part of a request; RFC 9112, section 2.2
            del self._head[:2]
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD_BYTES:
                self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._stop_waiting()
        is_handshake = _UPGRADE.search(self._head, 0, end) is not None
        self._door.admit(self._transport, bytes(self._head), is_handshake=is_handshake)

    def _give_up(self) -> None:
        if self._head:
            self._refuse(http.HTTPStatus.REQUEST_TIMEOUT)
        else:  # a browser opens connections in advance, and would take a response as that to its next request
            self.abort()

    def _refuse(self, status: http.HTTPStatus) -> None:
        body = json.dumps({"message": status.phrase})
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        with suppress(OSError):  # the client has just cut the connection: connection_lost will be called
            self._transport.write_eof()
        self._is_refused = True
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def _stop_waiting(self) -> None:
        self._door.waiting.pop(self, None)
        self._timer.cancel()


class _Tail:
    """Stands in for the parser of frames that aiohttp gives what comes behind a handshake."""

    def __init__(self) -> None:
        self.data = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass
