"""`slip-sockets dev`."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..client.outputs import DEV_OUTPUTS
from ..dev.edge import Limits
from ..dialects import Dialect
from ..gateway.delivery_rate import MAX_FAN_OUT_RATE, MIN_FAN_OUT_RATE
from ..gateway.worker import DEFAULT_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S, MIN_INBOUND_RETRY_S, Inbound
from ..grip.routing import RIGHT_HOST, RIGHT_PATH_FROM, is_host, is_path_from
from ..protocol.errors import InvalidSettings
from ..protocol.quoting import quoted
from ..protocol.tokens import RECOMMENDED_SECRET_BYTES, secret_problem, secret_warning, split_secrets
from ..protocol.urls import is_loopback, quoted_url, url_problem, without_secrets

if TYPE_CHECKING:
    from ..dev.server import DevSettings

EXAMPLES = """Examples:

JWT_SECRET=change-me slip-sockets dev --target-url http://127.0.0.1:8000/slip

slip-sockets dev --port 0 --idle-timeout 10 (with TARGET_URL and JWT_SECRET in the environment)"""

_LIMITS = Limits()


def dev(
    target_url: Annotated[
        str, typer.Option(envvar="TARGET_URL", help="URL of your backend, which receives the events.")
    ] = "",
    jwt_secret: Annotated[
        str, typer.Option(envvar="JWT_SECRET", help="Secret that signs all tokens.", show_envvar=True)
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 chooses a free one.")] = 8787,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    stack_name: Annotated[str, typer.Option(envvar="STACK_NAME", help="Key in the outputs file.")] = "slip-sockets",
    previous_secrets: Annotated[
        str, typer.Option(envvar="JWT_PREVIOUS_SECRETS", help="Secrets still accepted, separated by commas.")
    ] = "",
    outputs: Annotated[
        Path, typer.Option(help="File to write controlApi, websocketUrl and the others to.")
    ] = DEV_OUTPUTS,
    idle_timeout: Annotated[float, typer.Option(min=0, help="Seconds after which a silent socket is closed.")] = (
        _LIMITS.idle_timeout_s
    ),
    max_duration: Annotated[float, typer.Option(min=0, help="Seconds after which any socket is closed.")] = (
        _LIMITS.max_duration_s
    ),
    integration_timeout: Annotated[float, typer.Option(min=0, help="Seconds that one event may take.")] = (
        _LIMITS.integration_timeout_s
    ),
    backend_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that your backend may take.")
    ] = BACKEND_TIMEOUT_S,
    fan_out_rate: Annotated[
        int | None,
        typer.Option(
            envvar="FAN_OUT_RATE",
            min=MIN_FAN_OUT_RATE,
            max=MAX_FAN_OUT_RATE,
            help="Texts a second of publishes to more than 1,000 subscribers.",
            show_default="no limit",
        ),
    ] = None,
    inbound: Annotated[
        Inbound, typer.Option(envvar="INBOUND", help="How texts come to your backend: at once, or in order.")
    ] = Inbound.DIRECT,
    inbound_retry: Annotated[
        int,
        typer.Option(
            envvar="INBOUND_RETRY_S",
            min=MIN_INBOUND_RETRY_S,
            max=MAX_INBOUND_RETRY_S,
            help="Seconds for which texts in order are tried again.",
        ),
    ] = DEFAULT_INBOUND_RETRY_S,
    backend_protocol: Annotated[
        Dialect, typer.Option(envvar="BACKEND_PROTOCOL", help="What your backend and publishers speak.")
    ] = Dialect.SLIP,
    grip_path_from: Annotated[
        str,
        typer.Option(envvar="GRIP_PATH_FROM", help="What names a path of your backend in GRIP: host or query:NAME."),
    ] = "",
    grip_host: Annotated[
        str, typer.Option(envvar="GRIP_HOST", help="Host of requests in GRIP.", show_default="the client's")
    ] = "",
    occupancy_events: Annotated[
        bool,
        typer.Option(
            "--occupancy-events",
            envvar="OCCUPANCY_EVENTS",
            help="Send your backend OCCUPIED and VACATED for channels with presence.",
        ),
    ] = False,
    inspector: Annotated[
        bool | None,
        typer.Option(
            "--inspector/--no-inspector",
            help="Serve a page at /_inspector that shows all events, and can send, publish and close.",
            show_default="on if --host is loopback",
        ),
    ] = None,
) -> None:
    """Run the development server: all of SLIP Sockets on this machine, in front of your backend.

    Clients connect to ws://127.0.0.1:8787/. Other commands in the same folder find it by its outputs file.
    """
    previous = split_secrets(previous_secrets)
    problems = _problems(target_url, jwt_secret, previous)
    if grip_path_from and not is_path_from(grip_path_from):
        problems.append(f"GRIP_PATH_FROM is {quoted(grip_path_from)}. Set it to {RIGHT_PATH_FROM}")
    if grip_host and not is_host(grip_host):
        problems.append(f"GRIP_HOST is {quoted(grip_host)}. Set it to {RIGHT_HOST}")
    if occupancy_events and backend_protocol is Dialect.GRIP:
        problems.append(
            "OCCUPANCY_EVENTS is 'true', and BACKEND_PROTOCOL is 'grip', which has no such events. Leave out one"
        )
    # An empty host would be all of this machine's addresses.
    blank = {"--host": host, "--stack-name": stack_name}
    problems += [
        f"{name} is empty. Leave it out, or give it a value" for name, value in blank.items() if not value.strip()
    ]
    if problems:
        raise InvalidSettings(problems)
    from ..dev.server import DevSettings

    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    settings = DevSettings(
        target_url=target_url,
        jwt_secret=jwt_secret,
        previous_secrets=previous,
        stack_name=stack_name,
        host=host,
        port=port,
        limits=Limits(idle_timeout, max_duration, integration_timeout),
        backend_timeout_s=backend_timeout,
        fan_out_rate=fan_out_rate,
        is_ordered=inbound is Inbound.ORDERED,
        inbound_retry_s=inbound_retry,
        outputs_path=outputs,
        inspector=is_loopback(host) if inspector is None else inspector,
        backend_protocol=backend_protocol,
        grip_path_from=grip_path_from,
        grip_host=grip_host,
        occupancy_events=occupancy_events,
    )
    asyncio.run(_serve(settings))


async def _serve(settings: DevSettings) -> None:
    from ..dev.server import DevServer

    stop = asyncio.Event()
    _call_at_signals(stop.set)
    async with DevServer(settings) as server:
        log = logging.getLogger("slip_sockets.dev")
        if len(settings.jwt_secret.encode()) < RECOMMENDED_SECRET_BYTES:
            log.warning(
                "JWT_SECRET is shorter than %d bytes: fine here, too weak for the internet", RECOMMENDED_SECRET_BYTES
            )
        if warning := secret_warning(settings.jwt_secret):
            log.warning("JWT_SECRET %s", warning)
        for warning in filter(None, map(secret_warning, settings.previous_secrets)):
            log.warning("JWT_PREVIOUS_SECRETS has a secret that %s", warning)
        typer.echo(f"WebSockets   {server.websocket_url}")
        typer.echo(f"Control API  {server.control_api}")
        if server.grip_url is not None:
            typer.echo(f"GRIP_URL     {server.grip_url}")
        typer.echo(f"Backend      {without_secrets(settings.target_url)}")
        typer.echo(f"Outputs      {settings.outputs_path}")
        if server.inspector_url is not None:
            typer.echo(f"Inspector    {server.inspector_url}")
        typer.echo("Ctrl-C stops.")
        await stop.wait()
        typer.echo("Closing all sockets ...")


def _call_at_signals(callback: Callable[[], None]) -> None:
    """Call it in the running loop at Ctrl-C and at SIGTERM."""
    loop = asyncio.get_running_loop()

    def schedule(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # by the loops of Windows
            signal.signal(number, schedule)


def _problems(target_url: str, jwt_secret: str, previous_secrets: Sequence[str]) -> list[str]:
    """Return a line for each setting that is missing or wrong."""
    problems = []
    example = "the URL of your backend, which receives the events, e.g. http://127.0.0.1:8000/slip"
    if not target_url:
        problems.append(f"TARGET_URL is not set. Set it, or --target-url, to {example}")
    elif problem := url_problem(target_url):
        problems.append(f"TARGET_URL {quoted_url(target_url)} is {problem}. Set it to {example}")
    if not jwt_secret:
        problems.append("JWT_SECRET is not set. Set it to a secret that your backend has too, e.g. 32 random bytes")
    elif problem := secret_problem(jwt_secret):
        problems.append(f"JWT_SECRET {problem}")
    found = filter(None, map(secret_problem, previous_secrets))
    return [*problems, *(f"JWT_PREVIOUS_SECRETS has a secret that {problem}" for problem in found)]
