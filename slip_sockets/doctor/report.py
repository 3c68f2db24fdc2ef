"""Prints findings: lines for a person, or one JSON document for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from ..protocol.quoting import path_text
from .examine import GROUPS
from .findings import Finding, Verdict
from .settings import DoctorSettings

MARKS = {Verdict.FINE: ("✓", "green"), Verdict.WRONG: ("✗", "bold red"), Verdict.UNKNOWN: ("?", "yellow")}
PLAIN_MARKS = {Verdict.FINE: "ok   ", Verdict.WRONG: "WRONG", Verdict.UNKNOWN: "?    "}

_GROUP_OF = {check: group for group, checks in GROUPS.items() for check in checks}


def is_ok(findings: Sequence[Finding]) -> bool:
    """Return whether nothing is wrong, as far as it could be checked."""
    return all(finding.verdict is not Verdict.WRONG for finding in findings)


def as_document(settings: DoctorSettings, findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of --json. docs/operations.md describes it."""
    counts = Counter(finding.verdict for finding in findings)
    return {
        "stack": settings.stack,
        "outputs": path_text(settings.path),
        "region": settings.outputs.region,
        "ok": is_ok(findings),
        "counts": {verdict.value: counts[verdict] for verdict in Verdict},
        "findings": [
            {
                "check": finding.check,
                "verdict": finding.verdict.value,
                "finding": finding.finding,
                "fix": finding.fix,
            }
            for finding in findings
        ],
    }


class Printer:
    """Prints findings when they come, by groups. Checks that cannot be made for one reason are printed together."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._group = ""
        self._unknown: dict[tuple[str, str], dict[str, None]] = {}  # names of checks by reason and what they need
        self._has_marks = (console.encoding or "").lower().replace("-", "") == "utf8"

    def begin(self, settings: DoctorSettings) -> None:
        self._line(Text.assemble(("Examining ", "bold"), f"{settings.stack}, of {settings.path}"))

    def print(self, finding: Finding) -> None:
        if finding.verdict is Verdict.UNKNOWN:
            self._unknown.setdefault((finding.finding, finding.fix), {})[finding.check] = None
            return
        group = _GROUP_OF[finding.check]
        if group != self._group:
            self._group = group
            self._title(group)
        self._finding(finding)

    def close(self, findings: Sequence[Finding]) -> None:
        """Print the checks that could not be made, and the totals."""
        if self._unknown:
            self._title("Not checked")
        for (reason, needed), checks in self._unknown.items():
            self._finding(Finding(", ".join(checks), Verdict.UNKNOWN, reason, needed))
        counts = Counter(finding.verdict for finding in findings)
        wrong, unknown = counts[Verdict.WRONG], counts[Verdict.UNKNOWN]
        parts = [
            (f"{counts[Verdict.FINE]} fine", "green"),
            (", ", ""),
            (f"{wrong} wrong", "bold red" if wrong else "dim"),
        ]
        if unknown:
            parts += [(", ", ""), (f"{unknown} not checked", "yellow")]
        self._console.print()
        self._line(Text.assemble(*parts, "."))

    def _title(self, title: str) -> None:
        self._console.print()
        self._line(Text(title, "bold"))

    def _finding(self, finding: Finding) -> None:
        mark, style = MARKS[finding.verdict]
        mark = mark if self._has_marks else PLAIN_MARKS[finding.verdict]
        is_fine = finding.verdict is Verdict.FINE
        self._line(
            Text.assemble("  ", (mark, style), " ", (f"{finding.check}: ", "" if is_fine else "bold"), finding.finding)
        )
        if finding.fix:
            label = "Fix: " if finding.verdict is Verdict.WRONG else "It needs: "
            self._line(Text.assemble(" " * (4 if self._has_marks else 8), (label, "bold"), f"{finding.fix}."))

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
