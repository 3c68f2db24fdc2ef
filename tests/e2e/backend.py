"""A real HTTP backend in a thread of its own. Each client is in the room that it asks for: what it sends is published
there. A test opens a room, so that it shares nothing with the next test but the process."""

from __future__ import annotations

import os
import socket
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from slip_sockets import Close, Connection, InvalidToken, Keep, Occupied, Open, Text, Vacated, parse_request
from slip_sockets.protocol.events import ConnectionEvent
from slip_sockets.protocol.frames import SUBPROTOCOL

Fault = Callable[[ConnectionEvent, Any], str | None]
"""Returns for an event and its metadata how the backend fails: a status, or one of `_Handler`'s ways; None for not."""
DRIP_S = 0.5


def no_fault(event: ConnectionEvent, metadata: object) -> None:
    """The backend works."""


class Received(NamedTuple):
    event: ConnectionEvent
    metadata: Any


@dataclass
class Chat:
    """What the backend knows of one room, and how it behaves there.

    `received` are the events that it has responded to, in order, `users` who was at the connection of each, and
    `failed` those at which it failed as `fault` says.
    `fault` and `is_silent` (no text is published) may be set at any time.
    """

    room: str
    fault: Fault = no_fault
    is_silent: bool = False
    since: str | None = None
    """A position of the kept channel, from which a reply with everything recovers."""
    received: list[Received] = field(default_factory=list)
    users: list[tuple[ConnectionEvent, str | None]] = field(default_factory=list)
    occupancy: list[tuple[str, str | None, Any]] = field(default_factory=list)
    """The types of the OCCUPIED and VACATED, in order, each with the user and the metadata."""
    failed: list[ConnectionEvent] = field(default_factory=list)
    connection_ids: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the backend has responded to a CLOSE."""
    busy: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    """The most requests of one connection that the backend had at once."""

    def act(self, connection: Connection, event: ConnectionEvent) -> None:
        match event:
            case Open():
                query = connection.metadata["query"]
                offered = connection.metadata["headers"].get("Sec-WebSocket-Protocol", "")
                subprotocol = offered if offered in ("v1", SUBPROTOCOL) else None
                connection.accept(subprotocol=subprotocol, user=query.get("as", [None])[0])
                since = query.get("since", [None])[0]
                connection.subscribe(self.room, recover=offered == SUBPROTOCOL, since=since, presence="member" in query)
                connection.set_metadata(self.metadata(query.get("user", ["somebody"])[0]))
                connection.send_text("welcome")
                if "everything" in query:
                    self._do_everything(connection)
            case Text(data="everything"):
                self._do_everything(connection)
            case Text(data="leave"):
                connection.close()
            case Text(data=data):
                self._publish(connection, f": {data}")
            case Close():
                self._publish(connection, " left")

    @contextmanager
    def responding(self, connection_id: str) -> Iterator[None]:
        self.busy[connection_id] += 1
        self.most_at_once = max(self.most_at_once, self.busy[connection_id])
        try:
            yield
        finally:
            self.busy[connection_id] -= 1

    @property
    def ghosts_channel(self) -> str:
        return f"{self.room}-ghosts"

    @property
    def kept_channel(self) -> str:
        return f"{self.room}-kept"

    def metadata(self, user: str) -> dict[str, str]:
        return {"room": self.room, "user": user}

    def _publish(self, connection: Connection, text: str) -> None:
        if not self.is_silent:
            connection.publish_text(self.room, connection.metadata["user"] + text)

    def _do_everything(self, connection: Connection) -> None:
        """Reply with all events that a backend may, `close` last."""
        connection.subscribe(f"{self.room}-elsewhere", presence=True)
        connection.unsubscribe(f"{self.room}-elsewhere")
        connection.set_metadata(self.metadata("nobody"))
        connection.publish_text(self.ghosts_channel, "boo", message_id=uuid.uuid4().hex)
        connection.publish_text(self.kept_channel, "third", keep=Keep(count=10, seconds=60))
        connection.subscribe(self.kept_channel, since=self.since)
        connection.close_channel(f"{self.room}-empty")
        connection.close()


class ChatBackend:
    """`rooms` are open; a client that asks for another one is refused, and other late events change nothing.

    The secrets may be changed at any time. `requests` counts all that came, `refused` those without a valid token.
    """

    def __init__(self, secret: str, previous_secrets: Sequence[str] = ()) -> None:
        self.secret = secret
        self.previous_secrets = previous_secrets
        self.rooms: dict[str, Chat] = {}
        self.requests = 0
        self.refused = 0
        self._listen(0)

    def __enter__(self) -> ChatBackend:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for chat in self.rooms.values():
            chat.over.set()
        self._stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """For a while it refuses connections. Its port stays its own."""
        port = self._server.server_port
        self._stop()
        with socket.socket() as placeholder:
            placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            placeholder.bind(("127.0.0.1", port))
            try:
                yield
            finally:
                placeholder.close()
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
        return f"http://127.0.0.1:{self._server.server_port}/slip"

    def respond(self, headers: dict[str, str], body: bytes) -> Response | Failure:
        self.requests += 1
        try:
            connection = parse_request(headers, body, secrets=[self.secret, *self.previous_secrets])
        except InvalidToken:
            self.refused += 1
            return Response(403, b"")
        chat = self.rooms.get(_room(connection))
        if chat is not None:
            chat.connection_ids.add(connection.connection_id)
            with chat.responding(connection.connection_id):
                for event in connection.events:
                    if isinstance(event, Occupied | Vacated):
                        chat.occupancy.append((type(event).__name__, connection.user, connection.metadata))
                        continue
                    fault = chat.fault(event, connection.metadata)
                    if fault is not None:
                        chat.failed.append(event)
                        return Response(int(fault), b"") if fault.isdigit() else Failure(fault, chat)
                    chat.act(connection, event)
                    chat.users.append((event, connection.user))
                    chat.received.append(Received(event, connection.metadata))
                    if isinstance(event, Close):
                        chat.closed.set()
        reply = connection.response()
        return Response(reply.status, reply.body)


@contextmanager
def open_chat(*backends: ChatBackend) -> Iterator[Chat]:
    """Open a room at each of `backends`, and close it in the end."""
    chat = Chat(f"room-{uuid.uuid4().hex[:12]}")
    for backend in backends:
        backend.rooms[chat.room] = chat
    try:
        yield chat
    finally:
        chat.over.set()
        for backend in backends:
            del backend.rooms[chat.room]


class Response(NamedTuple):
    status: int
    body: bytes


class Failure(NamedTuple):
    """One of `_Handler`'s ways to fail, at an event of a room."""

    way: str
    chat: Chat


def _room(connection: Connection) -> str:
    if connection.is_opening:
        return str(connection.metadata["query"].get("room", [""])[0])
    return str((connection.metadata or {}).get("room"))


class _Server(ThreadingHTTPServer):
    def __init__(self, backend: ChatBackend, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.backend = backend


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.server.backend.respond(dict(self.headers), body):
            case Failure(way, chat):
                with suppress(OSError):
                    getattr(self, f"_{way}")(chat.over)
            case Response(status, payload):
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

    def log_message(self, *args: object) -> None:
        """Write nothing."""

    # Ways to fail, each until the gateway has given up or the room is over

    def _reset(self, over: threading.Event) -> None:
        self._begin(1_000)
        self.wfile.write(b'{"events": [')
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # at once: an RST, where http.server would begin with a FIN

    def _endless(self, over: threading.Event) -> None:
        self._begin(None)
        while not over.is_set():
            self.wfile.write(b" " * 64 * 1024)

    def _hanging(self, over: threading.Event) -> None:
        self.connection.settimeout(None)
        while not over.wait(DRIP_S) and not self._has_left():
            pass

    def _dripping(self, over: threading.Event) -> None:
        self._begin(1_000)
        while not over.wait(DRIP_S):
            self.wfile.write(b" ")

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
