"""What order costs: `python -m bench.inbound` has `slip-sockets dev --inbound ordered` beside `--inbound direct`.

Both run in turns, `rounds` times; each figure is the median of the runs, or of their ratios.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles

from .errors import BenchError
from .figures import Figure, figures_table
from .load import Clients
from .servers import Running, backend, slip_sockets

PAYLOAD = b"x" * 64
WINDOW = 64
CONNECTIONS = 1_000
OTHERS = 50
WAYS = ("direct", "ordered")

Case = Callable[[Running, float], float]
"""Measures a server that runs, for so many seconds."""


def one_at_a_time(server: Running, seconds: float) -> float:
    """Milliseconds of a round trip: one client, one text at a time."""
    with Clients(server.port, 1) as clients:
        return median(clients.echo(PAYLOAD, seconds=seconds).latencies_s) * 1000


def processor_time(server: Running, seconds: float) -> float:
    """Microseconds of the server's processor for each of those texts."""
    with Clients(server.port, 1) as clients:
        before_s = server.usage().cpu_s
        round_trips = clients.echo(PAYLOAD, seconds=seconds).round_trips
        return (server.usage().cpu_s - before_s) / round_trips * 1e6


def one_stream(server: Running, seconds: float) -> float:
    """Texts a second of one client, with WINDOW of them on their way."""
    with Clients(server.port, 1) as clients:
        return clients.stream(PAYLOAD, window=WINDOW, seconds=seconds)


def many(server: Running, seconds: float) -> float:
    """Texts a second of CONNECTIONS clients, each with one on its way."""
    with Clients(server.port, CONNECTIONS) as clients:
        return len((echoes := clients.echo(PAYLOAD, seconds=seconds)).latencies_s) / echoes.seconds


def others(server: Running, seconds: float, *, is_slow: bool = False) -> float:
    """Milliseconds within which 99 of 100 texts of OTHERS clients are back; beside them a client may wait for long."""
    with Clients(server.port, 1) as slow, Clients(server.port, OTHERS) as clients:
        if is_slow:
            slow.send(b"slow")
        return quantiles(clients.echo(PAYLOAD, seconds=seconds).latencies_s, n=100)[98] * 1000


CASES: dict[str, tuple[Case, str]] = {
    "a round trip": (one_at_a_time, "ms"),
    "its processor time": (processor_time, "us"),
    f"one client, {WINDOW} on their way": (one_stream, "/s"),
    f"{CONNECTIONS:,} clients": (many, "/s"),
    f"p99 of {OTHERS} clients": (others, "ms"),
    f"p99 of {OTHERS} beside a slow one": (partial(others, is_slow=True), "ms"),
}


def measure(rounds: int, seconds: float) -> dict[str, list[Figure]]:
    """Return the figures of each case. Raises BenchError."""
    runs: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, (case, _) in CASES.items():
            for way in WAYS:
                with backend() as backend_port, slip_sockets(backend_port, "--inbound", way) as server:
                    runs.setdefault((name, way), []).append(case(server, seconds))
    figures = {}
    for name, (_, unit) in CASES.items():
        direct, ordered = runs[name, "direct"], runs[name, "ordered"]
        ratio = median(theirs / ours for ours, theirs in zip(direct, ordered, strict=True))
        figures[name] = [
            Figure("direct", median(direct), unit),
            Figure("ordered", median(ordered), unit),
            Figure("ordered to direct", ratio),
        ]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inbound", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (%(default)s), by median")
    parser.add_argument("--seconds", type=float, default=3, help="length of a run (%(default)s)")
    given = parser.parse_args()
    try:
        print(figures_table(measure(given.rounds, given.seconds)))
    except BenchError as error:
        sys.exit(f"python -m bench.inbound: {error}")


if __name__ == "__main__":
    main()
