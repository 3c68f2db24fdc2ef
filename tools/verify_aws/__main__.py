"""`python -m tools.verify_aws`: settle on a real account what a local AWS cannot show: docs/verify-aws.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from slip_sockets.protocol.errors import InvalidSettings

from .findings import Finding, Line, Verdict, table
from .long import BEFORE, SIDE_BY_SIDE
from .measurement import Context, Measurement
from .short import SHORT
from .stage import Refused, Stage, TerraformFailed

DEFAULT_STACK = "slip-sockets-verify"
OK, DIFFERS, NOT_DONE, LEFT_BEHIND, INTERRUPTED = 0, 1, 2, 3, 130
COST = "less than 0.50 USD: some 10,000 requests, and an hour of alarms, metrics and a secret"
"""A secret is 0.40 USD a month, a metric 0.30, an alarm 0.10 to 0.60, by the hour; requests are cents.
https://aws.amazon.com/cloudwatch/pricing/ https://aws.amazon.com/secrets-manager/pricing/"""


async def deployed_again(context: Context) -> Finding:
    await asyncio.to_thread(lambda: context.stage.destroy(forget=False))
    await asyncio.to_thread(context.stage.deploy)
    context.outputs = await asyncio.to_thread(context.stage.outputs)
    return Finding("destroyed and deployed again")


LAST = [Measurement("deploy-after-destroy", "a destroyed stage can be deployed again at once", deployed_again)]
ALL = [*SHORT, *BEFORE, *(one for group in SIDE_BY_SIDE for one in group), *LAST]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # A shell lets its background jobs ignore SIGINT; here a signal always leads to the destroy.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        stage = Stage(options.stack, os.environ)
        stage.check()
    except InvalidSettings as error:
        print("\n".join(f"slip-sockets: {problem}" for problem in error.problems), file=sys.stderr)
        return NOT_DONE
    except Refused as error:
        print(f"verify-aws: {error}", file=sys.stderr)
        return NOT_DONE
    if options.destroy:
        return _destroyed(stage)
    where = f"account {stage.account}, {stage.region}" + (" (a local AWS)" if stage.is_local else "")
    print(f"{'Takes' if stage.is_kept else 'Deploys'} the stage {stage.name} in {where}. It costs {COST}.", flush=True)
    if not options.yes and input("Go on? [y/N] ").strip().lower() != "y":
        return NOT_DONE
    code = INTERRUPTED
    lines: list[Line] = []
    try:
        stage.deploy()
        context = Context(stage, options.minutes, options.clients, stage.outputs())
        asyncio.run(measure(context, _chosen(options.only), lines.append))
        code = DIFFERS if any(line.verdict in (Verdict.DIFFERS, Verdict.FAILED) for line in lines) else OK
    except (TerraformFailed, InvalidSettings) as error:
        print(f"verify-aws: {error}", file=sys.stderr)
        code = NOT_DONE
    except KeyboardInterrupt:
        print("verify-aws: interrupted", file=sys.stderr)
    finally:
        if lines:
            print(table(lines), flush=True)
            if options.json:
                options.json.write_text(json.dumps([line.as_json() for line in lines], indent=2) + "\n")
        if options.keep:
            print(f"{stage.name} is kept: the next run finds it. Remove it: make verify-aws ARGS=--destroy")
        elif _destroyed(stage):
            code = LEFT_BEHIND
    return code


def _destroyed(stage: Stage) -> int:
    print(f"Destroying {stage.name}.", flush=True)
    try:
        stage.destroy()
    except (TerraformFailed, KeyboardInterrupt) as error:
        left = stage.left() or ["unknown: the state cannot be read"]
        print(f"verify-aws: {error}\nLEFT in {stage.account}, {stage.region}:", *left, sep="\n  ", file=sys.stderr)
        print("Try again: make verify-aws ARGS=--destroy", file=sys.stderr)
        return LEFT_BEHIND
    print("Nothing is left.", flush=True)
    return OK


async def measure(context: Context, chosen: Callable[[Measurement], bool], add: Callable[[Line], None]) -> None:
    """Run the chosen measurements; each line is handed to `add` when it is known."""

    async def run(group: Sequence[Measurement]) -> None:
        for measurement in filter(chosen, group):
            line = await measurement.line(context)
            print(f"{line.name}: {line.verdict.value} ({line.took_s:.0f} s)", flush=True)
            add(line)

    await run(SHORT)
    await run(BEFORE)
    await asyncio.gather(*map(run, SIDE_BY_SIDE))
    await run(LAST)


def _chosen(only: Sequence[str]) -> Callable[[Measurement], bool]:
    """`R1` is R1-failing-message-age, and not R12."""
    return lambda measurement: (
        not only or any(measurement.name == name or measurement.name.startswith(f"{name}-") for name in only)
    )


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="make verify-aws", description="Measure on a real account.")
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="such as R3 or plan-again")
    made.add_argument("--minutes", type=float, default=20.0, help="how long a message fails; silence is 9 at most")
    made.add_argument("--clients", type=int, default=300, help="sockets at once")
    made.add_argument("--stack", default=DEFAULT_STACK, help="name of the stack, without -staging")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    made.add_argument("--keep", action="store_true", help="do not destroy the stage at the end")
    made.add_argument("--destroy", action="store_true", help="destroy a stage that was kept, and do nothing else")
    made.add_argument("--yes", action="store_true", help="do not ask")
    return made


if __name__ == "__main__":
    sys.exit(main())
