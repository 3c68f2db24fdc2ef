"""The store on DynamoDB: the table `Connections` and its index `channel-index`.

| row | connectionId (partition key) | channel (sort key) | attributes |
|---|---|---|---|
| connection | id | `$connection:<id>` | metadata (JSON text), connectedAt (Unix milliseconds), ttl |
| subscription | id | channel | ttl |
| claim | `$published:<digest>` | `$connection:$published:<digest>` | claimant, ttl |

`connectedAt` is the moment of acceptance: the socket opens a little later. `ttl` is in whole Unix seconds; a row is
absent from then on, though DynamoDB may take days to delete it, so each read filters. The index (partition key
`channel`) must project `ttl` for that.

The methods block, which the ports allow: a function handles one event at a time, and nothing else waits for its loop.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from ..events import RESERVED_CHANNEL_PREFIX
from ..gateway.ports import CLAIM_TTL_S, ROW_TTL_S, Clock, StoredConnection, Unavailable
from .calls import calling, error_code

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, WriteRequestOutputTypeDef, WriteRequestTypeDef

    Item = dict[str, AttributeValueTypeDef]

INDEX_NAME = "channel-index"
MAX_BATCH_ROWS = 25
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""
RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Between attempts at what botocore does not repeat: rows left unprocessed, and conflicts of transactions."""

_TTL = {"#ttl": "ttl"}  # a reserved word of DynamoDB's expressions
_TRANSIENT_REASONS = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""


class DynamoDbConnectionStore:
    """A ConnectionStore. Rows live for the whole second in which they expire at most."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table_name = table_name
        self._clock = clock

    async def open(self, connection_id: str, metadata: bytes, channels: Sequence[str]) -> None:
        connection: Item = {
            **_key(connection_id, _own_channel(connection_id)),
            "metadata": {"S": metadata.decode()},
            "connectedAt": {"N": str(round(self._clock.now() * 1000))},
            "ttl": self._expiry(ROW_TTL_S),
        }
        subscriptions = (self._subscription(connection_id, channel) for channel in dict.fromkeys(channels))
        await self._write([{"PutRequest": {"Item": item}} for item in (connection, *subscriptions)])

    async def get(self, connection_id: str) -> StoredConnection | None:
        with calling("DynamoDB"):
            answer = self._client.get_item(
                TableName=self._table_name,
                Key=_key(connection_id, _own_channel(connection_id)),
                ConsistentRead=True,
            )
        return self._stored(answer.get("Item"))

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        return await self._write_if(
            lambda: self._client.update_item(
                TableName=self._table_name,
                Key=_key(connection_id, _own_channel(connection_id)),
                UpdateExpression="SET metadata = :metadata",
                ConditionExpression="#ttl > :now",
                ExpressionAttributeNames=_TTL,
                ExpressionAttributeValues={":metadata": {"S": metadata.decode()}, ":now": self._now()},
            )
        )

    async def subscribe(self, connection_id: str, channel: str) -> bool:
        """One transaction: a connection that has just left must not gain a row that nobody would delete."""
        return await self._write_if(
            lambda: self._client.transact_write_items(
                TransactItems=[
                    {
                        "ConditionCheck": {
                            "TableName": self._table_name,
                            "Key": _key(connection_id, _own_channel(connection_id)),
                            "ConditionExpression": "#ttl > :now",
                            "ExpressionAttributeNames": _TTL,
                            "ExpressionAttributeValues": {":now": self._now()},
                        }
                    },
                    {"Put": {"TableName": self._table_name, "Item": self._subscription(connection_id, channel)}},
                ]
            )
        )

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        with calling("DynamoDB"):
            await self._retried(
                lambda: self._client.delete_item(TableName=self._table_name, Key=_key(connection_id, channel))
            )

    async def subscribers(self, channel: str) -> AsyncIterator[Sequence[str]]:
        """A page is what DynamoDB reads at once: 1 MB."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table_name,
            IndexName=INDEX_NAME,
            KeyConditionExpression="channel = :channel",
            FilterExpression="#ttl > :now",
            ExpressionAttributeNames=_TTL,
            ExpressionAttributeValues={":channel": {"S": channel}, ":now": self._now()},
        )
        with calling("DynamoDB"):
            for page in pages:
                yield [item["connectionId"]["S"] for item in page["Items"]]

    async def unsubscribe_all(self, connection_id: str) -> None:
        own = _own_channel(connection_id)
        await self._delete(item for item in self._partition(connection_id) if item["channel"]["S"] != own)

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """A subscription written between the Query and the deletes stays behind: it costs a publish one wasted call."""
        own = _own_channel(connection_id)
        items = self._partition(connection_id)
        # The connection's own row goes in the last batch: while any fails, a second attempt still finds the metadata.
        items.sort(key=lambda item: item["channel"]["S"] == own)
        await self._delete(items)
        return self._stored(next((item for item in items if item["channel"]["S"] == own), None))

    async def claim(self, channel: str, message_id: str) -> bool:
        # By the claimant, a repetition of this very call is known: botocore sends it again when an answer is lost.
        claimant: AttributeValueTypeDef = {"S": uuid.uuid4().hex}
        return await self._write_if(
            lambda: self._client.put_item(
                TableName=self._table_name,
                Item={**_claim_key(channel, message_id), "claimant": claimant, "ttl": self._expiry(CLAIM_TTL_S)},
                ConditionExpression="attribute_not_exists(connectionId) OR #ttl <= :now OR claimant = :claimant",
                ExpressionAttributeNames=_TTL,
                ExpressionAttributeValues={":now": self._now(), ":claimant": claimant},
            )
        )

    async def release(self, channel: str, message_id: str) -> None:
        with calling("DynamoDB"):
            await self._retried(
                lambda: self._client.delete_item(TableName=self._table_name, Key=_claim_key(channel, message_id))
            )

    # Rows

    def _subscription(self, connection_id: str, channel: str) -> Item:
        return {**_key(connection_id, channel), "ttl": self._expiry(ROW_TTL_S)}

    def _stored(self, item: Item | None) -> StoredConnection | None:
        if item is None or int(item["ttl"]["N"]) <= self._clock.now():
            return None
        return StoredConnection(item["metadata"]["S"].encode(), int(item["connectedAt"]["N"]) / 1000)

    def _expiry(self, lifetime_s: int) -> AttributeValueTypeDef:
        return {"N": str(math.ceil(self._clock.now() + lifetime_s))}

    def _now(self) -> AttributeValueTypeDef:
        return {"N": str(math.floor(self._clock.now()))}

    # Calls

    def _partition(self, connection_id: str) -> list[Item]:
        """Read all rows of a connection consistently, expired ones included."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table_name,
            ConsistentRead=True,
            KeyConditionExpression="connectionId = :id",
            ExpressionAttributeValues={":id": {"S": connection_id}},
        )
        with calling("DynamoDB"):
            return [item for page in pages for item in page["Items"]]

    async def _delete(self, items: Iterable[Item]) -> None:
        keys = [_key(item["connectionId"]["S"], item["channel"]["S"]) for item in items]
        await self._write([{"DeleteRequest": {"Key": key}} for key in keys])

    async def _write(self, requests: Sequence[WriteRequestTypeDef]) -> None:
        for start in range(0, len(requests), MAX_BATCH_ROWS):
            with calling("DynamoDB"):
                await self._write_batch(requests[start : start + MAX_BATCH_ROWS])

    async def _write_batch(self, requests: Sequence[WriteRequestTypeDef]) -> None:
        pending: Sequence[WriteRequestTypeDef | WriteRequestOutputTypeDef] = requests
        for pause_s in (*RETRY_PAUSES_S, None):
            answer = self._client.batch_write_item(RequestItems={self._table_name: pending})
            pending = answer["UnprocessedItems"].get(self._table_name, [])
            if not pending:
                return
            if pause_s is not None:
                await self._clock.sleep(pause_s)
        raise Unavailable(f"DynamoDB: {len(pending)} rows remain unprocessed")

    async def _write_if(self, write: Callable[[], object]) -> bool:
        """Return False where the condition of `write` does not hold."""
        with calling("DynamoDB"):
            try:
                await self._retried(write)
            except ClientError as error:
                if not _condition_failed(error):
                    raise
                return False
        return True

    async def _retried(self, write: Callable[[], object]) -> None:
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                write()
                return
            except ClientError as error:
                if pause_s is None or not _is_conflict(error):
                    raise
            await self._clock.sleep(pause_s)


def _own_channel(connection_id: str) -> str:
    return f"{RESERVED_CHANNEL_PREFIX}{connection_id}"


def _key(connection_id: str, channel: str) -> Item:
    return {"connectionId": {"S": connection_id}, "channel": {"S": channel}}


def _claim_key(channel: str, message_id: str) -> Item:
    """A digest, since both names together may be longer than a key; of JSON, since that tells where one name ends."""
    claim = f"$published:{hashlib.sha256(msgspec.json.encode([channel, message_id])).hexdigest()}"
    return _key(claim, _own_channel(claim))


def _reasons(error: ClientError) -> set[str]:
    reasons = error.response.get("CancellationReasons", [])
    return {reason.get("Code", "None") for reason in reasons}


def _condition_failed(error: ClientError) -> bool:
    return error_code(error) == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in _reasons(error)


def _is_conflict(error: ClientError) -> bool:
    if error_code(error) == "TransactionCanceledException":
        return _reasons(error) <= _TRANSIENT_REASONS
    return error_code(error) == "TransactionConflictException"
