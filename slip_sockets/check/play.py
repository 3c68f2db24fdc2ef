"""Runs all cases against a backend, in the order of a connection's life."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..apigateway.connection_ids import new_connection_id
from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..client.environment import proxy_of_environment
from ..dialects import Dialect
from ..gateway.errors import HttpFailure
from ..protocol.errors import InvalidSettings, SlipSocketsError
from ..protocol.urls import without_secrets
from . import cases, judge
from .cases import Case, SimulatedClient, SlipSuite
from .grip_cases import GripSuite
from .judge import Level, Verdict
from .target import AWAY, Attempt, Target

SLOW_S = 1.0
"""After this time people notice that they wait."""
MAX_HANGS = 2
"""After this number of timeouts the other cases are skipped."""


class _Suite(Protocol):
    """The cases of a dialect."""

    def first(self) -> Case:
        """Return the case on which all others depend."""

    def is_valid(self, opened: Attempt) -> bool:
        """Return whether the first response is such that other cases can be played."""

    def others(self) -> Iterator[Case]:
        """Yield the others in the order of a connection's life, each after the response to the one before."""


class CannotRun(SlipSocketsError):
    """The backend cannot be reached, so that there is nothing to check."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What to check, and how: a backend that speaks `dialect`, and has `jwt_secret`, as the key of GRIP_URL in GRIP.

    `query` and `headers` are those that the backend needs to let a client in.

    With `groups` only the cases of these groups are played, after the first one, which the others depend on.
    """

    url: str
    jwt_secret: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = BACKEND_TIMEOUT_S
    slow_s: float = SLOW_S
    groups: Collection[str] | None = None
    dialect: Dialect = Dialect.SLIP


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
    suite = _suite(settings)
    async with Target(settings.url, settings.timeout_s) as target:
        first = suite.first()
        opened = await target.post(first.headers, first.body, first.query)
        if opened.failure in AWAY:
            raise CannotRun(
                f"{without_secrets(settings.url)} cannot be reached: {opened.reason}. Is the backend running?"
                f"{_unused_proxy(settings.url)}"
            )
        first.remember(opened)
        result = _result(first, opened, settings)
        if settings.dialect is Dialect.SLIP and judge.may_lack_the_token(opened):
            without = await target.post({k: v for k, v in first.headers.items() if k != "Authorization"}, first.body)
            result = replace(result, verdict=judge.compared(result.verdict, opened, without))
        yield result
        is_in = result.verdict.level is not Level.WRONG
        hangs = int(opened.failure is HttpFailure.TIMEOUT)
        reason = "" if suite.is_valid(opened) else "skipped: fix the first one, and check again"
        for case in suite.others():
            if settings.groups is not None and case.group not in settings.groups:
                continue
            if not reason and not is_in and case.group in (cases.TEXTS, cases.METADATA, cases.OCCUPANCY, cases.CLOSING):
                yield _skipped(case, "skipped: they need a client that is let in")
            elif reason:
                yield _skipped(case, reason)
            else:
                attempt = await target.post(case.headers, case.body, case.query)
                yield _result(case, attempt, settings)
                case.remember(attempt)
                hangs += attempt.failure is HttpFailure.TIMEOUT
                if hangs >= MAX_HANGS:
                    reason = "skipped: the backend hangs too often"
                elif attempt.failure in AWAY:
                    reason = "skipped: the backend is gone"


def _suite(settings: CheckSettings) -> _Suite:
    if settings.dialect is Dialect.GRIP:
        return GripSuite(settings.url, settings.jwt_secret, settings.headers, settings.query)
    client = SimulatedClient(new_connection_id(), settings.jwt_secret, settings.headers, settings.query)
    return SlipSuite(client)


def _unused_proxy(url: str) -> str:
    """Return a sentence about the environment's proxy for a URL, empty without one."""
    try:
        proxy = proxy_of_environment(url)
    except InvalidSettings:  # it is not used, so that it does no harm
        return ""
    return "" if proxy is None else f" The proxy {proxy} is not used: the gateway calls backends without one"


def _result(case: Case, attempt: Attempt, settings: CheckSettings) -> Result:
    verdict = judge.with_pace(case.judge(attempt), attempt, case.kind, settings.slow_s)
    status = attempt.status if attempt.failure is None else None
    hint = "" if verdict.level is Level.RIGHT else case.hint
    return Result(case.name, case.group, case.title, verdict, status, attempt.seconds, hint)


def _skipped(case: Case, why: str) -> Result:
    return Result(case.name, case.group, case.title, Verdict(Level.SKIPPED, why))
