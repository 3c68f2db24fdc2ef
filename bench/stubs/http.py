"""Just enough HTTP/1.1 for a stub, on one event loop: requests with a Content-Length, in order."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import cast
from urllib.parse import parse_qsl, urlsplit

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Query = dict[str, str]


class HttpConnection(asyncio.Protocol):
    """Reads the requests of one connection. A subclass responds to each in `on_request`."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._received = bytearray()

    def on_request(self, head: bytes, body: bytes) -> None:
        """Handle a request. `head` has no blank line at its end."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(self._received, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            head, body = bytes(self._received[:head_end]), bytes(self._received[head_end + 4 : end])
            del self._received[:end]
            self.on_request(head, body)


def path_and_query(head: bytes) -> tuple[str, Query]:
    url = urlsplit(head.split(b" ", 2)[1].decode())
    return url.path, dict(parse_qsl(url.query))


async def serve(connection: Callable[[], HttpConnection]) -> None:
    """Print the port, then serve until the process is ended. `connection` is called for each TCP connection."""
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
