"""The members of channels: rows of the table `Channels`.

| row | channel (partition key) | key (sort key) | attributes |
|---|---|---|---|
| member | channel | `presence:member:<name>` + NUL + `<connection id>` | info (JSON text), joinedAt, form, leftAt, \
memberMetadata (JSON text), ttl |
| notified | channel | `presence:notified` | version, notified (JSON text), ttl |

`joinedAt` and `leftAt` are Unix milliseconds. `info` is there where it is not null, `form` only of connections of the
subprotocol slip.v1, `leftAt` of those that have left, and `memberMetadata` of these where that is kept: the metadata of
the connection, as last stored. `notified` is what the members have been notified of.

A member has a row in `Connections` too, that of its subscription, with `member` (the name), `info` and `joinedAt`: what
ends a subscription ends the membership. Both are written together, or that of the subscription goes last. Should a
function die while DynamoDB has taken only one of both rows of a new connection, the member stays until its row expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import Clock, MemberChanges
from ..gateway.values import NOT_NOTIFIED, Form, MemberConnection, Membership, Notified
from .channels import SORT_KEY, channels_table
from .table import TTL, slices

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

    from .table import Item, WriteRequest

PRESENCE = "presence:"
MEMBER = f"{PRESENCE}member:"
NOTIFIED = f"{PRESENCE}notified"

LEFT_LIFETIME_S = 10 * 60.0
"""How long the row of one that has left stays, unless it is forgotten before: far longer than its grace."""
NOTIFIED_LIFETIME_S = 2 * ROW_LIFETIME_S
FORGOTTEN_AT_ONCE = 8

MEMBERSHIP = ("member", "info", "joinedAt", "form")
"""The attributes of a subscription from which the row of its member follows, beside its keys."""
IS_FIRST_NOTE = "attribute_not_exists(channel) OR #ttl <= :now"
IS_NOTE_BEFORE = "#version = :before AND #ttl > :now"
HAS_LEFT_THEN = "leftAt = :leftAt"


class MemberRows:
    """The rows of members, as they follow from subscriptions; `changes` hears of them before they are written."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        clock: Clock,
        changes: MemberChanges | None,
        *,
        keeps_metadata: bool,
    ) -> None:
        self.keeps_metadata = keeps_metadata
        self.table = channels_table(client, table_name, clock)
        self._clock = clock
        self._changes = changes

    def attributes(self, membership: Membership) -> Item:
        """Return what a subscription has besides where it begins a membership now."""
        info: Item = {"info": {"S": membership.info.decode()}} if membership.info != b"null" else {}
        return {"member": {"S": membership.name}, **info, "joinedAt": _ms(self._clock.now())}

    def of(self, subscription: Item) -> Item:
        """Return the row of the member that a subscription begins."""
        name, connection_id = subscription["member"]["S"], subscription["connectionId"]["S"]
        key = self.table.key(subscription["channel"]["S"], f"{MEMBER}{name}\0{connection_id}")
        kept: Item = {name: subscription[name] for name in ("info", "joinedAt", "form", "ttl") if name in subscription}
        return {**key, **kept}

    def left(self, subscription: Item, left_at: float, metadata: AttributeValueTypeDef | None) -> Item:
        """Return the row of the member that a subscription had."""
        kept: Item = {} if metadata is None else {"memberMetadata": metadata}
        return {
            **self.of(subscription),
            **kept,
            "leftAt": _ms(left_at),
            "ttl": self.table.expiry(LEFT_LIFETIME_S),
        }

    def has_member(self, row: Item) -> bool:
        """Whether a row of a connection is a subscription with a membership, that has not expired."""
        return "member" in row and _seconds(row["joinedAt"]) + ROW_LIFETIME_S > self._clock.now()

    async def joining(self, channels: Sequence[str]) -> None:
        if channels and self._changes is not None:
            await self._changes.joining(channels)

    async def leaving(self, channels: Sequence[str]) -> None:
        if channels and self._changes is not None:
            await self._changes.leaving(channels)

    async def mark_left(self, rows: Sequence[Item]) -> None:
        """Mark the members as left that are in `rows`: all that there are of some connections."""
        ending = [row for row in rows if self.has_member(row)]
        left_at = self._clock.now()
        await self.leaving(list(dict.fromkeys(row["channel"]["S"] for row in ending)))
        metadata = {row["connectionId"]["S"]: row["metadata"] for row in rows if "metadata" in row}
        if not self.keeps_metadata:
            metadata.clear()
        left = [self.left(row, left_at, metadata.get(row["connectionId"]["S"])) for row in ending]
        requests: list[WriteRequest] = [{"PutRequest": {"Item": row}} for row in left]
        await self.table.write(requests)


class DynamoDbPresence:
    """The port Presence."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = channels_table(client, table_name, clock)

    async def read(self, channel: str) -> tuple[Sequence[MemberConnection], Notified]:
        """One Query, with as many pages as the rows need."""
        rows = await self._table.partition(channel, sort_prefix=PRESENCE)
        live = {row[SORT_KEY]["S"]: row for row in rows if self._table.is_live(row)}
        noted = live.pop(NOTIFIED, None)
        members = [_member(key, row) for key, row in live.items()]
        members.sort(key=lambda member: (member.name.encode(), member.connection_id))  # a name may hold a NUL
        if noted is None:
            return members, NOT_NOTIFIED
        return members, msgspec.json.decode(noted["notified"]["S"], type=Notified)

    async def note(self, channel: str, notified: Notified) -> bool:
        values: Item = {":now": self._table.now()}
        names, condition = TTL, IS_FIRST_NOTE
        if notified.version > 1:
            values[":before"] = {"N": str(notified.version - 1)}
            names, condition = {**TTL, "#version": "version"}, IS_NOTE_BEFORE
        row: Item = {
            **self._table.key(channel, NOTIFIED),
            "version": {"N": str(notified.version)},
            "notified": {"S": msgspec.json.encode(notified).decode()},
            "ttl": self._table.expiry(NOTIFIED_LIFETIME_S),
        }
        return await self._table.write_if(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item=row,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        )

    async def forget(self, channel: str, left: Sequence[MemberConnection]) -> None:
        for some in slices(left, FORGOTTEN_AT_ONCE):
            await asyncio.gather(*(self._forget(channel, member) for member in some))

    async def _forget(self, channel: str, member: MemberConnection) -> None:
        if member.left_at is None:
            return
        left_at = _ms(member.left_at)
        await self._table.write_if(
            lambda: self._client.delete_item(
                TableName=self._table.name,
                Key=self._table.key(channel, f"{MEMBER}{member.name}\0{member.connection_id}"),
                ConditionExpression=HAS_LEFT_THEN,
                ExpressionAttributeValues={":leftAt": left_at},
            )
        )


def _member(key: str, row: Item) -> MemberConnection:
    name, _, connection_id = key.removeprefix(MEMBER).rpartition("\0")
    return MemberConnection(
        name,
        connection_id,
        _seconds(row["joinedAt"]),
        row["info"]["S"].encode() if "info" in row else b"null",
        Form(row["form"]["S"]) if "form" in row else Form.RAW,
        _seconds(row["leftAt"]) if "leftAt" in row else None,
        row["memberMetadata"]["S"].encode() if "memberMetadata" in row else None,
    )


def _ms(seconds: float) -> AttributeValueTypeDef:
    return {"N": str(round(seconds * 1000))}


def _seconds(ms: AttributeValueTypeDef) -> float:
    return int(ms["N"]) / 1000
