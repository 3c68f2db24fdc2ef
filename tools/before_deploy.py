"""Refuses what could not succeed, or would destroy what it must not, before `cdktf` starts and changes anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from slip_sockets.protocol.errors import InvalidSettings
from stacks.settings import StageSettings

from .aws_login import QUICK, Login

FEW_FUNCTIONS = 200
"""A new account may run 10 functions at once; older ones run 1,000 or more.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
KEPT_UNRESERVED = 100
"""https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html"""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many functions an account runs at once in a region; `unreserved` is what no function has for itself."""

    limit: int
    unreserved: int


def refuse_what_cannot_succeed(action: str, settings: StageSettings, login: Login, root: Path) -> list[str]:
    """Return what an operator should know before the action. Raises InvalidSettings where it must not begin."""
    state = read_state(settings, login, root)
    problems = [*moved(settings, state)]
    notes: list[str] = []
    if action == "destroy":
        problems += protected(settings, state)
    elif not login.is_local:
        try:
            concurrency = read_concurrency(login)
        except (BotoCoreError, ClientError) as error:
            reason = " ".join(str(error).split())
            notes.append(f"how many functions the account may run at once is not known: {reason}")
        else:
            problems += too_many_kept_warm(settings, concurrency)
            notes += few_functions(settings, concurrency)
    if problems:
        raise InvalidSettings(problems)
    return notes


def read_state(settings: StageSettings, login: Login, root: Path) -> Mapping[str, Any]:
    """Return a stack's state; empty where there is none, or where only Terraform can say why it cannot be read."""
    try:
        if settings.state_bucket is None:
            content = (root / f"terraform.{settings.stack_name}.tfstate").read_bytes()
        else:
            s3: Any = login.session.client("s3", config=QUICK)
            found = s3.get_object(Bucket=settings.state_bucket, Key=f"{settings.stack_name}.tfstate")
            content = found["Body"].read()
        state = json.loads(content)
    except (OSError, BotoCoreError, ClientError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def moved(settings: StageSettings, state: Mapping[str, Any]) -> Iterator[str]:
    """Terraform would forget the stack in its old region, and make one in the new."""
    region = state.get("outputs", {}).get("region", {}).get("value", settings.region)
    if region != settings.region:
        yield (
            f"{settings.stack_name} is in {region}, by its state, and not in {settings.region} "
            f"({settings.region_source}). Set {settings.stage.upper()}_AWS_REGION={region}. "
            "To move it, destroy it there first"
        )


def protected(settings: StageSettings, state: Mapping[str, Any]) -> Iterator[str]:
    """AWS would refuse to delete the tables when all else is gone, the queue with its dead letters too."""
    variable = f"{settings.stage.upper()}_DELETION_PROTECTION"
    if settings.deletion_protection:
        yield (
            f"{settings.stack_name} is protected, and nothing was destroyed. To destroy it: "
            f"export {variable}=false; make deploy-{settings.stage}; make destroy-{settings.stage}"
        )
    elif tables := list(_protected_tables(state)):
        yield (
            f"{' and '.join(tables)} are still protected, and nothing was destroyed. "
            f"First: make deploy-{settings.stage}, with {variable}=false"
        )


def _protected_tables(state: Mapping[str, Any]) -> Iterator[str]:
    for resource in state.get("resources", ()):
        for instance in resource.get("instances", ()):
            if instance.get("attributes", {}).get("deletion_protection_enabled") is True:
                yield str(instance["attributes"]["name"])


def read_concurrency(login: Login) -> Concurrency:
    """Raises BotoCoreError or ClientError."""
    client: Any = login.session.client("lambda", config=QUICK)
    limits = client.get_account_settings()["AccountLimit"]
    return Concurrency(int(limits["ConcurrentExecutions"]), int(limits["UnreservedConcurrentExecutions"]))


def too_many_kept_warm(settings: StageSettings, concurrency: Concurrency) -> Iterator[str]:
    most = max(0, concurrency.unreserved - KEPT_UNRESERVED) // 2
    if settings.provisioned_concurrency > most:
        yield (
            f"PROVISIONED_CONCURRENCY is {settings.provisioned_concurrency}, and the account can keep {most} functions "
            f"warm in {settings.region}: a deploy needs them twice, and of its {concurrency.limit} concurrent "
            f"executions Lambda leaves {KEPT_UNRESERVED} to all functions. "
            f"Set it to {most}, or {_raise_the_limit(settings)}"
        )


def few_functions(settings: StageSettings, concurrency: Concurrency) -> Iterator[str]:
    limit, deliver = concurrency.limit, settings.deliver_concurrency
    runs = f"the account runs at most {limit} functions at once in {settings.region}"
    if deliver > limit // 2:
        less = max(2, limit // 2)
        yield (
            f"{runs}, and DELIVER_CONCURRENCY={deliver} lets a large publish take them from clients, who are refused "
            f"meanwhile. Set DELIVER_CONCURRENCY={less}, and {_raise_the_limit(settings)}"
        )
    elif limit < FEW_FUNCTIONS:
        yield f"{runs}; each event takes one while your backend responds. To have more, {_raise_the_limit(settings)}"


def _raise_the_limit(settings: StageSettings) -> str:
    return (
        "request a higher limit: aws service-quotas request-service-quota-increase --service-code lambda "
        f"--quota-code L-B99A9384 --desired-value 1000 --region {settings.region}"
    )
