"""`python -m bench.functions`: what one event costs a deployed function, all cases or those named."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time

import msgspec

from ..errors import BenchError
from ..fan_out.results import Figure, table
from .cases import CASES, QUICK, Sizes


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.functions", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="few rounds: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    asked = parser.parse_args(arguments)
    for name in asked.cases:
        if name not in CASES:
            parser.error(f"there is no case {name!r}, only {', '.join(CASES)}")
    _say(f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores")
    results: dict[str, list[Figure]] = {}
    for name in asked.cases or CASES:
        began = time.monotonic()
        try:
            results[name] = CASES[name](QUICK if asked.quick else Sizes())
        except BenchError as error:
            sys.exit(f"python -m bench.functions: {name}: {error}")
        _say(f"  {name}: {time.monotonic() - began:.0f} s")
    print(msgspec.json.encode(results).decode() if asked.json else table(results))


def _say(line: str) -> None:
    """Tell how it goes, beside the table."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
