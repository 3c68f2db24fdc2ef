"""Runs all checks side by side, each within a time of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from . import alarms, apis, backend, client_socket, concurrency, control_api, functions, logs, queues, reach, state
from .account import TIMEOUT_S as ACCOUNT_TIMEOUT_S
from .account import Account
from .findings import CannotCheck, Finding, Verdict, unknown, without_secrets_in
from .outputs import check_outputs
from .settings import DoctorSettings

LOCAL_TIMEOUT_S = 5.0
LOGS_TIMEOUT_S = 60.0
"""Filtering a busy log takes several calls."""
REASON_TIMEOUT_S = 15.0
"""For the log's reason why a client was refused."""

GROUPS: dict[str, tuple[str, ...]] = {
    "The deployment": ("outputs", "state"),
    "From outside": ("websocket-url", "control-url", "secret", "clock", "socket", "backend"),
    "From inside": (
        "credentials",
        "urls",
        "functions",
        "errors",
        "backend-failures",
        "mapping",
        "deferred",
        "inbound",
        "dead-letters",
        "alarms",
        "concurrency",
        "throttles",
    ),
}
"""The names of all checks. An output has a finding for each, or several."""


@dataclass(frozen=True, slots=True)
class Check:
    """Makes the checks `names`, unless that named `after` found what blocks it."""

    names: tuple[str, ...]
    run: Callable[[], Awaitable[list[Finding]]]
    timeout_s: float
    after: str = ""


async def examine(settings: DoctorSettings) -> AsyncGenerator[Finding]:
    """Yield the findings in the order of GROUPS, each as soon as those before it are there."""
    account = Account(settings.outputs.region)
    checks = [*_from_outside(settings, account)]
    checks += _from_inside(settings, account) if settings.is_on_aws else [_no_account()]
    tasks: dict[str, asyncio.Task[list[Finding]]] = {}
    try:
        for check in checks:
            task = asyncio.create_task(_findings(check, tasks.get(check.after)))
            tasks |= dict.fromkeys(check.names, task)
        for task in dict.fromkeys(tasks[name] for names in GROUPS.values() for name in names):
            for finding in await task:
                yield without_secrets_in(finding, settings.secrets)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _from_outside(settings: DoctorSettings, account: Account) -> list[Check]:
    outputs = settings.outputs

    async def refusals(since: float) -> list[str]:
        if not settings.is_on_aws:
            return []
        try:
            async with asyncio.timeout(REASON_TIMEOUT_S):
                return await logs.refusals(settings, account, since)
        except (CannotCheck, TimeoutError):  # without the log the status is known
            return []

    def reached(name: str, url: str) -> Check:
        return Check((name,), lambda: reach.check_url(name, url, now=settings.now()), reach.TIMEOUT_S)

    return [
        Check(("outputs",), partial(check_outputs, settings), LOCAL_TIMEOUT_S),
        Check(("state",), partial(state.check_state, settings), LOCAL_TIMEOUT_S)
        if settings.is_on_aws
        else Check(("state",), _of_dev_server, LOCAL_TIMEOUT_S),
        reached("websocket-url", outputs.websocket_url),
        reached("control-url", outputs.control_api),
        Check(
            ("secret", "clock"),
            partial(control_api.check_control_api, settings),
            control_api.TIMEOUT_S,
            after="control-url",
        ),
        Check(
            ("socket",),
            partial(client_socket.check_socket, settings, refusals),
            client_socket.TIMEOUT_S,
            after="websocket-url",
        ),
        Check(("backend",), partial(backend.check_backend, settings), backend.TIMEOUT_S),
    ]


def _from_inside(settings: DoctorSettings, account: Account) -> list[Check]:
    def inside(
        names: tuple[str, ...],
        run: Callable[[DoctorSettings, Account], Awaitable[list[Finding]]],
        timeout_s: float = ACCOUNT_TIMEOUT_S * 2,
    ) -> Check:
        return Check(names, partial(run, settings, account), timeout_s, after="credentials")

    return [
        Check(("credentials",), account.check, ACCOUNT_TIMEOUT_S),
        inside(("urls",), apis.check_urls),
        inside(("functions",), functions.check_functions),
        inside(("errors", "backend-failures"), logs.check_errors, LOGS_TIMEOUT_S),
        inside(("mapping",), concurrency.check_mapping),
        inside(("deferred", "inbound", "dead-letters"), queues.check_queues),
        inside(("alarms",), alarms.check_alarms),
        inside(("concurrency",), concurrency.check_concurrency),
        inside(("throttles",), apis.check_throttles),
    ]


def _no_account() -> Check:
    return Check(GROUPS["From inside"], _of_dev_server, LOCAL_TIMEOUT_S)


async def _of_dev_server() -> list[Finding]:
    raise CannotCheck("a development server is in no account of AWS", "A deployment")


async def _findings(check: Check, before: asyncio.Task[list[Finding]] | None) -> list[Finding]:
    if before is not None:
        blocking = next((finding for finding in await before if finding.blocks), None)
        if blocking is not None:
            needed = blocking.fix if blocking.verdict is Verdict.UNKNOWN else f"`{blocking.check}` to be fine"
            return [unknown(name, blocking.finding, needed, blocks=True) for name in check.names]
    try:
        async with asyncio.timeout(check.timeout_s):
            return await check.run()
    except CannotCheck as error:
        return [unknown(name, str(error), error.needed, blocks=True) for name in check.names]
    except TimeoutError:
        reason = f"not done within {check.timeout_s:g} s"
        return [unknown(name, reason, "Try again", blocks=True) for name in check.names]
