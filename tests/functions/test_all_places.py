"""The functions, the development server and `check` send a backend the same bytes, and judge its response alike."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from slip_sockets.check.target import Target
from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http.reader import MAX_HEAD_BYTES, MAX_LINE_BYTES

from ..contract.raw import handshake, raw_client
from ..contract.wire import TIMEOUT_S, running
from .conftest import Deployment, event


class Backend(ThreadingTCPServer):
    """Sends `response` to each POST, with an ACCEPT in the place of `BODY`. It is at `url`, without a path."""

    daemon_threads = True

    def __init__(self, response: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.response = response
        self.targets: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(StreamRequestHandler):
    server: Backend

    def handle(self) -> None:
        self.server.targets.append(self.rfile.readline().decode("latin-1").split(" ")[1])
        length = 0
        while (line := self.rfile.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        received = json.loads(self.rfile.read(length))
        self.server.bodies.append(received)
        body = json.dumps({"events": [{"type": "ACCEPT", "connectionId": received["connectionId"]}]}).encode()
        framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        self.wfile.write(self.server.response.replace(b"BODY", framed))


@contextmanager
def backend_sending(response: bytes) -> Iterator[Backend]:
    with Backend(response) as backend:
        thread = threading.Thread(target=backend.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield backend
        finally:
            backend.shutdown()
            thread.join()


async def status_in_dev(url: str, request: bytes = handshake()) -> int:
    async with running(url) as server, raw_client(server) as client:
        client.send(request)
        status, _ = await client.read_head()
        return 200 if status == 101 else status


async def failure_in_check(url: str) -> HttpFailure | None:
    async with Target(url, TIMEOUT_S) as target:
        attempt = await target.post({}, b'{"connectionId": "AAAAAAAAAAAAAAA=", "metadata": null, "events": []}')
        return attempt.failure


def in_all_places(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, url: str) -> tuple[int, HttpFailure | None]:
    """Return the status that a client gets that connects, 200 where it is let in, and how `check` failed."""
    monkeypatch.setenv("TARGET_URL", url)
    status: int = deployment.call("websocket", event("websocket_connect"))["statusCode"]
    assert asyncio.run(status_in_dev(url)) == status
    return status, asyncio.run(failure_in_check(url))


OK = b"HTTP/1.1 200 OK\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
LONGEST = b"X: ".ljust(MAX_LINE_BYTES, b"x") + b"\r\n"
MANY = b"X-Debug-12345: 12345678901234567890\r\n"
RESPONSES: dict[str, tuple[bytes, int, HttpFailure | None]] = {
    "100": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"BODY", 200, None),
    "103": (HINTS + OK + b"BODY", 200, None),
    "several before it": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + 3 * HINTS + OK + b"BODY",
        200,
        None,
    ),
    "103 before a refusal": (HINTS + b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 500, None),
    "103 and no more": (HINTS, 502, HttpFailure.BROKEN_OFF),
    "101 unasked": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502, HttpFailure.NOT_HTTP),
    "204 with a body": (b"HTTP/1.1 204 No Content\r\nBODY", 400, None),
    "304 with a body": (b"HTTP/1.1 304 Not Modified\r\nBODY", 500, None),
    "a header of 9 KB": (OK + b"X: " + b"x" * 9 * 1024 + b"\r\nBODY", 200, None),
    "the longest header": (OK + LONGEST + b"BODY", 200, None),
    "a header that is too long": (OK + b"x" + LONGEST + b"BODY", 400, HttpFailure.TOO_LARGE),
    "many headers": (OK + 1000 * MANY + b"BODY", 200, None),
    "too many headers": (OK + (MAX_HEAD_BYTES // len(MANY)) * MANY + b"BODY", 400, HttpFailure.TOO_LARGE),
}


@pytest.mark.parametrize(("response", "status", "failure"), RESPONSES.values(), ids=RESPONSES.keys())
def test_response_is_judged_alike(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    response: bytes,
    status: int,
    failure: HttpFailure | None,
) -> None:
    with backend_sending(response) as backend:
        assert in_all_places(deployment, monkeypatch, f"{backend.url}/slip") == (status, failure)


TARGETS = {
    "": "/",
    "?": "/?",
    "/slip?code=a%2Fb%3D%3D": "/slip?code=a%2Fb%3D%3D",
    "//a//b;c/%7E~/+%20/%e4?%7e+%E4;d=//&e": "//a//b;c/%7E~/+%20/%e4?%7e+%E4;d=//&e",
}


@pytest.mark.parametrize("target", TARGETS)
def test_url_goes_out_as_it_was_set(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    with backend_sending(OK + b"BODY") as backend:
        assert in_all_places(deployment, monkeypatch, backend.url + target) == (200, None)
    assert set(backend.targets) == {TARGETS[target]}
    assert len(backend.targets) >= 3


HEADERS: dict[str, tuple[list[tuple[str, bytes]], dict[str, str]]] = {
    "two spellings": ([("X-A", b"1"), ("X-B", b""), ("x-a", b"2")], {"x-a": "2", "X-B": ""}),
    "a repeated one": ([("X-A", b"1"), ("X-A", b"2")], {"X-A": "2"}),
    "UTF-8": ([("X-A", "caf\u00e9 \u20ac \U0001f600".encode())], {"X-A": "caf\u00e9 \u20ac \U0001f600"}),
    "Latin-1": ([("X-A", b"caf\xe9")], {"X-A": "caf\u00e9"}),
    "both at once": ([("X-A", b"\xc3\xa9\xe9")], {"X-A": "\u00c3\u00a9\u00e9"}),
}


def decoded_as_aws_might(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return value.decode("latin-1")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize(("written", "expected"), HEADERS.values(), ids=HEADERS.keys())
def test_headers_of_the_handshake_arrive_alike(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    written: list[tuple[str, bytes]],
    expected: dict[str, str],
) -> None:
    payload = event("websocket_connect")
    payload["headers"] |= {name: decoded_as_aws_might(value, encoding) for name, value in written}
    request = handshake()[:-2] + b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in written) + b"\r\n"
    with backend_sending(OK + b"BODY") as backend:
        monkeypatch.setenv("TARGET_URL", backend.url)
        assert deployment.call("websocket", payload)["statusCode"] == 200
        assert asyncio.run(status_in_dev(backend.url, request)) == 200
    opens = [body["metadata"]["headers"] for body in backend.bodies if body["events"][0]["type"] == "OPEN"]
    assert len(opens) == 2
    for headers in opens:
        assert {name: value for name, value in headers.items() if name.lower() in ("x-a", "x-b")} == expected
