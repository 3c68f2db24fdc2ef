"""Plays all cases at a backend, in the order of a connection's life."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from ..errors import SlipSocketsError
from ..events import SetMetadata, encode_metadata
from ..gateway.backend import TIMEOUT_S, without_secrets
from . import cases, judge
from .cases import Case, Client
from .exchange import Backend, Exchange, Failure
from .judge import Level, Verdict

SLOW_S = 1.0
"""From here on a client notices that it waits."""
MAX_HANGS = 2
"""So often the whole timeout is waited for; then the rest is left out."""


class CannotRun(SlipSocketsError):
    """There is nothing to check: the backend cannot be reached."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What is checked, and how. `query` and `headers` are what the backend needs to let a client in."""

    url: str
    jwt_secret: str
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = TIMEOUT_S
    slow_s: float = SLOW_S


@dataclass(frozen=True, slots=True)
class Result:
    """A case that was played, or skipped. `status` is None where no answer came, `seconds` where none was asked for.

    `hint` says what the case usually fails for, empty where it is right.
    """

    name: str
    group: str
    title: str
    verdict: Verdict
    status: int | None = None
    seconds: float | None = None
    hint: str = ""


async def play(settings: CheckSettings) -> AsyncGenerator[Result, None]:
    """Yield a result for each case. Raises CannotRun before the first where the backend cannot be reached."""
    whose = f"{secrets.token_urlsafe(12)[:15]}="
    client = Client(whose, settings.jwt_secret, settings.headers, settings.query)
    async with Backend(settings.url, settings.timeout_s) as backend:
        first = cases.first_opening(client)
        opened = await backend.post(first.headers, first.body)
        if opened.failure is Failure.UNREACHABLE:
            raise CannotRun(
                f"{without_secrets(settings.url)} cannot be reached: {opened.reason}. Is the backend running?"
            )
        result = _result(first, opened, settings)
        yield result
        metadata = _stored(client, opened)
        is_in = result.verdict.level is not Level.WRONG
        hangs = int(opened.failure is Failure.TIMEOUT)
        reason = "" if judge.is_answer(opened) else "not played: mend the first one, and check again"
        for case in _others(client, metadata):
            if not reason and not is_in and case.group in (cases.TEXTS, cases.METADATA, cases.CLOSING):
                yield _skipped(case, "not played: a client must be let in for this")
            elif reason:
                yield _skipped(case, reason)
            else:
                exchange = await backend.post(case.headers, case.body)
                yield _result(case, exchange, settings)
                hangs += exchange.failure is Failure.TIMEOUT
                if hangs >= MAX_HANGS:
                    reason = "not played: it hangs too often"
                elif exchange.failure is Failure.UNREACHABLE:
                    reason = "not played: the backend is gone"


def _others(client: Client, metadata: Any) -> list[Case]:
    return list(
        chain(
            cases.openings(client),
            cases.texts(client, metadata),
            cases.odd_metadata(client),
            cases.closings(client, metadata),
            cases.tokens(client, metadata),
            cases.bodies(client, metadata),
        )
    )


def _stored(client: Client, opened: Exchange) -> Any:
    """Return what the gateway would send back with later events."""
    metadata: Any = client.default_metadata()
    for event in judge.accepted_events(opened):
        if isinstance(event, SetMetadata) and event.connection_id == client.connection_id:
            metadata = event.metadata
    return msgspec.json.decode(encode_metadata(metadata))


def _result(case: Case, exchange: Exchange, settings: CheckSettings) -> Result:
    verdict = judge.with_pace(case.judge(exchange), exchange, case.kind, settings.slow_s)
    status = exchange.status if exchange.failure is None else None
    hint = "" if verdict.level is Level.RIGHT else case.hint
    return Result(case.name, case.group, case.title, verdict, status, exchange.seconds, hint)


def _skipped(case: Case, why: str) -> Result:
    return Result(case.name, case.group, case.title, Verdict(Level.SKIPPED, why))
