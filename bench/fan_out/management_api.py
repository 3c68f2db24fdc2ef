"""A management API with a latency, a cap and a memory, fast enough not to be what is measured.

    python -m bench.fan_out.management_api --latency 0.02 --cap 2000 --burst 250

prints its port and serves, on loopback:

    POST   /<stage>/@connections/<id>   200; 410 where gone; 429 where slow, or beyond the cap
    DELETE /<stage>/@connections/<id>   204, likewise
    GET    /<stage>/@connections/<id>   200, likewise
    GET    /stats                       JSON: calls, statuses, delivered, connections, duplicates, out_of_order,
                                        first_at and last_at (Unix seconds of the first and last delivery, or null)
    GET    /delivered?id=<id>           JSON: the marks of the texts that a connection got, in order
    POST   /reset?cap=..&burst=..&latency=..&gone_every=..&gone_fraction=..&slow=<id>&slow=<id>
                                        forgets all, and sets the options that are given anew; cap=0 is none

A text's mark is the number it begins with, or minus its CRC. A duplicate is a mark that the connection has got before;
out of order is a number below an earlier one. Whether a connection is gone depends on its id alone: see `is_gone`.
Answers to requests that do not count as calls (`/stats` and so on) have no latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
import urllib.parse
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field

_REQUEST = re.compile(rb"(GET|POST|DELETE) (\S+) HTTP/1\.1")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_NUMBER = re.compile(rb"[0-9]{1,15}")
_CONNECTIONS = re.compile(rb"/(?:@|%40)connections/")


def _answer(status: bytes, body: bytes = b"", error: bytes = b"") -> bytes:
    """As large as API Gateway's."""
    name = b"x-amzn-ErrorType: %s\r\n" % error if error else b""
    length = b"" if status.startswith(b"204") else b"Content-Length: %d\r\n" % len(body)
    return (
        b"HTTP/1.1 %s\r\nDate: Wed, 01 Jan 2025 00:00:00 GMT\r\nContent-Type: application/json\r\n%s"
        b"Connection: keep-alive\r\nx-amzn-RequestId: 00000000-0000-0000-0000-000000000000\r\n"
        b"x-amz-apigw-id: AAAAAAAAAAAAAAA=\r\n%s\r\n%s"
    ) % (status, length, name, body)


_DONE = {
    b"POST": (200, _answer(b"200 OK")),
    b"DELETE": (204, _answer(b"204 No Content")),
    b"GET": (200, _answer(b"200 OK", b'{"connectedAt":"2025-01-01T00:00:00Z"}')),
}
_GONE = (410, _answer(b"410 Gone", b'{"message":null}', b"GoneException"))
_LIMITED = (429, _answer(b"429 Too Many Requests", b'{"message":"Limit Exceeded"}', b"LimitExceededException"))


@dataclass
class Options:
    """`cap` is in calls a second and lets `burst` of them come at once."""

    latency: float = 0.0
    cap: float = 0.0
    burst: float = 250.0
    gone_every: int = 0
    gone_fraction: float = 0.0
    slow: set[str] = field(default_factory=set)


def is_gone(connection_id: str, *, gone_every: int = 0, gone_fraction: float = 0.0) -> bool:
    """By the CRC-32 of the id: each that `gone_every` divides, or the lowest `gone_fraction` of them."""
    if not (gone_every or gone_fraction):
        return False
    # A CRC is linear: of ids that are numbered, neither its low nor its high bits are spread well.
    crc = zlib.crc32(connection_id.encode()) * 0x9E3779B1 % 2**32
    return crc < gone_fraction * 2**32 or bool(gone_every and crc % gone_every == 0)


class ManagementApi:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.forget()

    def forget(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.marks: dict[str, list[int]] = {}
        self.duplicates = self.out_of_order = 0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._tokens = self.options.burst
        self._filled_at = time.monotonic()

    def call(self, method: bytes, connection_id: str, body: bytes) -> bytes:
        status, answer = self._judge(method, connection_id)
        self.statuses[status] += 1
        if status == 200 and method == b"POST":
            self._deliver(connection_id, body)
        return answer

    def ask(self, method: bytes, path: str) -> bytes | None:
        """Serve what is not the management API's."""
        url = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(url.query)
        if (method, url.path) == (b"GET", "/stats"):
            return json.dumps(self._stats()).encode()
        if (method, url.path) == (b"GET", "/delivered"):
            return json.dumps(self.marks.get(query["id"][0], [])).encode()
        if (method, url.path) == (b"POST", "/reset"):
            for name in ("latency", "cap", "burst", "gone_fraction"):
                if name in query:
                    setattr(self.options, name, float(query[name][0]))
            if "gone_every" in query:
                self.options.gone_every = int(query["gone_every"][0])
            if "slow" in query:
                self.options.slow = set(query["slow"])
            self.forget()
            return b"{}"
        return None

    def _judge(self, method: bytes, connection_id: str) -> tuple[int, bytes]:
        options = self.options
        if options.cap:
            now = time.monotonic()
            self._tokens = min(options.burst, self._tokens + (now - self._filled_at) * options.cap)
            self._filled_at = now
            if self._tokens < 1:
                return _LIMITED
            self._tokens -= 1
        if is_gone(connection_id, gone_every=options.gone_every, gone_fraction=options.gone_fraction):
            return _GONE
        if connection_id in options.slow:
            return _LIMITED
        return _DONE[method]

    def _deliver(self, connection_id: str, body: bytes) -> None:
        self.last_at = time.time()
        if self.first_at is None:
            self.first_at = self.last_at
        number = _NUMBER.match(body)
        mark = int(number[0]) if number else -zlib.crc32(body)
        marks = self.marks.get(connection_id)
        if marks is None:
            self.marks[connection_id] = [mark]
            return
        if mark in marks:
            self.duplicates += 1
        elif number and mark < max(marks):
            self.out_of_order += 1
        marks.append(mark)

    def _stats(self) -> dict[str, object]:
        return {
            "calls": self.statuses.total(),
            "statuses": self.statuses,
            "delivered": sum(map(len, self.marks.values())),
            "connections": len(self.marks),
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }


class _Later:
    """Writes answers after the latency, by one timer for all of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, asyncio.Transport, bytes]] = deque()

    def write(self, transport: asyncio.Transport, answer: bytes, latency: float) -> None:
        due = self._loop.time() + latency
        self._queue.append((due, transport, answer))
        if len(self._queue) == 1:
            self._loop.call_at(due, self._flush)

    def _flush(self) -> None:
        # Those of the same millisecond go together; epoll waits no shorter.
        now = self._loop.time() + 0.0005
        while self._queue and self._queue[0][0] <= now:
            _, transport, answer = self._queue.popleft()
            if not transport.is_closing():
                transport.write(answer)
        if self._queue:
            self._loop.call_at(self._queue[0][0], self._flush)


class _Protocol(asyncio.Protocol):
    def __init__(self, api: ManagementApi, later: _Later) -> None:
        self._api = api
        self._later = later
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < stop:
                return
            body = self._received[end + 4 : stop]
            line = _REQUEST.match(self._received)
            self._received = self._received[stop:]
            if line is None:
                self._transport.abort()
                return
            self._serve(line[1], line[2], body)

    def _serve(self, method: bytes, path: bytes, body: bytes) -> None:
        *_, name = _CONNECTIONS.split(path, maxsplit=1)
        if name is not path and len(name) < len(path):
            answer = self._api.call(method, urllib.parse.unquote(name.decode()), body)
            self._later.write(self._transport, answer, self._api.options.latency)
            return
        found = self._api.ask(method, path.decode())
        self._transport.write(_answer(b"404 Not Found", b"{}") if found is None else _answer(b"200 OK", found))


async def serve(options: Options) -> None:
    api, later = ManagementApi(options), _Later()
    server = await asyncio.get_running_loop().create_server(lambda: _Protocol(api, later), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m bench.fan_out.management_api")
    parser.add_argument("--latency", type=float, default=default.latency, help="seconds (%(default)s)")
    parser.add_argument("--cap", type=float, default=default.cap, help="calls a second; 0 is none (%(default)s)")
    parser.add_argument("--burst", type=float, default=default.burst, help="calls at once under a cap (%(default)s)")
    parser.add_argument("--gone-every", type=int, default=default.gone_every, metavar="N")
    parser.add_argument("--gone-fraction", type=float, default=default.gone_fraction)
    parser.add_argument("--slow", action="append", default=[], metavar="ID", help="answers 429 every time")
    asked = parser.parse_args()
    options = Options(asked.latency, asked.cap, asked.burst, asked.gone_every, asked.gone_fraction, set(asked.slow))
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
