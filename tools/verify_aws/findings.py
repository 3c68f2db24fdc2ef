"""What measurements say, and the table of it."""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass


class Verdict(enum.Enum):
    AS_EXPECTED = "as expected"
    DIFFERS = "differs"
    NOT_MEASURABLE = "not measurable here"
    SKIPPED = "skipped"
    FAILED = "failed"
    """The measurement itself did not work; nothing is known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`differs` is None where all was as expected; otherwise what the difference means and what to change."""

    seen: str
    differs: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table. `meaning` has what a difference means, or why there is no finding."""

    name: str
    expected: str
    seen: str
    verdict: Verdict
    meaning: str = ""
    took_s: float = 0.0

    def as_json(self) -> dict[str, object]:
        return {
            "measurement": self.name,
            "expected": self.expected,
            "seen": self.seen,
            "verdict": self.verdict.value,
            "meaning": self.meaning,
            "tookSeconds": round(self.took_s, 1),
        }


HEADINGS = ("measurement", "expected", "seen", "verdict")
WIDTHS = (26, 36, 40, 34)


def table(lines: Iterable[Line]) -> str:
    """Return the table for a terminal of 140 columns."""
    rows = [_row(HEADINGS), _row(["-" * width for width in WIDTHS])]
    for line in lines:
        verdict = f"{line.verdict.value}: {line.meaning}" if line.meaning else line.verdict.value
        rows.append(_row((f"{line.name} ({line.took_s:.0f} s)", line.expected, line.seen, verdict)))
    return "\n".join(rows)


def _row(cells: Iterable[str]) -> str:
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, WIDTHS, strict=True)]
    height = max(map(len, wrapped))
    columns = [[*lines, *[""] * (height - len(lines))] for lines in wrapped]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(parts, WIDTHS, strict=True)).rstrip()
        for parts in zip(*columns, strict=True)
    )
