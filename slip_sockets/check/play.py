"""Runs all cases against a backend, in the order of a connection's life."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import msgspec

from ..apigateway.connection_ids import new_connection_id
from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..client.environment import proxy_of_environment
from ..gateway.errors import HttpFailure
from ..protocol.errors import InvalidSettings, SlipSocketsError
from ..protocol.events import SetMetadata, encode_metadata
from ..protocol.urls import without_secrets
from . import cases, judge
from .cases import Case, SimulatedClient
from .judge import Level, Verdict
from .target import AWAY, Attempt, Target

SLOW_S = 1.0
"""After this time people notice that they wait."""
MAX_HANGS = 2
"""After this number of timeouts the other cases are skipped."""


class CannotRun(SlipSocketsError):
    """The backend cannot be reached, so that there is nothing to check."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What to check, and how. `query` and `headers` are those that the backend needs to let a client in.

    With `groups` only the cases of these groups are played, after the first one, which the others depend on.
    """

    url: str
    jwt_secret: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = BACKEND_TIMEOUT_S
    slow_s: float = SLOW_S
    groups: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a case. `status` is None if there was no response, `seconds` if the case was skipped.

    `hint` is the usual reason why the case fails, empty if it is right.
    """

    name: str
    group: str
    title: str
    verdict: Verdict
    status: int | None = None
    seconds: float | None = None
    hint: str = ""


async def play(settings: CheckSettings) -> AsyncGenerator[Result, None]:
    """Yield a result for each case. Raises CannotRun before the first if the backend cannot be reached."""
    client = SimulatedClient(new_connection_id(), settings.jwt_secret, settings.headers, settings.query)
    async with Target(settings.url, settings.timeout_s) as target:
        first = cases.first_opening(client)
        opened = await target.post(first.headers, first.body)
        if opened.failure in AWAY:
            raise CannotRun(
                f"{without_secrets(settings.url)} cannot be reached: {opened.reason}. Is the backend running?"
                f"{_unused_proxy(settings.url)}"
            )
        result = _result(first, opened, settings)
        if judge.may_lack_the_token(opened):
            without = await target.post({k: v for k, v in first.headers.items() if k != "Authorization"}, first.body)
            result = replace(result, verdict=judge.compared(result.verdict, opened, without))
        yield result
        metadata = _stored(client, opened)
        is_in = result.verdict.level is not Level.WRONG
        hangs = int(opened.failure is HttpFailure.TIMEOUT)
        reason = "" if judge.is_valid(opened) else "skipped: fix the first one, and check again"
        for case in _others(client, metadata, settings.groups):
            if not reason and not is_in and case.group in (cases.TEXTS, cases.METADATA, cases.CLOSING):
                yield _skipped(case, "skipped: they need a client that is let in")
            elif reason:
                yield _skipped(case, reason)
            else:
                attempt = await target.post(case.headers, case.body)
                yield _result(case, attempt, settings)
                hangs += attempt.failure is HttpFailure.TIMEOUT
                if hangs >= MAX_HANGS:
                    reason = "skipped: the backend hangs too often"
                elif attempt.failure in AWAY:
                    reason = "skipped: the backend is gone"


def _unused_proxy(url: str) -> str:
    """Return a sentence about the environment's proxy for a URL, empty without one."""
    try:
        proxy = proxy_of_environment(url)
    except InvalidSettings:  # it is not used, so that it does no harm
        return ""
    return "" if proxy is None else f" The proxy {proxy} is not used: the gateway calls backends without one"


def _others(client: SimulatedClient, metadata: Any, groups: Collection[str] | None) -> list[Case]:
    every = chain(
        cases.openings(client),
        cases.texts(client, metadata),
        cases.odd_metadata(client),
        cases.closings(client, metadata),
        cases.tokens(client, metadata),
        cases.bodies(client, metadata),
    )
    return [case for case in every if groups is None or case.group in groups]


def _stored(client: SimulatedClient, opened: Attempt) -> Any:
    """Return the metadata that the gateway would send with later events."""
    metadata: Any = client.default_metadata()
    for event in judge.accepted_events(opened):
        if isinstance(event, SetMetadata) and event.connection_id == client.connection_id:
            metadata = event.metadata
    return msgspec.json.decode(encode_metadata(metadata))


def _result(case: Case, attempt: Attempt, settings: CheckSettings) -> Result:
    verdict = judge.with_pace(case.judge(attempt), attempt, case.kind, settings.slow_s)
    status = attempt.status if attempt.failure is None else None
    hint = "" if verdict.level is Level.RIGHT else case.hint
    return Result(case.name, case.group, case.title, verdict, status, attempt.seconds, hint)


def _skipped(case: Case, why: str) -> Result:
    return Result(case.name, case.group, case.title, Verdict(Level.SKIPPED, why))
