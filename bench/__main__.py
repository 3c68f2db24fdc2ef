"""`python -m bench`: all cases, or those named, in rounds that alternate between ours and Pushpin.

`synth` runs only where it is named: it is about the stacks, and Pushpin has no part in it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys

from . import synth
from .cases import Measure, Options, echo, fan_out, idle
from .errors import BenchError
from .servers import StartServer, pushpin, slip_sockets
from .table import Goal, Row, table

CASES: dict[str, tuple[Measure, str, Goal]] = {
    "echo": (echo, "/s", Goal(ratio_at_least=0.5)),
    "fanout": (fan_out, "/s", Goal(ratio_at_least=1)),
    "idle": (idle, "MB", Goal(at_most=40)),
}


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    asked = parser.parse_args(arguments)
    for name in asked.cases:
        if name not in (*CASES, "synth"):
            parser.error(f"there is no case {name!r}, only {', '.join((*CASES, 'synth'))}")
    if "synth" in asked.cases:
        try:
            print(synth.measure(_say))
        except BenchError as error:
            sys.exit(f"python -m bench: {error}")
        asked.cases.remove("synth")
        if not asked.cases:
            return
    options = Options(
        seconds=asked.seconds,
        warm_up_s=asked.warm_up,
        connections=asked.connections,
        subscribers=asked.subscribers,
        publishers=asked.publishers,
        window=asked.window,
        idle_sockets=asked.idle_sockets,
    )
    titles = {
        "echo": f"echo through the backend, {options.connections:,} connections",
        "fanout": f"deliveries of one channel, {options.subscribers:,} subscribers",
        "idle": f"memory of {options.idle_sockets:,} idle sockets",
    }
    servers: dict[str, StartServer] = {"ours": slip_sockets}
    if asked.pushpin and shutil.which("pushpin") is not None:
        servers["Pushpin"] = pushpin
    elif asked.pushpin:
        _say("Pushpin is not installed (Debian's package: pushpin); ours alone is measured.")
    _say(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    rows = []
    for name in asked.cases or CASES:
        measure, unit, goal = CASES[name]
        runs: dict[str, list[float]] = {whose: [] for whose in servers}
        for number in range(1, asked.rounds + 1):
            for whose, start_server in servers.items():
                try:
                    measured = measure(start_server, options)
                except (BenchError, OSError) as error:
                    told = f"FAILED, and not counted: {error}"
                else:
                    runs[whose].append(measured.value)
                    told = f"{measured.value:,.1f} {unit} {measured.remark}"
                _say(f"  {name} {number}/{asked.rounds}  {whose:8} {told}")
        if not runs["ours"]:
            sys.exit(f"python -m bench: no run of {name} succeeded")
        rows.append(Row(titles[name], unit, goal, runs["ours"], runs.get("Pushpin", [])))
    print(table(rows))


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join((*CASES, 'synth'))}")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (%(default)s); medians are compared")
    parser.add_argument("--seconds", type=float, default=default.seconds, help="length of a run (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=default.warm_up_s, help="seconds of echo before (%(default)s)")
    parser.add_argument("--connections", type=int, default=default.connections, help="of echo (%(default)s)")
    parser.add_argument("--subscribers", type=int, default=default.subscribers, help="of fanout (%(default)s)")
    parser.add_argument("--publishers", type=int, default=default.publishers, help="of fanout (%(default)s)")
    parser.add_argument(
        "--window", type=int, default=default.window, help="messages on their way at a time in fanout (%(default)s)"
    )
    parser.add_argument("--idle-sockets", type=int, default=default.idle_sockets, help="of idle (%(default)s)")
    parser.add_argument("--no-pushpin", dest="pushpin", action="store_false", help="measure ours alone")
    return parser


def _say(line: str) -> None:
    """Tell how it goes, beside the table."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
