"""What the stubs of both tables have in common.

They translate the operations that `slip_sockets.aws` makes on a table, by the text of their expressions, into calls of
the development server's stores, and refuse others.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from .aws_json import Operation, ServiceError
from .units import Item

T = TypeVar("T")


class Table:
    """`operations` by DynamoDB's names, but for those that may be of several tables."""

    operations: Mapping[str, Operation]

    def write(self, writes: Sequence[Any]) -> None:
        """Perform the requests of a BatchWriteItem that are for this table."""
        raise NotImplementedError


def finished(call: Coroutine[Any, Any, T]) -> T:
    """Return the result of a call of a store in memory: it never waits."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a store in memory does not suspend")


def expect(expression: object, *known: str | None) -> None:
    """Raise ValueError where an expression is not one of those that are known."""
    if expression not in known:
        raise ValueError(f"the stub does not know {expression!r}")


def condition_failed(item: Item | None = None) -> ServiceError:
    """`item` is the row as it is, where that was asked for."""
    fields = {} if item is None else {"Item": item}
    return ServiceError("ConditionalCheckFailedException", "The conditional request failed", **fields)
