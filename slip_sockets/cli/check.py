"""`slip-sockets check`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..check.play import SLOW_S, CannotRun, CheckSettings, play
from ..check.report import CheckReport, Printer
from ..dialects import Dialect
from ..protocol.tokens import secret_problem
from ..protocol.urls import quoted_url, url_problem, without_secrets
from .deployment import warn_of_secret
from .exit_codes import FAILED, give_up
from .handshake import HeaderOption, QueryOption, read_handshake

EXAMPLES = """Examples:

JWT_SECRET=change-me slip-sockets check http://127.0.0.1:8000/slip --query room=tea

JWT_SECRET=change-me slip-sockets check --protocol grip http://127.0.0.1:8000/ws

slip-sockets check --strict --json (with TARGET_URL and JWT_SECRET in the environment)"""


def check(
    url: Annotated[
        str, typer.Argument(envvar="TARGET_URL", help="URL of your backend, which receives the events.")
    ] = "",
    jwt_secret: Annotated[
        str, typer.Option(envvar="JWT_SECRET", help="Secret that signs the tokens; your backend must have the same.")
    ] = "",
    protocol: Annotated[
        Dialect, typer.Option(envvar="BACKEND_PROTOCOL", help="What your backend speaks.")
    ] = Dialect.SLIP,
    query: QueryOption = None,
    header: HeaderOption = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that your backend may take.")] = BACKEND_TIMEOUT_S,
    slow: Annotated[float, typer.Option(min=0.001, help="Seconds after which a slow response is a warning.")] = SLOW_S,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a conformance test against your backend, forged tokens included. Each problem comes with its fix.

    It sends signed events as the gateway does, and judges the responses as the gateway does: OPEN, TEXT and CLOSE; odd
    texts, queries and metadata; tokens and bodies that your backend must refuse. With --protocol grip it sends
    WebSocket-over-HTTP, and JWT_SECRET is the key in your backend's GRIP_URL. No gateway is needed. Your backend
    handles the events for real, and may store or publish something: check one that is there for tests.

    Exit code: 0 if nothing is wrong, 1 if something is, 2 if it cannot be checked.
    """
    problems: list[str] = []
    if not url:
        problems.append("there is no URL. Give your backend's, e.g. http://127.0.0.1:8000/slip, or set TARGET_URL")
    elif problem := url_problem(url):
        problems.append(f"{quoted_url(url)} is {problem}. Give your backend's, e.g. http://127.0.0.1:8000/slip")
    if not jwt_secret:
        problems.append("JWT_SECRET is not set. Set it, or --jwt-secret, to the secret that your backend has")
    elif problem := secret_problem(jwt_secret):
        problems.append(f"JWT_SECRET {problem}")
    queries, headers = read_handshake(query, header, problems)
    if problems:
        give_up(*problems)
    warn_of_secret(jwt_secret)
    settings = CheckSettings(url, jwt_secret, queries, headers, timeout, slow, dialect=protocol)
    report = CheckReport(without_secrets(url))
    try:
        asyncio.run(_play(settings, report, None if as_json else Console()))
    except CannotRun as error:
        give_up(str(error))
    if as_json:
        typer.echo(report.as_json(strict=strict))
    if not report.is_ok(strict=strict):
        raise typer.Exit(FAILED)


async def _play(settings: CheckSettings, report: CheckReport, console: Console | None) -> None:
    printer = None if console is None else Printer(console)
    async with aclosing(play(settings)) as results:
        async for result in results:
            if console is not None and not report.results:
                console.print(Text.assemble(("Checking ", "bold"), report.url), soft_wrap=True)
            report.results.append(result)
            if printer is not None:
                printer.print(result)
    if printer is not None:
        printer.close(report)
