"""What many members of one channel take: `python -m bench.presence`.

Clients of `slip.v1`, each another user, become members of a channel of `slip-sockets dev`. Then some of them leave and
come back at once, as when a backend is deployed; one more joins, and leaves; and the members are asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence

import aiohttp

from .errors import BenchError
from .figures import Figure, figures_table
from .servers import CHANNEL, Running, backend, slip_sockets
from .stubs.backend import Opens

HANDSHAKES_AT_ONCE = 500
PATIENCE_S = 300.0
PAUSE_S = 0.02
QUIET_S = 20.0
"""Longer than the grace and the pause between two counts: what comes after a storm has come by then."""


class _Client(asyncio.Protocol):
    """Counts its presence frames; `count` is that of the last."""

    def __init__(self, user: str, port: int) -> None:
        self.user = user
        self.frames = 0
        self.count = 0
        self._port = port
        self._received = bytearray()
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        transport.write(
            f"GET /?user={self.user} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: slip.v1\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self.is_open:
            head, end, rest = received.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                raise BenchError(f"a client was refused: {bytes(head)!r}")
            self.is_open = True
            received[:] = rest
        while len(received) >= 2:
            size, at = received[1], 2
            if size == 126:
                size, at = int.from_bytes(received[2:4], "big"), 4
            elif size == 127:
                size, at = int.from_bytes(received[2:10], "big"), 10
            if len(received) < at + size:
                return
            frame = bytes(received[at : at + size])
            del received[: at + size]
            if b'"slip":"presence"' in frame:
                self.frames += 1
                self.count = int(json.loads(frame)["count"])


async def _connect(port: int, users: Sequence[str]) -> list[_Client]:
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(HANDSHAKES_AT_ONCE)

    async def one(user: str) -> _Client:
        async with room:
            _, client = await loop.create_connection(lambda: _Client(user, port), "127.0.0.1", port)
            await _until(lambda: client.is_open)
        return client

    clients = await asyncio.gather(*(one(user) for user in users))
    await _until(lambda: all(client.frames for client in clients))
    return clients


async def _until(is_so: Callable[[], bool]) -> float:
    """Return how long it took."""
    began = time.perf_counter()
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - an event of each of thousands of clients would cost more
            await asyncio.sleep(PAUSE_S)
    return time.perf_counter() - began


async def _ask(server: Running) -> tuple[float, int, dict[str, object]]:
    """Return how long PRESENCE took, the bytes of its response, and the report."""
    target = server.publish_request
    headers = dict(line.split(": ", 1) for line in target.headers.split("\r\n") if line)
    body = json.dumps({"events": [{"type": "PRESENCE", "channelId": CHANNEL}]})
    began = time.perf_counter()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{target.port}{target.path}", data=body, headers=headers) as response,
    ):
        received = await response.read()
        if response.status != 200:
            raise BenchError(f"PRESENCE was refused with {response.status}: {received[:300]!r}")
    (report,) = json.loads(received)["events"]
    return time.perf_counter() - began, len(received), report


def _frames(clients: Sequence[_Client]) -> int:
    return sum(client.frames for client in clients)


async def _measure(server: Running, members: int, storm: int) -> dict[str, list[Figure]]:
    users = [f"user-{number}" for number in range(members)]
    began = time.perf_counter()
    clients = await _connect(server.port, users)
    has_joined_s = time.perf_counter() - began
    everybody_knows_s = has_joined_s + await _until(lambda: all(client.count == members for client in clients))
    of_joining = _frames(clients)

    stayed, left = clients[storm:], clients[:storm]
    before = _frames(stayed)
    for client in left:
        client.transport.close()
    back = await _connect(server.port, users[:storm])
    await asyncio.sleep(QUIET_S)
    of_storm, of_those_back = _frames(stayed) - before, _frames(back)
    clients = [*stayed, *back]

    before, began_cpu_s = _frames(clients), server.usage().cpu_s
    (one,) = await _connect(server.port, ["somebody"])
    joined_s = await _until(lambda: all(client.count == members + 1 for client in clients))
    of_join, join_cpu_s = _frames(clients) + one.frames - before, server.usage().cpu_s - began_cpu_s
    before = _frames(clients)
    one.transport.close()
    left_s = await _until(lambda: all(client.count == members for client in clients))
    of_leave = _frames(clients) - before

    ask_s, ask_bytes, report = await _ask(server)
    listed = report["members"]
    assert isinstance(listed, list)
    for client in clients:
        client.transport.close()
    return {
        f"{members} join": [
            Figure("until the last is in", has_joined_s, "s"),
            Figure("until all know of all", everybody_knows_s, "s"),
            Figure("frames of each", of_joining / members),
        ],
        f"{storm} leave and come back": [
            Figure("frames to those who stayed", of_storm, at_most=0),
            Figure("frames of each who came back", of_those_back / storm, at_least=1, at_most=1),
        ],
        "one joins": [
            Figure("until all know", joined_s, "s"),
            Figure("frames", of_join),
            Figure("processor time", join_cpu_s * 1e3, "ms"),
        ],
        "one leaves": [Figure("until all know, with the grace", left_s, "s"), Figure("frames", of_leave)],
        "PRESENCE": [
            Figure("counted", float(str(report["count"])), at_least=members, at_most=members),
            Figure("listed", len(listed)),
            Figure("time", ask_s * 1e3, "ms"),
            Figure("bytes", ask_bytes),
        ],
    }


def measure(members: int, storm: int) -> dict[str, list[Figure]]:
    """Return the figures. Raises BenchError."""
    with backend(CHANNEL, Opens.MEMBERS) as backend_port, slip_sockets(backend_port) as server:
        return asyncio.run(_measure(server, members, storm))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.presence", description=__doc__)
    parser.add_argument("--members", type=int, default=10_000, help="(%(default)s)")
    parser.add_argument("--storm", type=int, default=1_000, help="members who leave and come back (%(default)s)")
    given = parser.parse_args()
    try:
        print(figures_table(measure(given.members, given.storm)))
    except BenchError as error:
        sys.exit(f"python -m bench.presence: {error}")


if __name__ == "__main__":
    main()
