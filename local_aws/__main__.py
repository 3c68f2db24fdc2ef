"""`python -m local_aws`: run a local AWS until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from .local import LocalAws
from .settings import LocalAwsSettings
from .strictness import KEY_LIFETIME_S, Strictness

DEFAULT_RUNTIME_PYTHON = Path(__file__).parent.parent / ".venv-lambda" / "bin" / "python"
STATE_IS_MEMORY = "What you deploy here is gone when this program ends."


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    for name in ("botocore", "moto", "websockets", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = LocalAwsSettings(
        options.runtime_python,
        options.port,
        max_environments=options.max_environments,
        strictness=Strictness(
            clock_shift_s=options.clock_shift,
            key_lifetime_s=options.key_lifetime,
            concurrency=options.concurrency,
            freeze=options.freeze,
            iam_delay_s=options.iam_delay,
            deploy_delay_s=options.deploy_delay,
        ),
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with LocalAws(settings) as aws:
            lines = [f"A local AWS at {aws.url}. {STATE_IS_MEMORY} Ctrl-C stops."]
            lines += (f"export {name}={value}" for name, value in aws.environment.items())
            print("\n".join(lines), flush=True)  # noqa: T201 - a command line prints
            stop.wait()
    except (OSError, ValueError) as error:
        sys.exit(f"local_aws: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_aws", description="Run a local AWS until Ctrl-C.")
    parser.add_argument("--port", type=int, default=4566, help="port to listen on, at 127.0.0.1; 0 takes a free one")
    parser.add_argument(
        "--runtime-python",
        type=Path,
        default=DEFAULT_RUNTIME_PYTHON,
        metavar="FILE",
        help="Python interpreter for functions, with awslambdaric and boto3",
    )
    parser.add_argument("--max-environments", type=int, default=8, help="largest number of processes of one function")
    parser.add_argument(
        "--clock-shift",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds by which its clock is ahead of this machine's",
    )
    parser.add_argument(
        "--key-lifetime",
        type=float,
        default=KEY_LIFETIME_S,
        metavar="S",
        help="lifetime of functions' keys, in seconds",
    )
    default = Strictness()
    parser.add_argument("--concurrency", type=int, default=default.concurrency, help="events of all functions at once")
    parser.add_argument("--freeze", action="store_true", help="stop functions between events")
    for name, what in (("iam", "policies of roles"), ("deploy", "changes of routes")):
        parser.add_argument(f"--{name}-delay", type=float, default=0, metavar="SECONDS", help=f"how late {what} count")
    return parser


if __name__ == "__main__":
    main()
