"""A real HTTP backend in a thread of its own: it lets everybody into a channel and repeats what they say."""

from __future__ import annotations

import os
import queue
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slip_sockets import BadToken, Close, Connection, Open, SlipSocketsPublisher, Text
from slip_sockets.events import SocketEvent

Fault = Callable[[SocketEvent, object], str | None]
"""Says for an event and its metadata how the backend fails over it: a status, or one of `_Handler`'s ways."""
DRIP_S = 0.5
NO_FAULT: Fault = lambda event, metadata: None  # noqa: E731


class LobbyBackend:
    """`told` holds each event, as it came, with the metadata; `failed` those over which it failed as `fault` said.

    The secrets and `fault` may be changed at any time.
    """

    def __init__(self, secret: str, previous_secrets: Sequence[str] = ()) -> None:
        self.secret = secret
        self.previous_secrets = previous_secrets
        self.fault = NO_FAULT
        self.failed: list[SocketEvent] = []
        self.stopping = threading.Event()
        self.told: queue.Queue[tuple[SocketEvent, object]] = queue.Queue()
        self.refused = 0
        self._listen(0)

    def __enter__(self) -> LobbyBackend:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        self._stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens there for a while."""
        port = self._server.server_address[1]
        self._stop()
        try:
            yield
        finally:
            self._listen(port)
            self._thread.start()

    def _listen(self, port: int) -> None:
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def _stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/slip"

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | str:
        """Return status and body, or how to fail."""
        sockets = SlipSocketsPublisher(
            control_api="http://unused.example/", jwt_secret=self.secret, previous_secrets=self.previous_secrets
        )
        try:
            connection = sockets.parse_request(headers, body)
        except BadToken:
            self.refused += 1
            return 403, b""
        for event in connection.events:
            fault = self.fault(event, connection.metadata)
            if fault is not None:
                self.failed.append(event)
                return (int(fault), b"") if fault.isdigit() else fault
            self._act(connection, event)
            self.told.put((event, connection.metadata))
        answer = connection.answer()
        return answer.status, answer.body

    def next_told(self, kind: type[SocketEvent]) -> tuple[SocketEvent, object]:
        """Wait for the next event of a kind; others that come before it are passed over."""
        while True:
            event, metadata = self.told.get(timeout=60)
            if isinstance(event, kind):
                return event, metadata

    def _act(self, connection: Connection, event: SocketEvent) -> None:
        match event:
            case Open():
                connection.accept(
                    subprotocol="v1" if "Sec-WebSocket-Protocol" in connection.metadata["headers"] else None
                )
                connection.subscribe("lobby")
                connection.set_metadata({"user": connection.metadata["query"].get("user", ["somebody"])[0]})
                connection.send_text("welcome")
                if "everything" in connection.metadata["query"]:
                    do_everything(connection)
            case Text(data="everything"):
                do_everything(connection)
            case Text(data="leave"):
                connection.close()
            case Text(data=data):
                connection.publish_text("lobby", f"{connection.metadata['user']}: {data}")
            case Close():
                connection.publish_text("lobby", f"{connection.metadata['user']} left")


def do_everything(connection: Connection) -> None:
    """Answer with all that a backend may, `close` last."""
    connection.subscribe("elsewhere")
    connection.unsubscribe("elsewhere")
    connection.set_metadata({"user": "nobody"})
    connection.publish_text("ghosts", "boo", message_id=uuid.uuid4().hex)
    connection.close_channel("nobody-listens")
    connection.close()


class _Server(ThreadingHTTPServer):
    def __init__(self, backend: LobbyBackend, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.backend = backend


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.backend.answer(dict(self.headers), body)
        if isinstance(answer, str):
            with suppress(OSError):
                getattr(self, f"_{answer}")()
            return
        status, told = answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *args: object) -> None:
        """Silence."""

    # Ways to fail, each until the gateway has given up

    def _reset(self) -> None:
        self._begin(1_000)
        self.wfile.write(b'{"events": [')
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # at once: an RST, where http.server would begin with a FIN

    def _endless(self) -> None:
        self._begin(None)
        while not self._stopping.is_set():
            self.wfile.write(b" " * 64 * 1024)

    def _hanging(self) -> None:
        self.connection.settimeout(None)
        while not self._stopping.wait(DRIP_S) and not self._has_left():
            pass

    def _dripping(self) -> None:
        self._begin(1_000)
        while not self._stopping.wait(DRIP_S):
            self.wfile.write(b" ")

    @property
    def _stopping(self) -> threading.Event:
        return self.server.backend.stopping

    def _has_left(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _begin(self, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
