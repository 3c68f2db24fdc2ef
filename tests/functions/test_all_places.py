"""The functions, the development server and `check` send a backend the same bytes, and judge its response alike."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer

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
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(StreamRequestHandler):
    server: Backend

    def handle(self) -> None:
        self.server.targets.append(self.rfile.readline().decode("latin-1").split(" ")[1])
        length = 0
        while (line := self.rfile.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        connection_id = json.loads(self.rfile.read(length))["connectionId"]
        body = json.dumps({"events": [{"type": "ACCEPT", "connectionId": connection_id}]}).encode()
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


async def status_in_dev(url: str) -> int:
    async with running(url) as server, raw_client(server) as client:
        client.send(handshake())
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
