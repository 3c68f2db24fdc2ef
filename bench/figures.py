"""What a case has measured, beside what it is to reach, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .columns import in_columns


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, with its limits. Where both are the same, the number is to be met exactly."""

    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    def to_reach(self) -> str:
        if self.at_least is not None and self.at_least == self.at_most:
            return _shown(self.at_least, self.unit)
        if self.at_least is not None:
            return f">= {_shown(self.at_least, self.unit)}"
        return f"<= {_shown(self.at_most, self.unit)}" if self.at_most is not None else ""

    def is_reached(self) -> bool | None:
        """Return None where there is no limit."""
        if self.at_least is None and self.at_most is None:
            return None
        return not (
            (self.at_least is not None and self.value < self.at_least)
            or (self.at_most is not None and self.value > self.at_most)
        )

    def cells(self) -> tuple[str, ...]:
        reached = self.is_reached()
        verdict = "" if reached is None else "yes" if reached else "NO"
        return (self.name, _shown(self.value, self.unit), self.to_reach(), verdict)


def figures_table(results: Mapping[str, Sequence[Figure]]) -> str:
    """Return the figures in columns, with a case's name at its first."""
    lines: list[tuple[str, ...]] = [("case", "figure", "measured", "to reach", "reached")]
    for case, figures in results.items():
        lines += [(case if at == 0 else "", *figure.cells()) for at, figure in enumerate(figures)]
    return in_columns(lines)


def _shown(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 3 if abs(value) < 1 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()
