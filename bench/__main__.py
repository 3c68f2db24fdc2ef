"""`python -m bench`: all cases, or those named, in rounds that alternate between ours and Pushpin.

`synth` runs only if it is named: it measures the stacks, without Pushpin.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence

from . import synth
from .cases import Measure, Options, echo, fan_out, idle
from .comparison import Comparison, Goal, comparison_table
from .errors import BenchError
from .servers import StartServer, pushpin, slip_sockets, slip_sockets_in_grip
from .suite import report

CASES: dict[str, tuple[Measure, StartServer, str, Goal]] = {
    "echo": (echo, slip_sockets, "/s", Goal(ratio_at_least=0.5)),
    "fanout": (fan_out, slip_sockets, "/s", Goal(ratio_at_least=1)),
    "idle": (idle, slip_sockets, "MB", Goal(at_most=40)),
    "grip-echo": (echo, slip_sockets_in_grip, "/s", Goal(ratio_at_least=0.5)),
    "grip-fanout": (fan_out, slip_sockets_in_grip, "/s", Goal(ratio_at_least=1)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    for name in given.cases:
        if name not in (*CASES, "synth"):
            parser.error(f"there is no case {name!r}, only {', '.join((*CASES, 'synth'))}")
    if "synth" in given.cases:
        try:
            print(synth.measure(report))
        except BenchError as error:
            sys.exit(f"python -m bench: {error}")
        given.cases.remove("synth")
        if not given.cases:
            return
    options = Options(
        seconds=given.seconds,
        warm_up_s=given.warm_up,
        connections=given.connections,
        subscribers=given.subscribers,
        publishers=given.publishers,
        window=given.window,
        idle_sockets=given.idle_sockets,
    )
    titles = {
        "echo": f"echo through the backend, {options.connections:,} connections",
        "fanout": f"deliveries of one channel, {options.subscribers:,} subscribers",
        "idle": f"memory of {options.idle_sockets:,} idle sockets",
    }
    titles |= {f"grip-{name}": f"GRIP: {titles[name]}" for name in ("echo", "fanout")}
    others: dict[str, StartServer] = {}
    if given.pushpin and shutil.which("pushpin") is not None:
        others["Pushpin"] = pushpin
    elif given.pushpin:
        report("Pushpin is not installed (Debian's package: pushpin). Only ours is measured.")
    report(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    rows = []
    for name in given.cases or CASES:
        measure, ours, unit, goal = CASES[name]
        servers = {"ours": ours, **others}
        runs: dict[str, list[float]] = {server: [] for server in servers}
        for number in range(1, given.rounds + 1):
            for server, start_server in servers.items():
                try:
                    measured = measure(start_server, options)
                except (BenchError, OSError) as error:
                    outcome = f"FAILED, and not counted: {error}"
                else:
                    runs[server].append(measured.value)
                    outcome = f"{measured.value:,.1f} {unit} {measured.remark}"
                report(f"  {name} {number}/{given.rounds}  {server:8} {outcome}")
        if not runs["ours"]:
            sys.exit(f"python -m bench: no run of {name} succeeded")
        rows.append(Comparison(titles[name], unit, goal, runs["ours"], runs.get("Pushpin", [])))
    print(comparison_table(rows))


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join((*CASES, 'synth'))}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (%(default)s), by median")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="length of a run (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=default.warm_up_s, help="seconds of echo before (%(default)s)")
    parser.add_argument("--connections", type=int, default=default.connections, help="of echo (%(default)s)")
    parser.add_argument("--subscribers", type=int, default=default.subscribers, help="of fanout (%(default)s)")
    parser.add_argument("--publishers", type=int, default=default.publishers, help="of fanout (%(default)s)")
    parser.add_argument("--window", type=int, default=default.window, help="messages in flight in fanout (%(default)s)")
    parser.add_argument("--idle-sockets", type=int, default=default.idle_sockets, help="of idle (%(default)s)")
    parser.add_argument("--no-pushpin", dest="pushpin", action="store_false", help="measure only ours")
    return parser


if __name__ == "__main__":
    main()
