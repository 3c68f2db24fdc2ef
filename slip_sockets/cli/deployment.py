"""The deployment that a command calls, and the options that choose it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..apigateway.connection_ids import is_connection_id
from ..client.outputs import DEPLOYED_OUTPUTS, DEV_OUTPUTS, Outputs, read_all_outputs, read_outputs
from ..client.publisher import SlipSocketsPublisher
from ..protocol.errors import InvalidSettings
from ..protocol.tokens import secret_problem, secret_warning
from ..protocol.urls import quoted_url, url_problem

DEFAULT_STACK = "slip-sockets"


def complete_stack(incomplete: str) -> list[str]:
    """Return the stacks of the outputs files in this folder, for the shell's completion."""
    found: set[str] = set()
    for path in (DEPLOYED_OUTPUTS, DEV_OUTPUTS):
        try:
            found |= read_all_outputs(path).keys()
        except InvalidSettings:
            continue
    return sorted(stack for stack in found if stack.startswith(incomplete))


StackOption = Annotated[
    str,
    typer.Option(
        "--stack",
        envvar="STACK_NAME",
        help="The deployment, by its key in the outputs file; slip-sockets, or the only one.",
        show_default=False,
        autocompletion=complete_stack,
    ),
]
OutputsOption = Annotated[
    Path | None,
    typer.Option(
        "--outputs",
        help="The outputs file; cdk-outputs.json or cdk-outputs.dev.json, whichever is here and has the stack.",
        show_default=False,
    ),
]
DevOption = Annotated[bool, typer.Option("--dev", help="The development server: --outputs cdk-outputs.dev.json.")]
ControlApiOption = Annotated[
    str, typer.Option("--control-api", help="The control API's URL, instead of an outputs file.", show_default=False)
]
SecretOption = Annotated[
    str, typer.Option("--jwt-secret", envvar="JWT_SECRET", help="The deployment's secret.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True)
class Deployment:
    """An entry of an outputs file."""

    stack: str
    path: Path
    outputs: Outputs


def files_here(path: Path | None, *, dev: bool = False) -> list[Path]:
    """Return the named outputs file, or the one or two in this folder. Raises InvalidSettings."""
    if dev and path is not None:
        raise InvalidSettings(["--dev and --outputs both name an outputs file. Give one of them"])
    if dev:
        return [DEV_OUTPUTS]
    if path is not None:
        return [path]
    here = [candidate for candidate in (DEPLOYED_OUTPUTS, DEV_OUTPUTS) if candidate.exists()]
    if not here:
        raise InvalidSettings(
            [
                f"there is neither {DEPLOYED_OUTPUTS} nor {DEV_OUTPUTS} here. Start `slip-sockets dev` or deploy, "
                "go to the folder where you did, or name the file with --outputs"
            ]
        )
    return here


def find_deployment(stack: str, path: Path | None, *, dev: bool = False) -> Deployment:
    """Return the deployment that the options choose.

    Without a path, the outputs file is the one in this folder that has the stack. If both have it, this raises
    InvalidSettings, as for all other problems: else a command might publish to production by mistake.
    """
    here = files_here(path, dev=dev)
    if len(here) == 1:
        return _in(here[0], stack)
    with_stack = [each for each in here if not stack or stack in read_all_outputs(each)]
    if len(with_stack) == 1:
        return _in(with_stack[0], stack)
    if with_stack:
        raise InvalidSettings(
            [f"both {DEPLOYED_OUTPUTS} and {DEV_OUTPUTS} are here. Choose with --outputs {DEPLOYED_OUTPUTS} or --dev"]
        )
    return _in(here[0], stack)


def _in(path: Path, stack: str) -> Deployment:
    if not stack:
        stacks = list(read_all_outputs(path))
        stack = stacks[0] if len(stacks) == 1 else DEFAULT_STACK
    return Deployment(stack, path, read_outputs(path, stack))


def find_control_api(control_api: str, stack: str, path: Path | None, *, dev: bool) -> str:
    """Raises InvalidSettings."""
    if control_api:
        if path is not None or dev:
            raise InvalidSettings(["--control-api replaces an outputs file. Give one of them"])
        if problem := url_problem(control_api):
            raise InvalidSettings([f"--control-api {quoted_url(control_api)} is {problem}"])
        return control_api
    found = find_deployment(stack, path, dev=dev)
    if not found.outputs.control_api:
        raise InvalidSettings([f"{found.path} has no controlApi of {found.stack!r}. Give it with --control-api"])
    if problem := url_problem(found.outputs.control_api):
        text = f"{found.path}: the controlApi of {found.stack!r}, {quoted_url(found.outputs.control_api)}, is {problem}"
        raise InvalidSettings([text])
    return found.outputs.control_api


def open_publisher(
    control_api: str, stack: str, path: Path | None, jwt_secret: str, *, dev: bool
) -> SlipSocketsPublisher:
    """Raises InvalidSettings."""
    url = find_control_api(control_api, stack, path, dev=dev)
    return SlipSocketsPublisher(control_api=url, jwt_secret=needed_secret(jwt_secret))


def checked_connection_id(text: str) -> str:
    """Raises InvalidSettings. The control API skips what cannot be an id, so a command must reject it."""
    if not is_connection_id(text):
        raise InvalidSettings([f"{text!r} is not a connection id. One looks like L0SM9cOFvHcCIhw="])
    return text


def needed_secret(jwt_secret: str) -> str:
    """Raises InvalidSettings."""
    if not jwt_secret:
        raise InvalidSettings(["JWT_SECRET is not set. Set it to the deployment's secret"])
    if problem := secret_problem(jwt_secret):
        raise InvalidSettings([f"JWT_SECRET {problem}"])
    warn_of_secret(jwt_secret)
    return jwt_secret


def warn_of_secret(jwt_secret: str) -> None:
    """Print what is odd about a secret."""
    if warning := secret_warning(jwt_secret):
        typer.echo(f"slip-sockets: warning: JWT_SECRET {warning}", err=True)
