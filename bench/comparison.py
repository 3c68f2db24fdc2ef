"""The numbers of several rounds as the table that `python -m bench` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .columns import in_columns


@dataclass(frozen=True, slots=True)
class Goal:
    """What ours is to reach: at least a share of Pushpin's number, or at most a number."""

    ratio_at_least: float | None = None
    at_most: float | None = None

    def shown(self, unit: str) -> str:
        if self.ratio_at_least is not None:
            return f"ratio >= {self.ratio_at_least:g}"
        return f"<= {self.at_most:g} {unit}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A case: the runs of both, in the same order. `theirs` is empty without Pushpin."""

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
        """Return whether the goal was reached, and by how much it was passed or missed."""
        if self.goal.ratio_at_least is not None:
            if self.ratio is None:
                return "not known: no Pushpin"
            reached, by = self.ratio >= self.goal.ratio_at_least, self.ratio / self.goal.ratio_at_least - 1
        elif self.goal.at_most is not None:
            value = median(self.ours)
            reached, by = value <= self.goal.at_most, value / self.goal.at_most - 1
        else:
            raise AssertionError("a goal has one of the two")
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


def comparison_table(rows: Sequence[Comparison]) -> str:
    header = ("case", "ours", "Pushpin's", "ratio", "to reach", "reached")
    return in_columns([header, *(row.cells() for row in rows)])


def _runs(values: Sequence[float], unit: str) -> str:
    """Return the median and the range."""
    if not values:
        return "-"
    digits = 1 if max(values) < 100 else 0
    shown = f"{median(values):,.{digits}f} {unit}"
    return shown if len(values) == 1 else f"{shown} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
