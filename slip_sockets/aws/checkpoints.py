"""What is left of the queue's messages that were begun: rows of the table that `channels` describes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..gateway.deferred import Deferred
from ..gateway.ports import Clock
from .channels import channels_table
from .errors import calling
from .queue import decode, encode

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

    from .table import Item

log = logging.getLogger("slip_sockets.aws")

CHECKPOINT_LIFETIME_S = 15 * 24 * 60 * 60
"""Longer than SQS keeps any message, a dead letter too: 14 days.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""


class Checkpoints(Protocol):
    """Texts by message id. Both methods may raise Unavailable."""

    async def save(self, message_id: str, remaining: str) -> None:
        """Replace the checkpoint that was saved before. `remaining` has at most some 390 KB in UTF-8."""

    async def load(self, message_id: str) -> str | None:
        """Read consistently; None where nothing was saved."""


class DynamoDbCheckpoints:
    """Checkpoints in the table `Channels`."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = channels_table(client, table_name, clock)

    async def save(self, message_id: str, remaining: str) -> None:
        row: Item = {
            **self._key(message_id),
            "remaining": {"S": remaining},
            "ttl": self._table.expiry(CHECKPOINT_LIFETIME_S),
        }
        with calling("DynamoDB"):
            await self._client.put_item(TableName=self._table.name, Item=row)

    async def load(self, message_id: str) -> str | None:
        row = await self._table.get(self._key(message_id))
        return row["remaining"]["S"] if row else None

    def _key(self, message_id: str) -> Item:
        return self._table.key(message_id, "checkpoint")


class SqsCheckpoint:
    """The port Checkpoint, for one message of the queue."""

    def __init__(self, checkpoints: Checkpoints, message_id: str) -> None:
        self._checkpoints = checkpoints
        self._message_id = message_id

    async def save(self, remaining: Deferred) -> None:
        await self._checkpoints.save(self._message_id, encode(remaining))

    async def load(self) -> Deferred | None:
        remaining = await self._checkpoints.load(self._message_id)
        if remaining is None:
            return None
        try:
            return decode(remaining)
        except msgspec.DecodeError as error:
            message = "message %s: what was left of it cannot be read, the whole is done again: %s"
            log.error(message, self._message_id, error)
            return None
