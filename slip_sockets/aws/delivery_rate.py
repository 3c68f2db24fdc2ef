"""The rate of fan-outs, which all functions of a stage share: a row of the table that `channels` describes.

It holds the time until which calls are reserved, in Unix microseconds. A reservation moves that time by the duration of
its calls at the stage's rate, in one conditional write: from now on where the time is past, or further where it is to
come. A function does not know which, and assumes what it saw last. So where functions keep up with the rate it is one
write, and at the start of a fan-out, or where they are slower than the rate, two.

The clocks of functions are assumed to differ by far less than a reservation takes. A function with a clock that is
ahead makes its calls early by the difference, and others late; the rate stays the same. A time further ahead than any
reservation can be is that of a wrong clock, and is replaced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..gateway.errors import Unavailable
from ..gateway.ports import Clock
from .channels import channels_table
from .table import TTL

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

    from .table import Item

PARTITION, SORT = "fan-out", "rate"
LIFETIME_S = 60 * 60
"""How long the row of an idle stage stays."""
FURTHEST_S = 5 * 60.0
"""Until then calls may be reserved: a function lasts a minute, and its calls half of one at the slowest rate."""
ATTEMPTS = 10
"""Each that fails has let another function's reservation through."""

FROM_NOW = "SET reservedUntil = :fromNow, #ttl = :ttl"
IS_IDLE = "attribute_not_exists(channel) OR reservedUntil <= :now OR reservedUntil > :furthest"
FURTHER = "SET reservedUntil = reservedUntil + :duration, #ttl = :ttl"
IS_RESERVED = "reservedUntil > :now AND reservedUntil <= :latest"


class DynamoDbDeliveryRate:
    """The port DeliveryRate, for `rate` calls a second. A write that is repeated reserves twice, which only delays."""

    def __init__(self, client: DynamoDBClient, table_name: str, rate: float, clock: Clock) -> None:
        self._client = client
        self._table = channels_table(client, table_name, clock)
        self._rate = rate
        self._clock = clock
        self._reserved_until = 0  # as this process saw it last

    async def reserve(self, calls: int, *, wait_at_most_s: float) -> float:
        duration = _microseconds(calls / self._rate)
        for _ in range(ATTEMPTS):
            now = _microseconds(self._clock.now())
            latest = now + math.floor(min(wait_at_most_s, FURTHEST_S) * 1e6)
            furthest = now + _microseconds(FURTHEST_S)
            if now < self._reserved_until <= furthest:
                if await self._update(FURTHER, IS_RESERVED, now=now, latest=latest, duration=duration):
                    return (self._reserved_until - duration - now) / 1e6
            elif await self._update(FROM_NOW, IS_IDLE, now=now, fromNow=now + duration, furthest=furthest):
                return 0.0
            if latest < self._reserved_until <= furthest:
                return (self._reserved_until - now) / 1e6
        raise Unavailable(f"DynamoDB: other functions came first {ATTEMPTS} times")

    async def _update(self, update: str, condition: str, **times: int) -> bool:
        """Return whether the condition holds. The row's time is known then, in either case."""
        values: dict[str, AttributeValueTypeDef] = {f":{name}": {"N": str(time)} for name, time in times.items()}

        async def write() -> None:
            response = await self._client.update_item(
                TableName=self._table.name,
                Key=self._table.key(PARTITION, SORT),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={**values, ":ttl": self._table.expiry(LIFETIME_S)},
                ReturnValues="UPDATED_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
            self._reserved_until = _reserved_until(response["Attributes"])

        row = await self._table.failed_condition(write)
        if row is not None:
            self._reserved_until = _reserved_until(row)
        return row is None


def _reserved_until(row: Item) -> int:
    return int(row["reservedUntil"]["N"]) if row else 0


def _microseconds(seconds: float) -> int:
    return math.ceil(seconds * 1e6)
