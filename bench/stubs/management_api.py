"""A management API with a latency, a cap and a memory, fast enough not to be what is measured.

    python -m bench.stubs.management_api --latency 0.02 --cap 2000 --burst 250

prints its port and serves, on loopback:

    POST /<stage>/@connections/<id>   200; 429 beyond the cap
    GET  /stats                       JSON: calls, delivered, connections, duplicates; first_at and last_at (Unix
                                      seconds of the first and last delivery, or null)
    POST /reset                       resets the stats

A duplicate is a text that the connection has received before. Requests for stats have no latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
import urllib.parse
from collections import deque
from dataclasses import dataclass

from .http import HttpConnection, path_and_query, serve

_POST = re.compile(rb"POST \S*?/(?:@|%40)connections/(\S+) HTTP/1\.1")


def _response(status: bytes, body: bytes = b"", error: bytes = b"") -> bytes:
    """As large as API Gateway's."""
    name = b"x-amzn-ErrorType: %s\r\n" % error if error else b""
    return (
        b"HTTP/1.1 %s\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\nConnection: keep-alive\r\nx-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
        b"x-amz-apigw-id: AAAAAAAAAAAAAAA=\r\n%s\r\n%s"
    ) % (status, len(body), name, body)


_DONE = _response(b"200 OK")
_LIMITED = _response(b"429 Too Many Requests", b'{"message":"Limit Exceeded"}', b"LimitExceededException")


@dataclass(frozen=True, slots=True)
class Capacity:
    """`latency` is in seconds. `cap` is in calls a second, 0 for no cap; `burst` of them may come at once."""

    latency: float = 0.0
    cap: float = 0.0
    burst: float = 250.0


class ManagementApi:
    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._tokens = capacity.burst
        self._filled_at = time.monotonic()
        self.reset()

    def reset(self) -> None:
        self._calls = self._delivered = self._duplicates = 0
        self._texts: dict[str, set[bytes]] = {}
        self._first_at: float | None = None
        self._last_at: float | None = None

    def post(self, connection_id: str, body: bytes) -> bytes:
        """Return the response to a call."""
        self._calls += 1
        if self.capacity.cap and not self._take_token():
            return _LIMITED
        self._last_at = time.time()
        if self._first_at is None:
            self._first_at = self._last_at
        texts = self._texts.setdefault(connection_id, set())
        self._delivered += 1
        self._duplicates += body in texts
        texts.add(body)
        return _DONE

    def stats(self) -> dict[str, object]:
        return {
            "calls": self._calls,
            "delivered": self._delivered,
            "connections": len(self._texts),
            "duplicates": self._duplicates,
            "first_at": self._first_at,
            "last_at": self._last_at,
        }

    def _take_token(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self.capacity.burst, self._tokens + (now - self._filled_at) * self.capacity.cap)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _DelayedWriter:
    """Writes responses after the latency, by one timer for all of them."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, asyncio.Transport, bytes]] = deque()

    def write(self, transport: asyncio.Transport, response: bytes) -> None:
        due = self._loop.time() + self._latency
        self._queue.append((due, transport, response))
        if len(self._queue) == 1:
            self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        # Those of the same millisecond go together; epoll waits no shorter.
        now = self._loop.time() + 0.0005
        while self._queue and self._queue[0][0] <= now:
            _, transport, response = self._queue.popleft()
            if not transport.is_closing():
                transport.write(response)
        if self._queue:
            self._loop.call_at(self._queue[0][0], self._flush)


class _Connection(HttpConnection):
    def __init__(self, api: ManagementApi, writer: _DelayedWriter) -> None:
        super().__init__()
        self._api = api
        self._writer = writer

    def on_request(self, head: bytes, body: bytes) -> None:
        post = _POST.match(head)
        if post is not None:
            response = self._api.post(urllib.parse.unquote(post[1].decode()), body)
            self._writer.write(self.transport, response)
            return
        match path_and_query(head):
            case "/stats", _:
                self.transport.write(_response(b"200 OK", json.dumps(self._api.stats()).encode()))
            case "/reset", _:
                self._api.reset()
                self.transport.write(_response(b"200 OK", b"{}"))
            case _:
                self.transport.write(_response(b"404 Not Found", b"{}"))


async def _serve(capacity: Capacity) -> None:
    api, writer = ManagementApi(capacity), _DelayedWriter(capacity.latency)
    await serve(lambda: _Connection(api, writer))


def main() -> None:
    default = Capacity()
    parser = argparse.ArgumentParser(prog="python -m bench.stubs.management_api")
    parser.add_argument("--latency", type=float, default=default.latency, help="seconds (%(default)s)")
    parser.add_argument("--cap", type=float, default=default.cap, help="calls a second; 0 for no cap (%(default)s)")
    parser.add_argument("--burst", type=float, default=default.burst, help="calls at once under a cap (%(default)s)")
    options = parser.parse_args()
    asyncio.run(_serve(Capacity(options.latency, options.cap, options.burst)))


if __name__ == "__main__":
    main()
