"""`slip-sockets doctor`."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Annotated

import typer
from rich.console import Console

from ..doctor.examine import examine
from ..doctor.findings import Finding
from ..doctor.report import Printer, as_document, is_ok
from ..doctor.settings import LAST_MINUTES, DoctorSettings
from ..protocol.tokens import secret_problem, split_secrets
from .deployment import DevOption, JsonOption, OutputsOption, SecretOption, StackOption, find_deployment
from .exit_codes import FAILED, give_up
from .handshake import HeaderOption, QueryOption, read_handshake
from .printing import print_json

MAX_MINUTES = 365 * 24 * 60

EXAMPLES = """Examples:

slip-sockets doctor --stack slip-sockets-staging

JWT_SECRET=change-me AWS_PROFILE=operator slip-sockets doctor --query room=tea --last 10

slip-sockets doctor --json"""


def doctor(
    stack: StackOption = "",
    path: OutputsOption = None,
    dev: DevOption = False,
    jwt_secret: SecretOption = "",
    previous_secrets: Annotated[
        str,
        typer.Option(
            envvar="JWT_PREVIOUS_SECRETS",
            help="Separated by commas: those that the deployment must take too, while a secret is being changed.",
            show_default=False,
        ),
    ] = "",
    query: QueryOption = None,
    header: HeaderOption = None,
    all_cases: Annotated[
        bool,
        typer.Option("--all-cases", help="Play all of slip-sockets check against the backend, odd texts included."),
    ] = False,
    last: Annotated[
        float, typer.Option(min=0.1, max=MAX_MINUTES, help="Minutes of the logs that are read.")
    ] = LAST_MINUTES,
    as_json: JsonOption = False,
) -> None:
    """Examine a deployment: what is wrong with it, and what to do about each thing.

    From outside: names, certificates, the secret, clocks, a client's socket, your backend. With credentials for AWS
    also from inside: functions, errors, queues, alarms, quotas. Nothing is changed in the account. Your backend handles
    an OPEN, a CLOSE and the cases of check about clients and tokens for real.

    Exit code: 0 if nothing is wrong, 1 if something is, 2 if the outputs or an option cannot be used. A check that
    cannot be made, for lack of credentials or a permission, is neither.
    """
    problems: list[str] = []
    previous = split_secrets(previous_secrets)
    named = {"JWT_SECRET": [jwt_secret] if jwt_secret else [], "JWT_PREVIOUS_SECRETS": previous}
    for name, secrets in named.items():
        problems += [f"{name} {problem}" for problem in map(secret_problem, secrets) if problem]
    queries, headers = read_handshake(query, header, problems)
    if problems:
        give_up(*problems)
    found = find_deployment(stack, path, dev=dev)
    settings = DoctorSettings(
        stack=found.stack,
        path=found.path,
        outputs=found.outputs,
        jwt_secret=jwt_secret,
        previous_secrets=previous,
        query=queries,
        headers=headers,
        all_cases=all_cases,
        last_minutes=last,
    )
    findings = asyncio.run(_examine(settings, None if as_json else Printer(Console())))
    if as_json:
        print_json(as_document(settings, findings))
    if not is_ok(findings):
        raise typer.Exit(FAILED)


async def _examine(settings: DoctorSettings, printer: Printer | None) -> list[Finding]:
    findings: list[Finding] = []
    if printer is not None:
        printer.begin(settings)
    async with aclosing(examine(settings)) as found:
        async for finding in found:
            findings.append(finding)
            if printer is not None:
                printer.print(finding)
    if printer is not None:
        printer.close(findings)
    return findings
