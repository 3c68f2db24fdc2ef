"""Publishing over HTTP without threads: one POST at a time, while the selector of `load` runs."""

from __future__ import annotations

import re
import selectors
import socket
from dataclasses import dataclass

from .errors import BenchError

MESSAGE_BYTES = 200

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONNECTION_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """How a server publishes: by a POST to `path`. Its body is `before`, the message's text and `after`."""

    port: int
    path: str
    headers: str
    before: bytes
    after: bytes

    def message(self, number: int) -> bytes:
        """Return a message's text: its number, and padding that needs no JSON escapes."""
        return b"%010d" % number + b"." * (MESSAGE_BYTES - 10)

    def http(self, number: int) -> bytes:
        """Return the whole HTTP request that publishes a message."""
        body = self.before + self.message(number) + self.after
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{self.headers}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class LoadPublisher:
    """Posts one message at a time. The loop over `selector` calls `on_readable` of the publisher in the key's data.

    It keeps its connection unless the server closes it, as Pushpin does after each response.
    """

    def __init__(self, selector: selectors.BaseSelector, request: PublishRequest) -> None:
        self.is_idle = True
        self._selector = selector
        self._request = request
        self._socket: socket.socket | None = None
        self._response = b""

    def publish(self, number: int) -> None:
        """Send the POST; `is_idle` is true again once its response has arrived."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._request.port), timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        self._socket.sendall(self._request.http(number))
        self._response = b""
        self.is_idle = False

    def on_readable(self) -> None:
        """Read a part of the response. Raises BenchError."""
        if self._socket is None:
            return
        received = self._socket.recv(65536)
        if not received:
            self.close()
            if not self.is_idle:
                raise BenchError(f"the connection ended after {self._response[:300]!r}")
            return
        self._response += received
        head_end = self._response.find(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(self._response, 0, head_end) if head_end >= 0 else None
        if length is None or len(self._response) < head_end + 4 + int(length[1]):
            return
        if not self._response.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"a publish was refused with {self._response[:300]!r}")
        if _CONNECTION_CLOSE.search(self._response, 0, head_end):
            self.close()
        self.is_idle = True

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
