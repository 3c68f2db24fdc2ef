"""Who is connected, and who listens to what: the table `Connections` and its index `channel-index`.

| row | connectionId (partition key) | channel (sort key) | attributes |
|---|---|---|---|
| connection | id | `$connection:<id>` | metadata (JSON text), connectedAt (Unix milliseconds), nextNumber, form, \
user, ttl |
| subscription | id | channel | form, member, info (JSON text), joinedAt (Unix milliseconds), ttl |

`connectedAt` is the moment of acceptance: the socket opens a little later. `nextNumber` is there only of clients that
number their texts, `form` only of those of the subprotocol slip.v1, `user` where the backend said who it is: then there
is a subscription to `$user:<user>`. A member of a channel has `member`, its name, `info` unless that is null, and
`joinedAt`: its row in the table `Channels` follows from these (see `presence`).

The index (partition key `channel`) projects `form`, so that a delivery reads nothing else, and `ttl`, so that expired
rows are filtered where they are read. All rows are in the index; the sort key of a connection names it, so that these
rows do not gather in one busy partition of the index.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import Clock, MemberChanges
from ..gateway.values import Count, Form, Membership, Page, StoredConnection
from ..protocol.events import RESERVED_CHANNEL_PREFIX
from .errors import calling
from .presence import MEMBERSHIP, MemberRows
from .table import MAX_BATCH_READS, TTL, Table, slices

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        AttributeValueTypeDef,
        QueryOutputTypeDef,
        TransactWriteItemTypeDef,
    )

    from .table import Item, WriteRequest

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
SUBSCRIBE = "SET #ttl = :ttl"
SUBSCRIBE_WITH_FORM = f"{SUBSCRIBE}, form = :form"
HAS_MEMBER = "attribute_exists(#member)"
HAS_NO_MEMBER = "attribute_not_exists(#member)"
"""Conditions on a subscription."""
MEMBER_NAME = {"#member": "member"}  # a reserved word of DynamoDB's expressions
OF_CHANNEL = "channel = :channel"
NOT_EXPIRED = "#ttl > :now"
SUBSCRIBED_BEFORE = "#ttl > :now AND #ttl <= :until"


class DynamoDbConnections:
    """The ports Connections and Subscriptions.

    `changes` hears of memberships that begin or end. With `keeps_metadata` the metadata of a connection stays with
    those that have ended.
    """

    index_lag_s = INDEX_LAG_S
    page_size = PAGE_SIZE

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        channels_table_name: str,
        clock: Clock,
        changes: MemberChanges | None = None,
        *,
        keeps_metadata: bool = False,
    ) -> None:
        self._client = client
        self._table = Table(client, table_name, clock, partition_key=PARTITION_KEY, sort_key=SORT_KEY)
        self._members = MemberRows(client, channels_table_name, clock, changes, keeps_metadata=keeps_metadata)
        self._clock = clock

    # Connections

    async def open(
        self,
        connection_id: str,
        metadata: bytes,
        channels: Sequence[str],
        form: Form = Form.RAW,
        user: str | None = None,
        memberships: Mapping[str, Membership] = {},
    ) -> None:
        """The rows of members come last, so that each has its subscription where a call more is needed for them."""
        await self._members.joining(list(memberships))
        connection: Item = {
            **self._own_key(connection_id),
            **_form_attribute(form),
            **({"user": {"S": user}} if user is not None else {}),
            "metadata": {"S": metadata.decode()},
            "connectedAt": {"N": str(round(self._clock.now() * 1000))},
            "ttl": self._table.expiry(ROW_LIFETIME_S),
        }
        subscriptions = [
            self._subscription(connection_id, channel, form, memberships.get(channel))
            for channel in dict.fromkeys(channels)
        ]
        members = [self._members.of(subscription) for subscription in subscriptions if "member" in subscription]
        rows = [(self._table.name, row) for row in (connection, *subscriptions)]
        rows += [(self._members.table.name, row) for row in members]
        requests: list[tuple[str, WriteRequest]] = [(table, {"PutRequest": {"Item": row}}) for table, row in rows]
        await self._table.write_to_tables(requests)

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
        await self._members.mark_left(items)
        await self._table.delete(items)
        return self._stored(next((item for item in items if item["channel"]["S"] == own), None))

    # Subscriptions

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        """One transaction: a connection that has just left must not gain a row that nobody would delete.

        A form that is not known is taken to be raw; the transaction fails if it is not.
        """
        if membership is not None:
            await self._members.joining([channel])
        if form is not None:
            other = await self._subscribe(connection_id, channel, form, membership, IS_CONNECTED)
            return form if other is None else None
        other = await self._subscribe(connection_id, channel, Form.RAW, membership, IS_CONNECTED_RAW)
        if other is None:
            return Form.RAW
        stored = self._stored(other or None)
        if stored is None or stored.form is Form.RAW:
            return None
        other = await self._subscribe(connection_id, channel, stored.form, membership, IS_CONNECTED)
        return stored.form if other is None else None

    async def _subscribe(
        self, connection_id: str, channel: str, form: Form, membership: Membership | None, condition: str
    ) -> Item | None:
        """Return the connection's row where it does not fulfil the condition, {} where there is none."""
        check: TransactWriteItemTypeDef = {
            "ConditionCheck": {
                "TableName": self._table.name,
                "Key": self._own_key(connection_id),
                "ConditionExpression": condition,
                "ExpressionAttributeNames": TTL,
                "ExpressionAttributeValues": {":now": self._table.now()},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        writes = self._subscribing(connection_id, channel, form, membership)
        return await self._table.failed_condition(
            lambda: self._client.transact_write_items(TransactItems=[check, *writes])
        )

    def _subscribing(
        self, connection_id: str, channel: str, form: Form, membership: Membership | None
    ) -> list[TransactWriteItemTypeDef]:
        subscription = self._subscription(connection_id, channel, form, membership)
        if membership is not None:
            member = self._members.of(subscription)
            return [
                {"Put": {"TableName": self._table.name, "Item": subscription}},
                {"Put": {"TableName": self._members.table.name, "Item": member}},
            ]
        values = {f":{name}": subscription[name] for name in ("ttl", "form") if name in subscription}
        update: TransactWriteItemTypeDef = {  # a membership stays as it is
            "Update": {
                "TableName": self._table.name,
                "Key": self._table.key(connection_id, channel),
                "UpdateExpression": SUBSCRIBE if form is Form.RAW else SUBSCRIBE_WITH_FORM,
                "ExpressionAttributeNames": TTL,
                "ExpressionAttributeValues": values,
            }
        }
        return [update]

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        return await self._table.get(self._table.key(connection_id, channel)) is not None

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        """One call, and a transaction where the subscriber is a member."""
        subscription = await self._table.failed_condition(
            lambda: self._client.delete_item(
                TableName=self._table.name,
                Key=self._table.key(connection_id, channel),
                ConditionExpression=HAS_NO_MEMBER,
                ExpressionAttributeNames=MEMBER_NAME,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )
        if subscription is None:
            return
        if not self._members.has_member(subscription):
            await self._table.delete([subscription])
            return
        left_at = self._clock.now()
        await self._members.leaving([channel])
        own = await self._table.get(self._own_key(connection_id)) if self._members.keeps_metadata else None
        left = self._members.left(subscription, left_at, own["metadata"] if own else None)
        await self._leave(subscription, left)

    async def _leave(self, subscription: Item, left: Item) -> None:
        """Delete a subscription and mark its member as left, unless another call has done so."""
        key = self._table.key(subscription[PARTITION_KEY]["S"], subscription[SORT_KEY]["S"])
        delete: TransactWriteItemTypeDef = {
            "Delete": {
                "TableName": self._table.name,
                "Key": key,
                "ConditionExpression": HAS_MEMBER,
                "ExpressionAttributeNames": MEMBER_NAME,
            }
        }
        mark: TransactWriteItemTypeDef = {"Put": {"TableName": self._members.table.name, "Item": left}}
        await self._table.write_if(lambda: self._client.transact_write_items(TransactItems=[delete, mark]))

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

    def _subscription(self, connection_id: str, channel: str, form: Form, membership: Membership | None) -> Item:
        key = self._table.key(connection_id, channel)
        member = self._members.attributes(membership) if membership is not None else {}
        return {**key, **_form_attribute(form), **member, "ttl": self._table.expiry(ROW_LIFETIME_S)}

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
        attributes = (*MEMBERSHIP, "metadata") if self._members.keeps_metadata else MEMBERSHIP
        rows: list[Item] = []
        for batch in slices(connection_ids, PRUNED_AT_ONCE):
            partitions = (self._table.partition(id_, attributes=attributes) for id_ in batch)
            for items in await asyncio.gather(*partitions):
                rows += items
        await self._members.mark_left(rows)
        await self._table.delete(item for item in rows if item["channel"]["S"] not in own)


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
