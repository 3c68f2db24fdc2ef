"""What DynamoDB bills: read and write units.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

Item = dict[str, dict[str, str]]

READ_UNIT_BYTES = 4096
WRITE_UNIT_BYTES = 1024


@dataclass(slots=True)
class Units:
    """Of one operation. `index_write_units` are those of the index, beside the table's."""

    calls: int = 0
    read_units: float = 0
    write_units: float = 0
    index_write_units: float = 0


class Meter:
    """Counts calls and units by operation."""

    def __init__(self) -> None:
        self._units: dict[str, Units] = {}

    def call(self, operation: str) -> Units:
        units = self._of(operation)
        units.calls += 1
        return units

    def read(self, operation: str, size: int, *, is_consistent: bool) -> None:
        self.call(operation).read_units += _units(size, READ_UNIT_BYTES) / (1 if is_consistent else 2)

    def read_rows(self, operation: str, sizes: Iterable[int]) -> None:
        """Count the units of rows that are read consistently by their keys, each for itself."""
        self.call(operation).read_units += sum(_units(size, READ_UNIT_BYTES) for size in sizes)

    def write(self, operation: str, item: Item, *, index: bool, is_transaction: bool = False) -> None:
        """Count the units of one row. `index` is whether it changes in the index too; the call is counted apart."""
        units = self._of(operation)
        units.write_units += _units(item_bytes(item), WRITE_UNIT_BYTES) * (2 if is_transaction else 1)
        units.index_write_units += index

    def stats(self) -> dict[str, dict[str, float]]:
        return {operation: asdict(units) for operation, units in self._units.items()}

    def reset(self) -> None:
        self._units.clear()

    def _of(self, operation: str) -> Units:
        return self._units.setdefault(operation, Units())


def item_bytes(item: Item) -> int:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
    size = 0
    for name, value in item.items():
        ((kind, text),) = value.items()
        size += len(name) + (len(text.encode()) if kind == "S" else (len(text) + 1) // 2 + 1)
    return size


def items_bytes(items: Iterable[Item]) -> int:
    return sum(map(item_bytes, items))


def _units(size: int, unit_bytes: int) -> int:
    """A call that finds nothing costs as much as a small row."""
    return max(1, math.ceil(size / unit_bytes))
