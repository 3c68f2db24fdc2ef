"""`slip-sockets outputs`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from ..client.outputs import read_all_outputs
from ..protocol.errors import InvalidSettings
from ..protocol.quoting import path_text
from .deployment import DevOption, JsonOption, OutputsOption, StackOption, files_here, find_deployment
from .printing import print_json

EXAMPLES = """Examples:

slip-sockets outputs

export CONTROL_API="$(slip-sockets outputs --stack slip-sockets-staging --get controlApi)\""""


class Field(StrEnum):
    CONTROL_API = "controlApi"
    WEBSOCKET_URL = "websocketUrl"
    TARGET_URL = "targetUrl"
    REGION = "region"
    GRIP_URL = "gripUrl"


def outputs(
    get: Annotated[Field | None, typer.Option("--get", help="Print only this value.", show_default=False)] = None,
    stack: StackOption = "",
    path: OutputsOption = None,
    dev: DevOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the URLs and regions of all deployments in the outputs files, or of one with --stack."""
    if get:
        found = find_deployment(stack, path, dev=dev)
        value = str(msgspec.to_builtins(found.outputs).get(get.value, ""))
        if not value:
            raise InvalidSettings([f"{found.path} has no {get.value} of {found.stack!r}"])
        if as_json:
            print_json(value)
        else:
            typer.echo(value)
        return
    if stack:
        one = find_deployment(stack, path, dev=dev)
        shown = {one.path: {one.stack: one.outputs}}
    else:
        shown = {each: read_all_outputs(each) for each in files_here(path, dev=dev)}
    if as_json:
        print_json({path_text(each): entries for each, entries in shown.items()})
        return
    for each, entries in shown.items():
        for name, entry in entries.items():
            typer.secho(f"{name}", bold=True, nl=False)
            typer.echo(f"  ({each})")
            values = msgspec.to_builtins(entry)
            for field in Field:
                if field.value in values:
                    typer.echo(f"  {field.value:13} {values[field.value] or '-'}")
