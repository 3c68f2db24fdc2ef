"""The numbers of several rounds as the table that `python -m bench` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Goal:
    """What ours is to reach: a share of Pushpin's number at least, or a number at most."""

    ratio_at_least: float | None = None
    at_most: float | None = None

    def shown(self, unit: str) -> str:
        if self.ratio_at_least is not None:
            return f"ratio >= {self.ratio_at_least:g}"
        return f"<= {self.at_most:g} {unit}"


@dataclass(frozen=True, slots=True)
class Row:
    """A case: the runs of both, in the same order. `theirs` is empty where there is no Pushpin."""

    case: str
    unit: str
    goal: Goal
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratio(self) -> float | None:
        """Ours divided by theirs, of the medians."""
        return median(self.ours) / median(self.theirs) if self.theirs else None

    def verdict(self) -> str:
        """Say whether the goal was reached, and by how much it was passed or missed."""
        if self.goal.ratio_at_least is not None:
            if self.ratio is None:
                return "not known: no Pushpin"
            reached, by = self.ratio >= self.goal.ratio_at_least, self.ratio / self.goal.ratio_at_least - 1
        elif self.goal.at_most is not None:
            value = median(self.ours)
            reached, by = value <= self.goal.at_most, value / self.goal.at_most - 1
        else:
            raise AssertionError("a goal is one or the other")
        return f"{'yes' if reached else 'NO'}, by {abs(by):.0%}"

    def cells(self) -> tuple[str, ...]:
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        return (
            self.case,
            _runs(self.ours, self.unit),
            _runs(self.theirs, self.unit),
            ratio,
            self.goal.shown(self.unit),
            self.verdict(),
        )


def table(rows: Sequence[Row]) -> str:
    """Return the rows in columns."""
    lines = [("case", "ours", "Pushpin's", "ratio", "to reach", "reached"), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("   ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _runs(values: Sequence[float], unit: str) -> str:
    """Show the median, and the range it comes from."""
    if not values:
        return "-"
    digits = 1 if max(values) < 100 else 0
    shown = f"{median(values):,.{digits}f} {unit}"
    return shown if len(values) == 1 else f"{shown} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
