"""What it takes when all clients come back at once: `python -m bench.recovering`.

The clients of a channel connect to `slip-sockets dev`, each with the position that it had: all of them have missed
`missed` messages, or none. It is measured until the last one has its `subscribed`.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import time
from dataclasses import dataclass

from .errors import BenchError
from .figures import Figure, figures_table
from .servers import CHANNEL, Running, backend, slip_sockets
from .stubs.backend import Opens

TEXT_BYTES = 200
KEEP = {"count": 1_000, "seconds": 3_600}
HANDSHAKES_AT_ONCE = 500
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Returned:
    """`frames` are those of all clients, `cpu_s` is the server's processor time."""

    seconds: float
    frames: int
    recovered: int
    cpu_s: float


class _Client(asyncio.Protocol):
    """Counts what it receives until `subscribed`, which is behind all that it has missed."""

    def __init__(self, request: bytes) -> None:
        self.received = b""
        self.has_all = asyncio.get_running_loop().create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if b'"slip":"subscribed"' in self.received and self.received.endswith(b"}") and not self.has_all.done():
            self.has_all.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.has_all.done():
            self.has_all.set_exception(BenchError(f"a client was closed after {self.received[:300]!r}"))


def keep(server: Running, count: int) -> list[str]:
    """Publish messages that are kept, and return their positions."""
    target = server.publish_request
    headers = dict(line.split(": ", 1) for line in target.headers.split("\r\n") if line)
    event = {"type": "PUBLISH_TEXT", "channelId": CHANNEL, "data": "x" * TEXT_BYTES, "keep": KEEP}
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    connection.request("POST", target.path, json.dumps({"events": [event] * count}), headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        raise BenchError(f"a publish was refused with {response.status}: {body[:300]!r}")
    return [report["position"] for report in json.loads(body)["events"]]


def come_back(server: Running, clients: int, since: str) -> Returned:
    """Have clients connect that have everything up to a position."""
    before_s = server.usage().cpu_s
    began = time.perf_counter()
    found = asyncio.run(_come_back(server.port, clients, since))
    seconds = time.perf_counter() - began
    frames = sum(received.count(b'"slip":') for received in found)
    recovered = sum(b'"recovered":true' in received for received in found)
    return Returned(seconds, frames, recovered, server.usage().cpu_s - before_s)


async def _come_back(port: int, clients: int, since: str) -> list[bytes]:
    request = (
        f"GET /?since={since} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: slip.v1\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(HANDSHAKES_AT_ONCE)

    async def one() -> _Client:
        async with room:
            _, client = await loop.create_connection(lambda: _Client(request), "127.0.0.1", port)
            await client.has_all
        return client

    async with asyncio.timeout(PATIENCE_S):
        returned = await asyncio.gather(*(one() for _ in range(clients)))
    for client in returned:
        client.transport.close()
    return [client.received for client in returned]


def measure(clients: int, missed: int) -> dict[str, list[Figure]]:
    """Return the figures of both cases. Raises BenchError."""
    figures = {}
    for name, count in ((f"{missed} missed", missed), ("nothing missed", 0)):
        with backend(CHANNEL, Opens.RECOVERING) as backend_port, slip_sockets(backend_port) as server:
            positions = keep(server, 2 * missed)
            returned = come_back(server, clients, positions[-1 - count])
        figures[name] = [
            Figure("recovered", returned.recovered / clients * 100, "%", at_least=100, at_most=100),
            Figure("frames of each", returned.frames / clients, at_least=count + 1, at_most=count + 1),
            Figure("until the last one has all", returned.seconds, "s"),
            Figure("clients", clients / returned.seconds, "/s"),
            Figure("processor time of each", returned.cpu_s / clients * 1e6, "us"),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recovering", description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000, help="(%(default)s)")
    parser.add_argument("--missed", type=int, default=5, help="messages (%(default)s)")
    given = parser.parse_args()
    try:
        print(figures_table(measure(given.clients, given.missed)))
    except BenchError as error:
        sys.exit(f"python -m bench.recovering: {error}")


if __name__ == "__main__":
    main()
