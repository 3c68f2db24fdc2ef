"""The first call of a function after it was frozen, when the peer has reset its kept connection meanwhile.

Lambda freezes a function between events: what happens to its connections then, it learns with the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from statistics import median
from typing import NamedTuple, Self

from slip_sockets.aws.client import MAX_RESPONSE_BYTES, aws_http
from slip_sockets.http.client import Client, Request

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which close() sends RST."""


class Call(NamedTuple):
    """Medians, in seconds."""

    kept_s: float
    new_s: float
    after_reset_s: float


def first_calls(rounds: int) -> Call:
    """Return what a call takes over a kept connection, over a new one, and over one that was reset during a freeze."""
    kept, new, after_reset = [], [], []
    with asyncio.Runner() as runner:
        for _ in range(rounds):
            http = aws_http()
            with _Peer() as peer:
                new.append(_timed(runner, http, peer.url))
                kept.append(_timed(runner, http, peer.url))
                peer.reset()  # while no event loop runs, as in a freeze
                after_reset.append(_timed(runner, http, peer.url))
                runner.run(http.aclose())
    return Call(median(kept), median(new), median(after_reset))


def _timed(runner: asyncio.Runner, http: Client, url: str) -> float:
    async def call() -> float:
        began = time.perf_counter()
        await http.request(Request("POST", url, {}, b"{}", is_repeatable=True), max_bytes=MAX_RESPONSE_BYTES)
        return time.perf_counter() - began

    return runner.run(call())


class _Peer:
    """Responds to two requests over a connection, resets it, and responds to one over the next."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._wanted, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._wanted.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def reset(self) -> None:
        self._wanted.set()
        self._done.wait()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            first, _ = self._listener.accept()
            _respond(first)
            _respond(first)
            self._wanted.wait()
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            first.close()
            self._done.set()
            with self._listener.accept()[0] as second:
                _respond(second)


def _respond(connection: socket.socket) -> None:
    received = b""
    while not received.endswith(b"{}"):
        received += connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
