"""How a command ends: its exit code, and its lines on stderr. A user's mistake never shows a traceback."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..gateway.errors import Unavailable
from ..protocol.errors import ControlApiRefused, ControlApiUnavailable, InvalidEvents, InvalidSettings, InvalidToken
from . import EXTRA
from .streams import STDERR, STDOUT, abandon_unwritten, prepare_streams
from .terminal import forget_odd_sizes

DONE = 0
FAILED = 1
"""The other side failed, or the user stopped the command: repeating it may help."""
WRONG = 2
"""The user must fix something first: an option, a file, a setting, the secret, a token. typer exits with it too."""

HELP = "Exit codes: 0 done, 1 the other side failed (repeating may help), 2 something to fix first."

_EXTRA_AWS = ("boto3", "botocore")


class Commands(TyperGroup):
    """Commands that report errors as lines on stderr and an exit code."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line. An OSError that reaches this is one of the user's machine, not a bug."""
        prepare_streams()
        forget_odd_sizes()
        try:
            return super().main(*args, **settings)
        except OSError as error:
            # typer prints its errors about options itself: if stderr fails then, that error comes before.
            status = getattr(error.__context__, "exit_code", FAILED)
            if error.filename != STDERR:
                where = {None: "", STDOUT: "cannot write to stdout: "}.get(error.filename, f"{error.filename}: ")
                _print_errors((f"{where}{error.strerror or error}",))
            sys.exit(status)
        finally:
            abandon_unwritten()

    def _main_shell_completion(self, *args: Any, **settings: Any) -> None:
        try:
            super()._main_shell_completion(*args, **settings)
        except (KeyError, ValueError) as error:  # the shell's own variables, as COMP_WORDS, are missing or odd
            _print_errors((f"the shell's completion did not work: {error}. Install it anew: --install-completion",))
            sys.exit(WRONG)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidSettings as error:
            give_up(*error.problems)
        except (InvalidEvents, InvalidToken) as error:
            give_up(str(error))
        except ControlApiRefused as error:
            give_up(str(error), *_advice(error))
        except ControlApiUnavailable as error:
            fail(_unavailable(error))
        except Unavailable as error:
            fail(str(error))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            extra = "dev" if package in EXTRA else "aws" if package in _EXTRA_AWS else None
            if extra is None:
                raise
            give_up(f'{package} is missing. Install it: pip install "path/to/slip-sockets[{extra}]"')
        except KeyboardInterrupt:
            fail("stopped")
        except BrokenPipeError:  # the reader closed the pipe (`... | head`)
            raise typer.Exit(FAILED) from None


def give_up(*problems: str) -> NoReturn:
    _print_errors(problems)
    raise typer.Exit(WRONG)


def fail(*problems: str) -> NoReturn:
    _print_errors(problems)
    raise typer.Exit(FAILED)


def _print_errors(problems: tuple[str, ...]) -> None:
    with suppress(OSError):  # the exit code still says it
        for problem in problems:
            typer.echo(f"slip-sockets: {problem}", err=True)


def _advice(error: ControlApiRefused) -> list[str]:
    if error.proxy is not None:  # it may have responded itself, and the error names it
        return []
    if error.status == 403:
        return ["JWT_SECRET must be that deployment's, and this machine's clock must be right"]
    if error.status == 404:
        return ["is that the URL of a control API? `slip-sockets outputs` prints it"]
    return []


def _unavailable(error: ControlApiUnavailable) -> str:
    if error.status is not None:
        return str(error)
    if error.proxy is not None:
        return f"{error}. Is the proxy right? no_proxy=HOST, with the control API's host, goes around it"
    return f"{error}. Does it run, and is the URL right?"
