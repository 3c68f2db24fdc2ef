"""What is measured. Each case is a run: a fresh backend, a fresh server, one number."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import BenchError
from .load import Clients
from .servers import CHANNEL, StartServer, backend

ECHO_PAYLOAD = b"x" * 64
SETTLE_S = 1.0
"""Pause after the handshakes: Pushpin subscribes only then, and their memory is to be freed first."""


@dataclass(frozen=True, slots=True)
class Options:
    """Sizes of a run. `publishers` and `window` belong to fan-out."""

    seconds: float = 5.0
    warm_up_s: float = 1.0
    connections: int = 50
    subscribers: int = 1000
    publishers: int = 4
    window: int = 8
    idle_sockets: int = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """A run's number, and a remark about it."""

    value: float
    remark: str = ""


Measure = Callable[[StartServer, Options], Measured]


def echo(start_server: StartServer, options: Options) -> Measured:
    """Round trips a second: client, server, backend, server, client."""
    with (
        backend() as backend_port,
        start_server(backend_port) as server,
        Clients(server.port, options.connections) as clients,
    ):
        clients.echo(ECHO_PAYLOAD, seconds=options.warm_up_s)
        before_s = server.usage().cpu_s
        echoes = clients.echo(ECHO_PAYLOAD, seconds=options.seconds)
        cost = _cost(server.usage().cpu_s - before_s, echoes.round_trips)
        return Measured(echoes.round_trips / echoes.seconds, cost)


def fan_out(start_server: StartServer, options: Options) -> Measured:
    """Deliveries a second of one channel."""
    with (
        backend(CHANNEL) as backend_port,
        start_server(backend_port) as server,
        Clients(server.port, options.subscribers) as clients,
    ):
        time.sleep(SETTLE_S)
        before_s = server.usage().cpu_s
        done = clients.fan_out(
            server.publish_request, publishers=options.publishers, window=options.window, seconds=options.seconds
        )
        if done.arrived == 0:
            raise BenchError("no published message arrived")
        cost = _cost(server.usage().cpu_s - before_s, done.arrived)
        lost = done.expected - done.arrived
        return Measured(done.arrived / done.seconds, f"{cost}, {lost / done.expected:.2%} lost" if lost else cost)


def idle(start_server: StartServer, options: Options) -> Measured:
    """Resident memory of idle sockets, in megabytes (10^6 bytes)."""
    with backend() as backend_port, start_server(backend_port) as server:
        time.sleep(SETTLE_S)
        before = server.usage().rss_bytes
        with Clients(server.port, options.idle_sockets):
            time.sleep(SETTLE_S)
            after = server.usage().rss_bytes
        return Measured((after - before) / 1e6, f"{before / 1e6:.0f} MB before")


def _cost(cpu_s: float, count: int) -> str:
    """Return the processor time of the server for each: other programs on the machine disturb that the least."""
    return f"{cpu_s / count * 1e6:,.0f} us of processor time each"
