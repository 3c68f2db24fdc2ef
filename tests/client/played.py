"""A server in a thread that plays bytes, and what comes of a call of it by each publisher."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from slip_sockets import (
    AsyncSlipSocketsPublisher,
    ControlApiRefused,
    ControlApiUnavailable,
    InvalidSettings,
    PublishText,
    Report,
    SendText,
    SlipSocketsError,
    SlipSocketsPublisher,
)
from slip_sockets.client.control_client import CONNECT_TIMEOUT_S
from slip_sockets.protocol.events import AnyReport

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PROMISED = (InvalidSettings, ControlApiRefused, ControlApiUnavailable)
KINDS = ("sync", "async")
DONE = b'{"message":"processed successfully","events":[{},{"matched":2,"sent":2,"gone":0,"queued":0}]}'
REPORTS = [None, Report(2, 2, 0, 0)]
TOKEN = b"{TOKEN}"
"""The server puts the token of the request in its place."""

Outcome = list[AnyReport | None] | SlipSocketsError


def response(status: str | int, body: bytes = b"", *headers: str) -> bytes:
    length = "Connection: close" if TOKEN in body else f"Content-Length: {len(body)}"
    head = "\r\n".join([f"HTTP/1.1 {status}", length, *headers])
    return head.encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class PlayedServer:
    """Plays `data` to each connection once it has sent a request, and then ends it."""

    data: bytes = b""
    end: Literal["close", "reset", "wait", "trickle"] = "close"
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    context: ssl.SSLContext | None = None
    """Of a server that speaks TLS."""

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}/control"

    def serve(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                sock.settimeout(10)
                if self.context is not None:
                    sock = self.context.wrap_socket(sock, server_side=True)
                with sock:
                    if not self._plays(sock):
                        return

    def _plays(self, sock: socket.socket) -> bool:
        request = _read_request(sock)
        if request == b"stop":
            return False
        if not request:
            return True
        self.requests.append(request)
        _, _, token = request.partition(b"Authorization: Bearer ")
        data = self.data.replace(TOKEN, token.partition(b"\r\n")[0])
        if self.end == "trickle":
            for byte in data:
                sock.sendall(bytes([byte]))
                if select.select([sock], [], [], 0.02)[0]:
                    return True
        else:
            sock.sendall(data)
        if self.end == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.end in ("wait", "trickle"):
            while sock.recv(65536):
                pass
        return True


def _read_request(sock: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (part := sock.recv(65536)):
            return b""
        received += part
        if received == b"stop":
            return received
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (part := sock.recv(65536)):
        body += part
        received += part
    return received


@contextmanager
def playing(context: ssl.SSLContext | None = None) -> Iterator[PlayedServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = PlayedServer(port=listener.getsockname()[1], context=context)
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            server.context = None
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"stop")
            thread.join()


async def _no_sleep(_: float) -> None:
    pass


def call(kind: str, url: str, *, timeout_s: float = 5, **settings: Any) -> Outcome:
    """Send a batch that is not repeated once it may have had an effect, and return what came of it.

    An error is one of those that the publishers promise, in one line, in time, and shows neither secret nor token.
    """
    batch: Sequence[Any] = [SendText("L0SM9cOFvHcCIhw=", "hi"), PublishText("room", "hi")]
    settings |= {"jwt_secret": SECRET, "timeout_s": timeout_s}
    tokens: list[str] = []
    began_at = time.monotonic()
    try:
        if kind == "sync":
            with _noting(SlipSocketsPublisher(control_api=url, sleep=lambda _: None, **settings), tokens) as publisher:
                reports: list[AnyReport | None] = publisher.send(batch)
                return reports

        async def send() -> list[AnyReport | None]:
            made = AsyncSlipSocketsPublisher(control_api=url, sleep=_no_sleep, **settings)
            async with _noting(made, tokens) as publisher:
                reports: list[AnyReport | None] = await publisher.send(batch)
                return reports

        return asyncio.run(send())
    except PROMISED as error:
        shown = [*(str(error).splitlines() if isinstance(error, InvalidSettings) else [str(error)]), repr(error)]
        shown.append(getattr(error, "body", None) or "")
        assert all(line.isprintable() for line in shown[:-1]), shown
        assert not [each for each in (SECRET, *tokens) if any(each in text for text in shown)]
        return error
    finally:
        assert not timeout_s > 0 or time.monotonic() - began_at < 3 * (CONNECT_TIMEOUT_S + timeout_s)


def _noting(publisher: Any, tokens: list[str]) -> Any:
    mint: Callable[[], str] = publisher._token

    def token() -> str:
        token = mint()
        tokens.extend([token, token.rpartition(".")[2][:20]])
        return token

    publisher._token = token
    return publisher
