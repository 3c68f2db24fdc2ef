"""One port for WebSockets and HTTP: routes each TCP connection by its first request to the one or the other."""

from __future__ import annotations

import asyncio
import http
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import cast

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*websocket", re.IGNORECASE)
MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
"""How long a client may take for the head of its first request, even if it keeps sending."""
MAX_WAITING = 4096
"""Connections without a whole head at once. Beyond it, the one that has waited longest is cut off."""
LINGER_S = 2.0
"""How long a refused client may go on sending: if it is cut off at once, it may lose the response. RFC 9112, section
9.6."""


class FrontDoor(asyncio.Protocol):
    """Reads the head of a connection's first request, and hands the connection over with the bytes read so far.

    While it waits for the head it is in `waiting`, behind those that have waited longer.
    """

    def __init__(
        self,
        new_socket: Callable[[], asyncio.Protocol],
        new_http_handler: Callable[[], asyncio.BaseProtocol],
        waiting: dict[FrontDoor, None],
    ) -> None:
        self._waiting = waiting
        self._new_socket = new_socket
        self._new_http_handler = new_http_handler
        self._head = bytearray()
        self._is_refused = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if len(self._waiting) >= MAX_WAITING:
            longest = next(iter(self._waiting))
            longest._stop_waiting()
            longest.abort()
        self._waiting[self] = None
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
        is_socket = _UPGRADE.search(self._head, 0, end) is not None
        handler = self._new_socket() if is_socket else cast(asyncio.Protocol, self._new_http_handler())
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(bytes(self._head))

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
        self._waiting.pop(self, None)
        self._timer.cancel()
