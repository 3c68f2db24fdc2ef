"""The command line: `slip-sockets`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from .check.command import check
from .dev.edge import Limits
from .dev.server import DevServer, DevSettings
from .errors import InvalidSettings
from .gateway.backend import TIMEOUT_S
from .gateway.ports import Unavailable
from .settings import is_http_url, is_loopback
from .tokens import RECOMMENDED_SECRET_BYTES

if TYPE_CHECKING:
    from .aws.dead_letters import DeadLetter, DeadLetters

_LIMITS = Limits()
OUTPUTS_FILE = Path("cdk-outputs.dev.json")
DEPLOYED_OUTPUTS_FILE = Path("cdk-outputs.json")

app = typer.Typer(
    help="SLIP Sockets: a WebSocket server without a server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def dev(
    target_url: Annotated[
        str, typer.Option(envvar="TARGET_URL", help="URL of your backend, which receives the events.")
    ] = "",
    jwt_secret: Annotated[
        str, typer.Option(envvar="JWT_SECRET", help="Secret that signs all tokens.", show_envvar=True)
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes a free one.")] = 8787,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    stack_name: Annotated[str, typer.Option(envvar="STACK_NAME", help="Key in the outputs file.")] = "slip-sockets",
    previous_secrets: Annotated[
        str, typer.Option(envvar="JWT_PREVIOUS_SECRETS", help="Secrets still accepted, separated by commas.")
    ] = "",
    outputs: Annotated[
        Path, typer.Option(help="File to write controlApi, websocketUrl and the others to.")
    ] = OUTPUTS_FILE,
    idle_timeout: Annotated[float, typer.Option(min=0, help="Seconds after which a silent socket is closed.")] = (
        _LIMITS.idle_timeout_s
    ),
    max_duration: Annotated[float, typer.Option(min=0, help="Seconds after which any socket is closed.")] = (
        _LIMITS.max_duration_s
    ),
    integration_timeout: Annotated[float, typer.Option(min=0, help="Seconds that one event may take.")] = (
        _LIMITS.integration_timeout_s
    ),
    backend_timeout: Annotated[float, typer.Option(min=0, help="Seconds that your backend may take.")] = TIMEOUT_S,
    inspector: Annotated[
        bool | None,
        typer.Option(
            "--inspector/--no-inspector",
            help="Serve a page that shows what happens, and can act, at /_inspector.",
            show_default="where --host is this machine alone",
        ),
    ] = None,
) -> None:
    """Run the development server: the whole of SLIP Sockets on this machine, in front of your backend.

    Example: JWT_SECRET=change-me slip-sockets dev --target-url http://127.0.0.1:8000/slip
    """
    problems = _problems(target_url, jwt_secret)
    if problems:
        _give_up(InvalidSettings(problems))
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    settings = DevSettings(
        target_url=target_url,
        jwt_secret=jwt_secret,
        previous_secrets=tuple(filter(None, previous_secrets.split(","))),
        stack_name=stack_name,
        host=host,
        port=port,
        limits=Limits(idle_timeout, max_duration, integration_timeout),
        backend_timeout_s=backend_timeout,
        outputs_path=outputs,
        inspector=is_loopback(host) if inspector is None else inspector,
    )
    try:
        asyncio.run(_serve(settings))
    except InvalidSettings as error:
        _give_up(error)


async def _serve(settings: DevSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with DevServer(settings) as server:
        if len(settings.jwt_secret.encode()) < RECOMMENDED_SECRET_BYTES:
            logging.getLogger("slip_sockets.dev").warning(
                "JWT_SECRET is shorter than %d bytes: fine here, too weak for the internet", RECOMMENDED_SECRET_BYTES
            )
        typer.echo(f"WebSockets   {server.websocket_url}")
        typer.echo(f"Control API  {server.control_api}")
        typer.echo(f"Backend      {settings.target_url}")
        typer.echo(f"Outputs      {settings.outputs_path}")
        if server.inspector_url is not None:
            typer.echo(f"Inspector    {server.inspector_url}")
        typer.echo("Ctrl-C stops.")
        await stop.wait()
        typer.echo("Closing all sockets ...")


def _problems(target_url: str, jwt_secret: str) -> list[str]:
    """Return a line for each setting that is missing or wrong."""
    problems = []
    example = "the URL of your backend, which receives the events, e.g. http://127.0.0.1:8000/slip"
    if not target_url:
        problems.append(f"TARGET_URL is not set. Set it, or --target-url, to {example}")
    elif not is_http_url(target_url):
        problems.append(f"TARGET_URL is not an http or https URL: {target_url!r}. Set it to {example}")
    if not jwt_secret:
        problems.append("JWT_SECRET is not set. Set it to any secret that your backend knows too, e.g. 32 random bytes")
    return problems


@app.command()
def redrive(
    stack: Annotated[
        str, typer.Option(envvar="STACK_NAME", help="The deployment; staging's is slip-sockets-staging.")
    ] = "slip-sockets",
    outputs: Annotated[
        Path, typer.Option(help="File in which the deployment has an entry: its region is taken from there.")
    ] = DEPLOYED_OUTPUTS_FILE,
    region: Annotated[str, typer.Option(help="Region of the deployment; then no outputs file is needed.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list them, of each message group the first ten: SQS hides the rest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the dead letters of a deployment, and send them again: what could not be done in 6 hours of trying.

    Each goes back into the queue, in order, or what is left of it to do. Those that cannot be read stay where they are.

    Example: slip-sockets redrive --stack slip-sockets-staging --dry-run
    """
    try:
        from .aws.dead_letters import open_dead_letters
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        _give_up(InvalidSettings([f'{error.name} is missing. Install it: pip install "slip-sockets[aws]"']))
    found: list[DeadLetter] = []
    total, problem = 0, None
    try:
        letters = open_dead_letters(stack, region or _region_of(stack, outputs))
        total = letters.count()
        asyncio.run(_redrive(letters, found, dry_run=dry_run, is_quiet=as_json))
    except InvalidSettings as error:
        _give_up(error)
    except Unavailable as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "stopped"
    unreadable = sum(not letter.is_readable for letter in found)
    sent = 0 if dry_run else len(found) - unreadable
    if as_json:
        document: dict[str, Any] = {"stack": stack, "dryRun": dry_run, "approximateTotal": total, "sent": sent}
        document |= {"unreadable": unreadable, "deadLetters": found}
        typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    elif problem is None:
        for line in _summary(stack, len(found), unreadable, total, dry_run=dry_run):
            typer.echo(line)
    if problem is not None:
        what_now = "Repeat the command" if dry_run else f"{sent} were sent again; repeat the command for the others"
        typer.echo(f"slip-sockets: {problem}. {what_now}", err=True)
        sys.exit(1)


async def _redrive(letters: DeadLetters, found: list[DeadLetter], *, dry_run: bool, is_quiet: bool) -> None:
    async with aclosing(letters.look() if dry_run else letters.send_again()) as each:
        async for letter in each:
            found.append(letter)
            if not is_quiet:
                typer.echo(_line(letter))


_KINDS = {"close_notice": "close notice", "fan_out": "fan-out", "fan_out_chunk": "chunk"}


def _line(letter: DeadLetter) -> str:
    parts = {
        "connection %s": letter.connection_id,
        "channel %r": letter.channel,
        "%d events": letter.events,
        "%d connections": letter.connections,
        "message %s": None if letter.is_readable else letter.message_id,
    }
    about = ", ".join(text % value for text, value in parts.items() if value is not None)
    when = letter.sent_at.strftime("%Y-%m-%d %H:%M:%SZ")
    rest = ", the rest of it" if letter.is_rest else ""
    return f"{when}  {letter.attempts:3} attempts  {_KINDS.get(letter.kind, letter.kind):12}  {about}{rest}"


def _summary(stack: str, found: int, unreadable: int, total: int, *, dry_run: bool) -> list[str]:
    dead, deferred = f"{stack}-dead-letters.fifo", f"{stack}-deferred.fifo"
    if not found and not total:
        return [f"{dead} is empty."]
    lines = [f"{found} found in {dead}." if dry_run else f"{found - unreadable} sent again, to {deferred}."]
    if unreadable:
        lines.append(f"{unreadable} cannot be read: left in {dead}.")
    if total > found and dry_run:
        lines.append(f"SQS counts about {total}: it hides all but the first ten of a message group, and what another")
        lines.append("run has in hand. Without --dry-run the command comes to all of a group.")
    elif total > found:
        lines.append(f"SQS counted about {total}: others may be in another run's hand, for 5 minutes at most.")
    return lines


class _Outputs(msgspec.Struct):
    region: str = ""


def _region_of(stack: str, path: Path) -> str:
    """Read a deployment's region in an outputs file. Raises InvalidSettings."""
    instead = "Deploy first, or choose the file with --outputs, or give --region"
    try:
        outputs = msgspec.json.decode(path.read_bytes(), type=dict[str, _Outputs])
    except OSError as error:
        raise InvalidSettings([f"cannot read {path}: {error.strerror}. {instead}"]) from error
    except msgspec.DecodeError as error:
        raise InvalidSettings([f"{path} is no outputs file: {error}"]) from error
    if stack not in outputs:
        known = ", ".join(sorted(outputs)) or "none"
        raise InvalidSettings([f"{path} has no stack {stack!r}. It has: {known}"])
    region = outputs[stack].region
    if not region:
        raise InvalidSettings([f"{path} has no region of {stack!r}. Give it with --region"])
    if region == "local":
        raise InvalidSettings([f"{path} is of a development server, which keeps its dead letters in memory"])
    return region


def _give_up(error: InvalidSettings) -> NoReturn:
    for problem in error.problems:
        typer.echo(f"slip-sockets: {problem}", err=True)
    sys.exit(2)


app.command()(check)


def main() -> None:
    app()
