"""What is left of the queue's messages that were half done: rows of the table that `connections` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..gateway.ports import Clock
from .calls import calling
from .table import Table, own_key

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

    from .table import Item

PROGRESS_TTL_S = 15 * 24 * 60 * 60
"""Longer than SQS keeps any message, a dead letter too: 14 days.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""


class DynamoDbProgress:
    """Remembers a text for a message of the queue. It blocks, as `connections` does."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = Table(client, table_name, clock)

    async def keep(self, message_id: str, rest: str) -> None:
        """Remember `rest`, at most some 390 KB in UTF-8, instead of what was kept before. Raises Unavailable."""
        row: Item = {**_key(message_id), "rest": {"S": rest}, "ttl": self._table.expiry(PROGRESS_TTL_S)}
        with calling("DynamoDB"):
            self._client.put_item(TableName=self._table.name, Item=row)

    async def kept(self, message_id: str) -> str | None:
        """Read consistently. Raises Unavailable."""
        row = self._table.get(_key(message_id))
        return row["rest"]["S"] if row else None


def _key(message_id: str) -> Item:
    return own_key(f"$progress:{message_id}")
