"""A TCP server without a protocol: a test writes every byte, and every silence."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

Script = Callable[["RawServer", socket.socket], None]


class RawServer:
    """`script` is called with each connection, in a thread of its own; when it returns, the connection is closed."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self.trickled = 0
        """Bytes that `trickle` has sent."""
        self.stopping = threading.Event()
        self._script = script
        self._tls = tls
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/slip?key=secret"
        self._start(self._accept)

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def read_request(self, connection: socket.socket) -> bytes:
        """Read one request with a Content-Length and remember it. Empty where the client has closed."""
        received = b""
        while b"\r\n\r\n" not in received:
            if not (part := connection.recv(65536)):
                return b""
            received += part
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length:
            part = connection.recv(65536)
            if not part:
                return b""
            body += part
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def trickle(self, connection: socket.socket, data: bytes, pause_s: float) -> None:
        """Send byte by byte until all is sent or the test is over."""
        for byte in data:
            connection.sendall(bytes([byte]))
            self.trickled += 1
            if self.stopping.wait(pause_s):
                return

    def wait_for_latest(self) -> None:
        """Wait until the latest connection is closed on this side."""
        self._threads[-1].join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            with connection:
                self._script(self, connection)
            self._open.discard(connection)
        connection.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()


def answering(*parts: bytes) -> Script:
    """Return a script that responds to each request of a connection with the same bytes."""

    def script(server: RawServer, connection: socket.socket) -> None:
        while server.read_request(connection):
            for part in parts:
                connection.sendall(part)

    return script


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
