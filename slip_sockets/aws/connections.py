"""The store on DynamoDB: the table `Connections` and its index `channel-index`.

| row | connectionId (partition key) | channel (sort key) | attributes |
|---|---|---|---|
| connection | id | `$connection:<id>` | metadata (JSON text), connectedAt (Unix milliseconds), ttl |
| subscription | id | channel | ttl |
| claim | `$published:<digest>` | `$connection:$published:<digest>` | claimant, leaseUntil (Unix milliseconds), ttl |
| queued | `$channel:<digest>` | `$connection:$channel:<digest>:queued` | ttl |
| slow | `$channel:<digest>` | `$connection:$channel:<digest>:slow:<id>` | ttl |
| progress | `$progress:<message id>` | `$connection:$progress:<message id>` | rest (text), ttl |

`connectedAt` is the moment of acceptance: the socket opens a little later. A claim without `leaseUntil` is confirmed.
Its digest is of channel and message id, a mark's (queued, slow) of the channel; `progress` has the last row.

`ttl` is in whole Unix seconds; a row is absent from then on, though DynamoDB may take days to delete it, so each read
filters. The index (partition key `channel`) must project `ttl` for that. All rows are in the index; sort keys that are
no channel say whose they are, so that they do not gather in one busy partition of it.

The methods block, which the ports allow: a function handles one event at a time, and nothing else waits for its loop.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ..gateway.ports import (
    CLAIM_TTL_S,
    PAGE_SIZE,
    ROW_TTL_S,
    ChannelState,
    Claim,
    Clock,
    Count,
    Page,
    StoredConnection,
)
from .calls import calling
from .table import MAX_BATCH_READS, TTL, Table, key, own_channel, own_key, slices

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, QueryOutputTypeDef

    from .table import Item

INDEX_NAME = "channel-index"
FORGETTING_THREADS = 8
"""Queries at once when many are forgotten: fewer than a client keeps connections, 10."""


class DynamoDbConnectionStore:
    """A ConnectionStore. Rows live for the whole second in which they expire at most."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = Table(client, table_name, clock)
        self._clock = clock

    async def open(self, connection_id: str, metadata: bytes, channels: Sequence[str]) -> None:
        connection: Item = {
            **own_key(connection_id),
            "metadata": {"S": metadata.decode()},
            "connectedAt": {"N": str(round(self._clock.now() * 1000))},
            "ttl": self._table.expiry(ROW_TTL_S),
        }
        subscriptions = (self._subscription(connection_id, channel) for channel in dict.fromkeys(channels))
        await self._table.write([{"PutRequest": {"Item": item}} for item in (connection, *subscriptions)])

    async def get(self, connection_id: str) -> StoredConnection | None:
        return self._stored(self._table.get(own_key(connection_id)))

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        return await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=own_key(connection_id),
                UpdateExpression="SET metadata = :metadata",
                ConditionExpression="#ttl > :now",
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":metadata": {"S": metadata.decode()}, ":now": self._table.now()},
            )
        )

    async def subscribe(self, connection_id: str, channel: str) -> bool:
        """One transaction: a connection that has just left must not gain a row that nobody would delete."""
        return await self._table.write_if(
            lambda: self._client.transact_write_items(
                TransactItems=[
                    {
                        "ConditionCheck": {
                            "TableName": self._table.name,
                            "Key": own_key(connection_id),
                            "ConditionExpression": "#ttl > :now",
                            "ExpressionAttributeNames": TTL,
                            "ExpressionAttributeValues": {":now": self._table.now()},
                        }
                    },
                    {"Put": {"TableName": self._table.name, "Item": self._subscription(connection_id, channel)}},
                ]
            )
        )

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        await self._table.write_if(
            lambda: self._client.delete_item(TableName=self._table.name, Key=key(connection_id, channel))
        )

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[Page]:
        """A page is what DynamoDB reads at once: `page_size` rows, expired ones included, or 1 MB."""
        while True:
            answer = self._query_index(channel, after, ProjectionExpression="connectionId", Limit=page_size)
            after = _cursor(answer)
            yield Page([item["connectionId"]["S"] for item in answer["Items"]], after)
            if after is None:
                return

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        found = 0
        while self._clock.now() < until:
            answer = self._query_index(channel, after, Select="COUNT")
            found += answer["Count"]
            after = _cursor(answer)
            if after is None:
                return Count(found, more=False)
        return Count(found, more=True)

    async def unsubscribe_all(self, connection_id: str) -> None:
        await self._unsubscribe_all([connection_id])

    async def forget(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        young: list[str] = []
        # Each once: a key may not come twice in a call.
        for batch in slices(list(dict.fromkeys(connection_ids)), MAX_BATCH_READS):
            items = await self._table.get_all([own_key(whose) for whose in batch], "connectionId, connectedAt")
            recent = {item["connectionId"]["S"] for item in items if _accepted_at(item) >= accepted_before}
            await self._unsubscribe_all([whose for whose in batch if whose not in recent])
            young += (whose for whose in batch if whose in recent)
        return young

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """A subscription written between the Query and the deletes stays behind: it costs a publish one wasted call."""
        own = own_channel(connection_id)
        items = self._table.partition(connection_id)
        # The connection's own row goes in the last batch: while any fails, a second attempt still finds the metadata.
        items.sort(key=lambda item: item["channel"]["S"] == own)
        await self._table.delete(items)
        return self._stored(next((item for item in items if item["channel"]["S"] == own), None))

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claim:
        """By the claimant, a repetition of this very call is known: clients send it again when an answer is lost."""
        now_s = self._clock.now()
        item: Item = {
            **_claim_key(channel, message_id),
            "claimant": {"S": claimant},
            "leaseUntil": {"N": str(math.ceil((now_s + lease_s) * 1000))},
            "ttl": self._table.expiry(max(lease_s, CLAIM_TTL_S)),
        }
        other = await self._table.failed_condition(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item=item,
                ConditionExpression=(
                    "attribute_not_exists(connectionId) OR #ttl <= :now OR leaseUntil <= :nowMs"
                    " OR (claimant = :claimant AND attribute_exists(leaseUntil))"
                ),
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={
                    ":now": self._table.now(),
                    ":nowMs": {"N": str(math.floor(now_s * 1000))},
                    ":claimant": item["claimant"],
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )
        if other is None:
            return Claim.MINE
        return Claim.DONE if other and "leaseUntil" not in other else Claim.PENDING

    async def confirm(self, channel: str, message_id: str, claimant: str) -> None:
        """After the lease too, as long as nobody else has claimed it."""
        await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=_claim_key(channel, message_id),
                UpdateExpression="SET #ttl = :ttl REMOVE leaseUntil",
                ConditionExpression="claimant = :claimant AND #ttl > :now",
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={
                    ":claimant": {"S": claimant},
                    ":now": self._table.now(),
                    ":ttl": self._table.expiry(CLAIM_TTL_S),
                },
            )
        )

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        """What is confirmed remains."""
        await self._table.write_if(
            lambda: self._client.delete_item(
                TableName=self._table.name,
                Key=_claim_key(channel, message_id),
                ConditionExpression="claimant = :claimant AND attribute_exists(leaseUntil)",
                ExpressionAttributeValues={":claimant": {"S": claimant}},
            )
        )

    async def channel_state(self, channel: str) -> ChannelState:
        partition = _marks(channel)
        items = self._table.partition(partition)
        marks = {item["channel"]["S"] for item in items if self._table.is_live(item)}
        slow = own_channel(f"{partition}:slow:")
        return ChannelState(
            is_queued=own_channel(f"{partition}:queued") in marks,
            slow=frozenset(mark.removeprefix(slow) for mark in marks if mark.startswith(slow)),
        )

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        partition = _marks(channel)
        await self._mark(key(partition, own_channel(f"{partition}:queued")), for_s)

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        partition = _marks(channel)
        for whose in connection_ids:
            await self._mark(key(partition, own_channel(f"{partition}:slow:{whose}")), for_s)

    # Rows

    def _subscription(self, connection_id: str, channel: str) -> Item:
        return {**key(connection_id, channel), "ttl": self._table.expiry(ROW_TTL_S)}

    def _stored(self, item: Item | None) -> StoredConnection | None:
        if item is None or not self._table.is_live(item):
            return None
        return StoredConnection(item["metadata"]["S"].encode(), _accepted_at(item))

    # Calls

    def _query_index(self, channel: str, after: str | None, **how: Any) -> QueryOutputTypeDef:
        if after is not None:
            how["ExclusiveStartKey"] = key(after, channel)
        with calling("DynamoDB"):
            return self._client.query(
                TableName=self._table.name,
                IndexName=INDEX_NAME,
                KeyConditionExpression="channel = :channel",
                FilterExpression="#ttl > :now",
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":channel": {"S": channel}, ":now": self._table.now()},
                **how,
            )

    async def _unsubscribe_all(self, connection_ids: Sequence[str]) -> None:
        own = {own_channel(whose) for whose in connection_ids}
        partitions = self._partitions(connection_ids)
        await self._table.delete(item for items in partitions for item in items if item["channel"]["S"] not in own)

    def _partitions(self, connection_ids: Sequence[str]) -> Iterable[list[Item]]:
        def partition(connection_id: str) -> list[Item]:
            return self._table.partition(connection_id, keys_only=True)

        return (self._threads.map if len(connection_ids) > 1 else map)(partition, connection_ids)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Made when it is needed first. A client may be shared by threads."""
        return ThreadPoolExecutor(FORGETTING_THREADS, "forget")

    async def _mark(self, mark: Item, for_s: float) -> None:
        """A mark that lives longer stays as it is."""
        until: AttributeValueTypeDef = self._table.expiry(for_s)
        await self._table.write_if(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item={**mark, "ttl": until},
                ConditionExpression="attribute_not_exists(connectionId) OR #ttl < :until",
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":until": until},
            )
        )


def _accepted_at(item: Item) -> float:
    return int(item["connectedAt"]["N"]) / 1000


def _cursor(answer: QueryOutputTypeDef) -> str | None:
    """The connection's id is all that the channel's part of the index is ordered by."""
    last = answer.get("LastEvaluatedKey")
    return last["connectionId"]["S"] if last else None


def _claim_key(channel: str, message_id: str) -> Item:
    """A digest, since both names together may be longer than a key; of JSON, since that tells where one name ends."""
    return own_key(f"$published:{hashlib.sha256(msgspec.json.encode([channel, message_id])).hexdigest()}")


def _marks(channel: str) -> str:
    """Return the partition of a channel's marks. A digest: with a connection's id it must not be longer than a key."""
    return f"$channel:{hashlib.sha256(channel.encode()).hexdigest()}"
