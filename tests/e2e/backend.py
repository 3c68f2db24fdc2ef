"""A real HTTP backend in a thread of its own: it lets everybody into a channel and repeats what they say."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from slip_sockets import BadToken, Close, Connection, Open, SlipSocketsPublisher, Text
from slip_sockets.events import SocketEvent


class LobbyBackend:
    """`told` holds each event, as it came, with the metadata. The secrets may be changed at any time."""

    def __init__(self, secret: str, previous_secrets: Sequence[str] = ()) -> None:
        self.secret = secret
        self.previous_secrets = previous_secrets
        self.told: queue.Queue[tuple[SocketEvent, object]] = queue.Queue()
        self.refused = 0
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = backend.answer(dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> LobbyBackend:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/slip"

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        sockets = SlipSocketsPublisher(
            control_api="http://unused.example/", jwt_secret=self.secret, previous_secrets=self.previous_secrets
        )
        try:
            connection = sockets.parse_request(headers, body)
        except BadToken:
            self.refused += 1
            return 403, b""
        for event in connection.events:
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
