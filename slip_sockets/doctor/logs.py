"""What went wrong in the functions of late, by their logs, which hold no texts and no tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .account import Account, NotThere, side_by_side
from .findings import Finding, counted, fine, wrong
from .settings import FUNCTIONS, DoctorSettings

PROBLEMS = "?WARNING ?ERROR ?CRITICAL ?error ?failure ?timeout ?BackendFailures"
"""Lines with one of these words.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html"""
MAX_LINES = 1_000
"""Of each function, the oldest first. If there are more, numbers are lower bounds."""
MAX_CHARACTERS = 300
SHOWN = 3
FOUND_WITHIN_S = 12
"""CloudWatch shows a line some seconds after it was written."""
INTERVAL_S = 1.0
FIX_ERRORS = "docs/operations.md has what each alarm of the function means. If it began with a deploy, roll back"

_WORSE_THAN_WARNING = ("ERROR", "CRITICAL")
_STATUSES_OF_FAILURES = ("error", "failure", "timeout")
"""https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html"""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line about something that failed, at `at` (Unix seconds)."""

    at: float
    text: str


async def check_errors(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    since = settings.now() - settings.last_minutes * 60
    lines = await side_by_side(*(_lines(account, settings.function(name), since) for name in FUNCTIONS))
    findings = []
    for name, found in zip(FUNCTIONS, lines, strict=True):
        is_cut = len(found) >= MAX_LINES
        of_function = problems(found)
        findings.append(judge_errors(settings.function(name), of_function, settings.last_minutes, is_cut=is_cut))
    return [*findings, judge_backend_failures(dict(zip(FUNCTIONS, lines, strict=True)), settings.last_minutes)]


async def refusals(settings: DoctorSettings, account: Account, since: float) -> list[str]:
    """Return what the websocket function has logged since `since`, waiting for its first line. Raises CannotCheck."""
    for _ in range(round(FOUND_WITHIN_S / INTERVAL_S)):
        lines = await _lines(account, settings.function("websocket"), since - 1)
        texts = [_text(document) for _, document in lines if _is_about_a_failure(document)]
        if texts:
            return list(dict.fromkeys(texts))[:SHOWN]
        await asyncio.sleep(INTERVAL_S)
    return []


async def _lines(account: Account, function: str, since: float) -> list[tuple[float, dict[str, Any]]]:
    """Return the time and the content of each line."""
    parameters = {"logGroupName": f"/aws/lambda/{function}", "startTime": int(since * 1000), "filterPattern": PROBLEMS}
    lines: list[tuple[float, dict[str, Any]]] = []
    token: dict[str, str] = {}
    try:
        while len(lines) < MAX_LINES:
            page = await account.call("logs", "filter_log_events", **parameters, **token)
            lines += [(each["timestamp"] / 1000, _document(each["message"])) for each in page.get("events", [])]
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
    except NotThere:  # `functions` reports a function that is missing
        return []
    return lines


def _document(message: str) -> dict[str, Any]:
    try:
        document = json.loads(message)
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"message": message}


def problems(lines: Sequence[tuple[float, Mapping[str, Any]]]) -> list[Problem]:
    """Return the errors among lines. A filter of CloudWatch finds words anywhere, so that others are among them."""
    return [Problem(at, _text(line)) for at, line in lines if _is_error(line)]


def judge_errors(function: str, found: Sequence[Problem], last_minutes: float, *, is_cut: bool = False) -> Finding:
    """With `is_cut` the log has more lines than were read."""
    if not found:
        return fine("errors", f"{function} has logged no error in {last_minutes:g} minutes")
    times = [problem.at for problem in found]
    finding = (
        f"{function} has logged {_number(times, 'error', is_cut)} in {last_minutes:g} minutes, {_last(times, is_cut)}"
    )
    common = [text for text, _ in Counter(problem.text for problem in found).most_common(SHOWN)]
    return wrong("errors", f"{finding}: {'; '.join(common)}", FIX_ERRORS)


def judge_backend_failures(
    lines: Mapping[str, Sequence[tuple[float, Mapping[str, Any]]]], last_minutes: float
) -> Finding:
    """A function's line for an event counts the calls of the backend that failed."""
    times = [
        at
        for of_function in lines.values()
        for at, line in of_function
        for _ in range(int(line["BackendFailures"]) if isinstance(line.get("BackendFailures"), int) else 0)
    ]
    if not times:
        return fine("backend-failures", f"no call of the backend has failed in {last_minutes:g} minutes")
    is_cut = any(len(of_function) >= MAX_LINES for of_function in lines.values())
    number = _number(times, "failed call", is_cut)
    finding = f"{number} of the backend in {last_minutes:g} minutes, {_last(times, is_cut)}"
    fix = "See `backend` and `socket`; docs/operations.md#backend-failing has the lines of the log"
    return wrong("backend-failures", finding, fix)


def _is_error(line: Mapping[str, Any]) -> bool:
    """Our lines and the runtime's have a level; those of Lambda itself a type and a record."""
    record = line.get("record")
    if isinstance(record, dict) and record.get("status") in _STATUSES_OF_FAILURES:
        return True
    if "level" in line:
        return line["level"] in _WORSE_THAN_WARNING
    return "errorType" in line or "Task timed out" in str(line.get("message", ""))


def _is_about_a_failure(line: Mapping[str, Any]) -> bool:
    return _is_error(line) or line.get("level") == "WARNING"


def _text(line: Mapping[str, Any]) -> str:
    record = line.get("record")
    if isinstance(record, dict):
        text = f"{line.get('type')}: {record.get('errorType') or record.get('status')}"
    elif "errorType" in line:
        text = f"{line['errorType']}: {line.get('errorMessage', '')}"
    else:
        text = str(line.get("message", ""))
    text = " ".join(text.split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def _number(times: Sequence[float], noun: str, is_cut: bool) -> str:
    return f"{'at least ' if is_cut else ''}{counted(len(times), noun)}"


def _last(times: Sequence[float], is_cut: bool) -> str:
    at = dt.datetime.fromtimestamp(max(times), dt.UTC).strftime("%H:%M:%SZ")
    return f"and more after {at}" if is_cut else f"the last at {at}"
