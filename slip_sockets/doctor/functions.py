"""Whether the functions are there, and configured as they were deployed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..protocol.urls import without_secrets
from .account import Account, NotThere, side_by_side
from .findings import Finding, fine, wrong
from .settings import FUNCTIONS, DoctorSettings

OTHER_DEPLOYMENT = "Deploy again; or these credentials or outputs are of another deployment"
ALIAS = "live"
INVOKED_BY_ALIAS = ("websocket", "control")
"""The APIs invoke a published version of these by the alias, so that it does not count what is changed by hand in the
unpublished one."""
DEPLOY = "Deploy again: it was changed by hand, or the outputs are older than it"


async def check_functions(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    configurations = await side_by_side(*(_configuration(account, settings, name) for name in FUNCTIONS))
    found = dict(zip(FUNCTIONS, configurations, strict=True))
    return judge(settings, found, where=account.where)


async def _configuration(account: Account, settings: DoctorSettings, name: str) -> dict[str, Any] | None:
    """Return the configuration that API Gateway or the queue invokes."""
    qualifier = {"Qualifier": ALIAS} if name in INVOKED_BY_ALIAS else {}
    try:
        return await account.call(
            "lambda", "get_function_configuration", FunctionName=settings.function(name), **qualifier
        )
    except NotThere:
        return None


def judge(
    settings: DoctorSettings, configurations: Mapping[str, Mapping[str, Any] | None], *, where: str
) -> list[Finding]:
    """`configurations` are Lambda's, by the functions' short names; None for one that does not exist."""
    findings = []
    for name, configuration in configurations.items():
        if configuration is None:
            finding = f"there is no function {settings.function(name)} {where}"
            findings.append(wrong("functions", finding, OTHER_DEPLOYMENT))
        else:
            problems = [*_problems_of(settings, name, configuration)]
            findings += [wrong("functions", f"{settings.function(name)}: {problem}", DEPLOY) for problem in problems]
    there = {name: _variables(each) for name, each in configurations.items() if each is not None}
    findings += [wrong("functions", problem, DEPLOY) for problem in _differences(there)]
    return findings or [fine("functions", f"{len(there)} functions are as deployed")]


def _problems_of(settings: DoctorSettings, name: str, configuration: Mapping[str, Any]) -> list[str]:
    problems = []
    # States of containers that have been idle for weeks, and of updates that go on, are no faults.
    if configuration.get("State") == "Failed" or configuration.get("LastUpdateStatus") == "Failed":
        reason = configuration.get("LastUpdateStatusReason") or configuration.get("StateReason") or "unknown reason"
        problems.append(f"Lambda could not set it up: {reason}")
    variables = _variables(configuration)
    expected = {"TARGET_URL": settings.outputs.target_url, "STACK_NAME": settings.stack}
    for variable, value in expected.items():
        has = variables.get(variable, "")
        if has != value:
            shown = [without_secrets(text) if "://" in text else text for text in (has, value)]
            found = f"is {shown[0]}" if has else "is not set"
            problems.append(f"its {variable} {found}; the outputs have {shown[1]}")
    return problems


def _differences(variables: Mapping[str, Mapping[str, str]]) -> list[str]:
    """All functions are deployed with the same variables. No value is shown: it may be secret."""
    names = sorted({name for each in variables.values() for name in each} - {"TARGET_URL", "STACK_NAME"})
    differing = [name for name in names if len({each.get(name) for each in variables.values()}) > 1]
    return [f"{name} is not the same in all functions" for name in differing]


def _variables(configuration: Mapping[str, Any]) -> Mapping[str, str]:
    variables: Mapping[str, str] = configuration.get("Environment", {}).get("Variables", {})
    return variables
