"""All commands together."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from . import check, close, cost, dev, doctor, history, members, outputs, publish, redrive, send
from .command import Command
from .exit_codes import HELP, Commands
from .token import token

app = typer.Typer(
    cls=Commands,
    help="SLIP Sockets: a WebSocket server without a server.",
    epilog=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(panel: str, command: Callable[..., Any], examples: str, *, takes_ids: bool = False) -> None:
    """With `takes_ids` unknown options are arguments, and -h is not help: a connection id may begin with a hyphen."""
    settings = {"ignore_unknown_options": True, "help_option_names": ["--help"]} if takes_ids else {}
    app.command(cls=Command, rich_help_panel=panel, epilog=examples, context_settings=settings)(command)


_BUILD, _TALK, _OPERATE = "Build", "Talk to clients", "Operate"

_add(_BUILD, dev.dev, dev.EXAMPLES)
_add(_BUILD, check.check, check.EXAMPLES)
app.add_typer(token, name="token", help="Mint a token, or inspect one.", rich_help_panel=_BUILD)
_add(_TALK, publish.publish, publish.EXAMPLES)
_add(_TALK, history.history, history.EXAMPLES)
_add(_TALK, members.members, members.EXAMPLES)
_add(_TALK, send.send, send.EXAMPLES, takes_ids=True)
_add(_TALK, close.close, close.EXAMPLES, takes_ids=True)
_add(_OPERATE, doctor.doctor, doctor.EXAMPLES)
_add(_OPERATE, outputs.outputs, outputs.EXAMPLES)
_add(_OPERATE, cost.cost, cost.EXAMPLES)
_add(_OPERATE, redrive.redrive, redrive.EXAMPLES)


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"slip-sockets {version('slip-sockets')}")
        except PackageNotFoundError:  # run from a folder that is not installed
            typer.echo("slip-sockets, not installed")
        raise typer.Exit


@app.callback()
def _slip_sockets(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
