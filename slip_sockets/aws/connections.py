"""Who is connected, and who listens to what: the table `Connections` and its index `channel-index`.

| row | connectionId (partition key) | channel (sort key) | attributes |
|---|---|---|---|
| connection | id | `$connection:<id>` | metadata (JSON text), connectedAt (Unix milliseconds), nextNumber, form, \
user, ttl |
| subscription | id | channel | form, ttl |

`connectedAt` is the moment of acceptance: the socket opens a little later. `nextNumber` is there only of clients that
number their texts, `form` only of those of the subprotocol slip.v1, `user` where the backend said who it is: then there
is a subscription to `$user:<user>`. The index (partition key `channel`) projects
`form`, so that a delivery reads nothing else, and `ttl`, so that expired rows are filtered where they are read. All
rows are in the index; the sort key of a connection names it, so that these rows do not gather in one busy partition of
the index.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import Clock
from ..gateway.values import Count, Form, Page, StoredConnection
from ..protocol.events import RESERVED_CHANNEL_PREFIX
from .errors import calling
from .table import MAX_BATCH_READS, TTL, Table, slices

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, QueryOutputTypeDef

    from .table import Item

PARTITION_KEY, SORT_KEY = "connectionId", "channel"
INDEX_NAME = "channel-index"
PAGE_SIZE = 8_000
"""Subscribers read at once: a chunk of about a thousand for each shard."""
INDEX_LAG_S = 10.0
"""By far longer than the index lags behind the table: a fraction of a second is usual.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html"""
PRUNED_AT_ONCE = 8
"""Queries side by side when several connections are pruned."""

IS_CONNECTED = "#ttl > :now"
IS_CONNECTED_RAW = f"{IS_CONNECTED} AND attribute_not_exists(form)"
"""Conditions on a connection's own row."""
OF_CHANNEL = "channel = :channel"
NOT_EXPIRED = "#ttl > :now"
SUBSCRIBED_BEFORE = "#ttl > :now AND #ttl <= :until"


class DynamoDbConnections:
    """The ports Connections and Subscriptions."""

    index_lag_s = INDEX_LAG_S
    page_size = PAGE_SIZE

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = Table(client, table_name, clock, partition_key=PARTITION_KEY, sort_key=SORT_KEY)
        self._clock = clock

    # Connections

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
    ) -> None:
        connection: Item = {
            **self._own_key(connection_id),
            **_form_attribute(form),
            **({"user": {"S": user}} if user is not None else {}),
            "metadata": {"S": metadata.decode()},
            "connectedAt": {"N": str(round(self._clock.now() * 1000))},
            "ttl": self._table.expiry(ROW_LIFETIME_S),
        }
        subscriptions = (self._subscription(connection_id, channel, form) for channel in dict.fromkeys(channels))
        await self._table.write([{"PutRequest": {"Item": item}} for item in (connection, *subscriptions)])

    async def get(self, connection_id: str) -> StoredConnection | None:
        return self._stored(await self._table.get(self._own_key(connection_id)))

    async def metadata(self, connection_ids: Sequence[str]) -> Mapping[str, bytes]:
        keys = [self._own_key(id_) for id_ in dict.fromkeys(connection_ids)]
        items = await self._table.get_all(keys, "connectionId, metadata")
        return {item["connectionId"]["S"]: item["metadata"]["S"].encode() for item in items}

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        return await self._set(connection_id, "metadata", {"S": metadata.decode()})

    async def set_next_number(self, connection_id: str, number: int) -> bool:
        return await self._set(connection_id, "nextNumber", {"N": str(number)})

    async def _set(self, connection_id: str, attribute: str, value: AttributeValueTypeDef) -> bool:
        return await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=self._own_key(connection_id),
                UpdateExpression=f"SET {attribute} = :value",
                ConditionExpression=IS_CONNECTED,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":value": value, ":now": self._table.now()},
            )
        )

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """A subscription written between the Query and the deletes stays behind: it costs a publish one wasted call."""
        own = own_channel(connection_id)
        items = await self._table.partition(connection_id)
        # The connection's own row goes in the last batch: while any fails, a second attempt still finds the metadata.
        items.sort(key=lambda item: item["channel"]["S"] == own)
        await self._table.delete(items)
        return self._stored(next((item for item in items if item["channel"]["S"] == own), None))

    # Subscriptions

    async def subscribe(self, connection_id: str, channel: str, form: Form | None = None) -> Form | None:
        """One transaction: a connection that has just left must not gain a row that nobody would delete.

        A form that is not known is taken to be raw; the transaction fails if it is not.
        """
        if form is not None:
            other = await self._subscribe(connection_id, channel, form, IS_CONNECTED)
            return form if other is None else None
        other = await self._subscribe(connection_id, channel, Form.RAW, IS_CONNECTED_RAW)
        if other is None:
            return Form.RAW
        stored = self._stored(other or None)
        if stored is None or stored.form is Form.RAW:
            return None
        return await self.subscribe(connection_id, channel, stored.form)

    async def _subscribe(self, connection_id: str, channel: str, form: Form, condition: str) -> Item | None:
        """Return the connection's row where it does not fulfil the condition, {} where there is none."""
        return await self._table.failed_condition(
            lambda: self._client.transact_write_items(
                TransactItems=[
                    {
                        "ConditionCheck": {
                            "TableName": self._table.name,
                            "Key": self._own_key(connection_id),
                            "ConditionExpression": condition,
                            "ExpressionAttributeNames": TTL,
                            "ExpressionAttributeValues": {":now": self._table.now()},
                            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                        }
                    },
                    {"Put": {"TableName": self._table.name, "Item": self._subscription(connection_id, channel, form)}},
                ]
            )
        )

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        return await self._table.get(self._table.key(connection_id, channel)) is not None

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        await self._table.write_if(
            lambda: self._client.delete_item(TableName=self._table.name, Key=self._table.key(connection_id, channel))
        )

    async def unsubscribe_all(self, connection_id: str) -> None:
        await self._unsubscribe_all([connection_id])

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        """A page is what DynamoDB reads at once: `page_size` rows, expired ones included, or 1 MB."""
        while True:
            response = await self._query_index(
                channel, after, subscribed_before, ProjectionExpression="connectionId, form", Limit=page_size
            )
            after = _cursor(response)
            items = response["Items"]
            framed = frozenset(item["connectionId"]["S"] for item in items if "form" in item)
            yield Page([item["connectionId"]["S"] for item in items], after, framed)
            if after is None:
                return

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        found = 0
        while self._clock.now() < until:
            response = await self._query_index(channel, after, None, Select="COUNT")
            found += response["Count"]
            after = _cursor(response)
            if after is None:
                return Count(found, more=False)
        return Count(found, more=True)

    async def prune(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        young: list[str] = []
        # Each once: a key may not come twice in a call.
        for batch in slices(list(dict.fromkeys(connection_ids)), MAX_BATCH_READS):
            items = await self._table.get_all([self._own_key(id_) for id_ in batch], "connectionId, connectedAt")
            recent = {item["connectionId"]["S"] for item in items if _accepted_at(item) >= accepted_before}
            await self._unsubscribe_all([id_ for id_ in batch if id_ not in recent])
            young += (id_ for id_ in batch if id_ in recent)
        return young

    # Rows

    def _own_key(self, connection_id: str) -> Item:
        return self._table.key(connection_id, own_channel(connection_id))

    def _subscription(self, connection_id: str, channel: str, form: Form) -> Item:
        key = self._table.key(connection_id, channel)
        return {**key, **_form_attribute(form), "ttl": self._table.expiry(ROW_LIFETIME_S)}

    def _stored(self, item: Item | None) -> StoredConnection | None:
        if item is None or not self._table.is_live(item):
            return None
        number = int(item["nextNumber"]["N"]) if "nextNumber" in item else 1
        form = Form(item["form"]["S"]) if "form" in item else Form.RAW
        user = item["user"]["S"] if "user" in item else None
        return StoredConnection(item["metadata"]["S"].encode(), _accepted_at(item), number, form, user)

    # Calls

    async def _query_index(
        self, channel: str, after: str | None, subscribed_before: float | None, **how: Any
    ) -> QueryOutputTypeDef:
        if after is not None:
            how["ExclusiveStartKey"] = self._table.key(after, channel)
        values: Item = {":channel": {"S": channel}, ":now": self._table.now()}
        condition = NOT_EXPIRED
        if subscribed_before is not None:
            values[":until"] = {"N": str(math.floor(subscribed_before + ROW_LIFETIME_S))}
            condition = SUBSCRIBED_BEFORE
        with calling("DynamoDB"):
            return await self._client.query(
                TableName=self._table.name,
                IndexName=INDEX_NAME,
                KeyConditionExpression=OF_CHANNEL,
                FilterExpression=condition,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues=values,
                **how,
            )

    async def _unsubscribe_all(self, connection_ids: Sequence[str]) -> None:
        own = {own_channel(id_) for id_ in connection_ids}
        subscriptions: list[Item] = []
        for batch in slices(connection_ids, PRUNED_AT_ONCE):
            for items in await asyncio.gather(*(self._table.partition(id_, keys_only=True) for id_ in batch)):
                subscriptions += (item for item in items if item["channel"]["S"] not in own)
        await self._table.delete(subscriptions)


def own_channel(connection_id: str) -> str:
    """The sort key of a connection's own row: no channel has that name."""
    return f"{RESERVED_CHANNEL_PREFIX}{connection_id}"


def _form_attribute(form: Form) -> Item:
    return {} if form is Form.RAW else {"form": {"S": form.value}}


def _accepted_at(item: Item) -> float:
    return int(item["connectedAt"]["N"]) / 1000


def _cursor(response: QueryOutputTypeDef) -> str | None:
    """The connection id is all that the index orders a channel's rows by."""
    last = response.get("LastEvaluatedKey")
    return last["connectionId"]["S"] if last else None
