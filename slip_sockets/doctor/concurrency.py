"""Whether the queues lead to their function, and Lambda's quota has room for the settings of the deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .account import Account, NotThere, side_by_side
from .findings import Finding, fine, wrong
from .settings import FUNCTIONS, DoctorSettings

RAISE = (
    "Request more of Lambda's concurrent executions; until then deploy with a smaller DELIVER_CONCURRENCY or "
    "PROVISIONED_CONCURRENCY"
)

DELETE_RESERVATION = "It was changed by hand: delete the reservation"


async def check_mapping(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    return judge_mappings(settings, await _mappings(account, settings))


async def check_concurrency(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    mappings, provisioned, limits, *reserved = await side_by_side(
        _mappings(account, settings),
        _provisioned(account, settings),
        account.call("lambda", "get_account_settings"),
        *(_reserved(account, settings.function(name)) for name in FUNCTIONS),
    )
    deliver = max((each.get("ScalingConfig", {}).get("MaximumConcurrency", 0) for each in mappings), default=0)
    limit = int(limits["AccountLimit"]["ConcurrentExecutions"])
    stopped = [settings.function(name) for name, number in zip(FUNCTIONS, reserved, strict=True) if number == 0]
    findings = [
        wrong("concurrency", f"{name} may not run at all: its reserved concurrency is 0", DELETE_RESERVATION)
        for name in stopped
    ]
    return [*findings, judge_concurrency(limit, deliver=deliver, provisioned=provisioned)]


async def _mappings(account: Account, settings: DoctorSettings) -> list[dict[str, Any]]:
    arn = account.function_arn(settings.function("deliver"))
    try:
        return await account.pages("lambda", "list_event_source_mappings", "EventSourceMappings", FunctionName=arn)
    except NotThere:
        return []


async def _provisioned(account: Account, settings: DoctorSettings) -> int:
    try:
        configs = await account.pages(
            "lambda",
            "list_provisioned_concurrency_configs",
            "ProvisionedConcurrencyConfigs",
            FunctionName=settings.function("websocket"),
        )
    except NotThere:
        return 0
    return sum(int(config["RequestedProvisionedConcurrentExecutions"]) for config in configs)


async def _reserved(account: Account, function: str) -> int | None:
    try:
        response = await account.call("lambda", "get_function_concurrency", FunctionName=function)
    except NotThere:
        return None
    return response.get("ReservedConcurrentExecutions")


def judge_mappings(settings: DoctorSettings, mappings: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """`mappings` are the event source mappings of the deliver function."""
    deliver = settings.function("deliver")
    findings = []
    for queue in (f"{settings.stack}-deferred.fifo", f"{settings.stack}-inbound.fifo"):
        states = [each.get("State") for each in mappings if str(each["EventSourceArn"]).endswith(f":{queue}")]
        if not states:
            findings.append(wrong("mapping", f"nothing leads the messages of {queue} to {deliver}", "Deploy again"))
        elif all(state in ("Disabled", "Disabling") for state in states):
            finding = f"the messages of {queue} wait: their mapping to {deliver} is switched off"
            findings.append(wrong("mapping", finding, "It was changed by hand: deploy again"))
    return findings or [fine("mapping", f"both queues lead to {deliver}")]


def judge_concurrency(limit: int, *, deliver: int, provisioned: int) -> Finding:
    """`limit` is the account's in the region, `deliver` the largest number of functions that read the queue."""
    rest = limit - deliver - provisioned
    parts = f"{deliver} for the queue and {provisioned} kept warm"
    if rest > 0:
        text = f"Lambda runs {limit:,} functions at once in this account: {parts} leave {rest:,}"
        return fine("concurrency", text)
    finding = f"Lambda runs only {limit:,} functions at once in this account, and the deployment has {parts}"
    return wrong("concurrency", f"{finding}: a fan-out may leave none to clients", RAISE)
