"""A small real HTTP server with responses by a test, which keeps the requests."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """The operation in AWS's JSON protocols, such as `PutItem`."""
        return self.headers.get("X-Amz-Target", "").rpartition(".")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object, status: int = 200) -> Answer:
        return cls(status, json.dumps(value).encode())

    @classmethod
    def error(cls, code: str, status: int = 400, **more: object) -> Answer:
        """An error of AWS's JSON protocols."""
        return cls.of({"__type": f"com.amazonaws#{code}", "message": "as the test says", **more}, status)


RESET = None
"""In the place of an Answer: the connection is reset."""

Script = Callable[[Request], Answer | None]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


class HttpStub:
    def __init__(self, script: Script = lambda _: Answer()) -> None:
        self.script = script
        self.requests: list[Request] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers), body)
                stub.requests.append(request)
                answer = stub.script(request)
                if answer is None:
                    linger_no_more = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_no_more)
                    return
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names

            def log_message(self, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.requests]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def stub() -> Iterator[HttpStub]:
    with contextlib.closing(HttpStub()) as stub:
        yield stub


def forward_to(url: str) -> Script:
    """Return a script that passes all requests on."""
    pool = urllib3.PoolManager()

    def forward(request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name != "Content-Length"}
        answer = pool.request(request.method, url + request.path, body=request.body, headers=headers)
        return Answer(answer.status, answer.data)

    return forward
