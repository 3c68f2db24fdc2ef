"""Prints the results: lines for a person, or one JSON document for a program."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from .judge import Level, Verdict
from .play import Result

MARKS = {Level.RIGHT: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.WRONG: ("✗", "bold red")}
PLAIN_MARKS = {Level.RIGHT: "ok   ", Level.WARNING: "look ", Level.WRONG: "WRONG"}


@dataclass(slots=True)
class CheckReport:
    """All results so far."""

    url: str
    results: list[Result] = field(default_factory=list)

    @property
    def counts(self) -> dict[Level, int]:
        counted = Counter(result.verdict.level for result in self.results)
        return {level: counted[level] for level in Level}

    def is_ok(self, *, strict: bool) -> bool:
        """Return whether nothing is wrong; with `strict`, whether there is no warning either."""
        counts = self.counts
        return not counts[Level.WRONG] and not (strict and counts[Level.WARNING])

    def as_json(self, *, strict: bool) -> str:
        document: dict[str, Any] = {
            "url": self.url,
            "ok": self.is_ok(strict=strict),
            "counts": {str(level): count for level, count in self.counts.items()},
            "checks": [_as_object(result) for result in self.results],
        }
        return msgspec.json.format(msgspec.json.encode(document)).decode()


class Printer:
    """Prints results when they come, by groups. A finding of several in a row is printed once, after the last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._group = self._hint = ""
        self._skipped: list[Result] = []
        self._unexplained: Verdict | None = None
        """A finding that is printed once another one comes."""
        self._has_marks = (console.encoding or "").lower().replace("-", "") == "utf8"

    def print(self, result: Result) -> None:
        verdict = result.verdict
        if self._unexplained is not None and (self._unexplained != verdict or result.group != self._group):
            self._explain(self._unexplained)
        if verdict.level is Level.SKIPPED:
            self._skipped.append(result)
            return
        self._title(result.group)
        mark, style = MARKS[verdict.level]
        mark = mark if self._has_marks else PLAIN_MARKS[verdict.level]
        is_right = verdict.level is Level.RIGHT
        line = Text.assemble("  ", (mark, style), " ", (result.title, "" if is_right else "bold"))
        if is_right:
            line.append(f"  {verdict.finding}{_pace(result)}", "dim")
        self._console.print(line, soft_wrap=True)
        if result.hint and result.hint != self._hint:
            self._indented(Text(_sentence(result.hint)))
        self._hint = result.hint
        if not is_right:
            self._unexplained = verdict

    def close(self, report: CheckReport) -> None:
        """Print the skipped cases and the totals."""
        if self._unexplained is not None:
            self._explain(self._unexplained)
        reasons = Counter(result.verdict.finding for result in self._skipped)
        counts = report.counts
        self._console.print()
        for reason, count in reasons.items():
            self._console.print(Text(f"{_count(count, 'check')} {reason}.", "dim"), soft_wrap=True)
        parts = [(f"{counts[Level.RIGHT]} right", "green")]
        if counts[Level.WARNING]:
            parts.append((f"{_count(counts[Level.WARNING], 'warning')}", "yellow"))
        parts.append((f"{counts[Level.WRONG]} wrong", "bold red" if counts[Level.WRONG] else "dim"))
        joined = [piece for part in parts for piece in (", ", part)][1:]
        self._console.print(Text.assemble(*joined, "."))

    def _explain(self, verdict: Verdict) -> None:
        self._unexplained = None
        self._indented(Text(_sentence(verdict.finding), MARKS[verdict.level][1]))
        self._indented(Text.assemble(("Fix: ", "bold"), _sentence(verdict.fix)))

    def _title(self, group: str) -> None:
        if group != self._group:
            self._console.print()
            self._console.print(Text(group, "bold"))
            self._group = group

    def _indented(self, text: Text) -> None:
        indent = 4 if self._has_marks else 8
        for line in text.wrap(self._console, self._console.width - indent):
            self._console.print(Text.assemble(" " * indent, line))


def _as_object(result: Result) -> dict[str, Any]:
    milliseconds = None if result.seconds is None else round(result.seconds * 1000, 1)
    return {
        "name": result.name,
        "group": result.group,
        "title": result.title,
        "verdict": str(result.verdict.level),
        "finding": result.verdict.finding,
        "fix": result.verdict.fix,
        "hint": result.hint,
        "status": result.status,
        "milliseconds": milliseconds,
    }


def _pace(result: Result) -> str:
    return "" if result.seconds is None else f", {result.seconds * 1000:.0f} ms"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"
