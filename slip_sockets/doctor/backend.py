"""Whether the backend passes `slip-sockets check`: by default without its odd texts, which a backend may store."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from ..check.cases import CLOSING, OPENING, TOKENS
from ..check.judge import Level, Verdict
from ..check.play import CannotRun, CheckSettings, Result, play
from ..dialects import Dialect
from ..protocol.urls import url_problem, without_secrets
from .control_api import NO_SECRET
from .findings import CannotCheck, Finding, counted, fine, wrong
from .outputs import WRITE_ANEW
from .settings import DoctorSettings

RESPONSE_S = 10.0
"""A backend that takes longer is not well, though the gateway waits for 25 s."""
TIMEOUT_S = 90.0
QUICK = frozenset({OPENING, CLOSING, TOKENS})
"""Groups of cases: clients that come and go, and tokens that it must refuse."""


async def check_backend(settings: DoctorSettings) -> list[Finding]:
    url = settings.outputs.target_url
    if url_problem(url):
        raise CannotCheck("the outputs have no targetUrl", WRITE_ANEW)
    if not settings.jwt_secret:
        raise CannotCheck("JWT_SECRET is not set", NO_SECRET)
    groups = None if settings.all_cases else QUICK
    dialect = Dialect.SLIP if settings.outputs.grip_url is msgspec.UNSET else Dialect.GRIP
    checked = CheckSettings(
        url, settings.jwt_secret, settings.query, settings.headers, RESPONSE_S, groups=groups, dialect=dialect
    )
    results: list[Result] = []
    try:
        async with aclosing(play(checked)) as played:
            results = [result async for result in played]
    except CannotRun as error:
        fix = "Start it, or deploy with its TARGET_URL. From here it may be blocked where the functions are not"
        return [wrong("backend", str(error), fix)]
    return judge(without_secrets(url), results)


def judge(url: str, results: Sequence[Result]) -> list[Finding]:
    """Return a finding for each thing that is wrong, or one that all is fine."""
    titles: dict[Verdict, list[str]] = {}
    for result in results:
        if result.verdict.level is Level.WRONG:
            titles.setdefault(result.verdict, []).append(result.title)
    if titles:
        return [wrong("backend", _finding(url, verdict, cases), verdict.fix) for verdict, cases in titles.items()]
    levels = [result.verdict.level for result in results]
    warnings = levels.count(Level.WARNING)
    more = f", {warnings} with a warning: see `slip-sockets check`" if warnings else ""
    return [fine("backend", f"{url} handles {counted(len(levels) - levels.count(Level.SKIPPED), 'case')}{more}")]


def _finding(url: str, verdict: Verdict, titles: Sequence[str]) -> str:
    others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    return f"{url}, {titles[0]}{others}: {verdict.finding}"
