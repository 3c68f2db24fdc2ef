"""What channels remember: the table `Channels`.

| row | channel (partition key) | key (sort key) | attributes |
|---|---|---|---|
| claim | `<digest>` of channel and message id | `claim` | claimant, firstClaimant, leaseUntil (Unix milliseconds), \
position, ttl |
| queued | channel | `mark:queued` | ttl |
| slow | channel | `mark:slow:<connection id>` | ttl |
| last id | channel | `mark:last` | lastId, ttl |
| filtered | channel | `mark:filtered` | ttl |
| patterns | `deployment` | `patterns` | ttl |
| checkpoint | `<message id>` of SQS | `checkpoint` | remaining (text), ttl |
| rate | `fan-out` | `rate` | reservedUntil (Unix microseconds), ttl |

A claim without `leaseUntil` is confirmed; `position` is that of a message that is kept. Each is in a partition of its
own, so that a channel takes as many publishes a second as the table does. `checkpoints` and `delivery_rate` have the
last two, `history` and `presence` have rows of their own. The sort key says what a row is: channels may have any name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..gateway.ports import CLAIM_LIFETIME_S, Claim, Claimed, Clock
from ..gateway.values import ChannelState
from .errors import calling
from .table import TTL, Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

    from .table import Item

PARTITION_KEY, SORT_KEY = "channel", "key"

MARK = "mark:"
QUEUED = f"{MARK}queued"
SLOW = f"{MARK}slow:"
LAST = f"{MARK}last"
HEAD = f"{MARK}head"
FILTERED = f"{MARK}filtered"
DEPLOYMENT, PATTERNS = "deployment", "patterns"
"""The row that says that there are patterns."""
CLAIM = "claim"

IS_UNCLAIMED = (
    "attribute_not_exists(channel) OR #ttl <= :now"
    " OR (claimant = :claimant AND firstClaimant = :claimant AND attribute_exists(leaseUntil))"
)
"""The same claimant may claim again: it is a repetition of the call, which a client makes when its response is lost."""
HAS_LAPSED = "#ttl > :now AND (leaseUntil <= :nowMs OR (claimant = :claimant AND attribute_exists(leaseUntil)))"
IS_CLAIMED_BY = "claimant = :claimant AND #ttl > :now"
IS_LEASED_BY = "claimant = :claimant AND attribute_exists(leaseUntil)"
IS_MARKED_SHORTER = "attribute_not_exists(channel) OR #ttl < :until"


class DynamoDbChannels:
    """The ports Claims and ChannelMarks."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = channels_table(client, table_name, clock)
        self._clock = clock

    # Claims

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claimed:
        now_s = self._clock.now()
        now_ms: AttributeValueTypeDef = {"N": str(math.floor(now_s * 1000))}
        item: Item = {
            **self._claim_key(channel, message_id),
            "claimant": {"S": claimant},
            "firstClaimant": {"S": claimant},
            "leaseUntil": {"N": str(math.ceil((now_s + lease_s) * 1000))},
            "ttl": self._table.expiry(max(lease_s, CLAIM_LIFETIME_S)),
        }
        other = await self._table.failed_condition(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item=item,
                ConditionExpression=IS_UNCLAIMED,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":now": self._table.now(), ":claimant": item["claimant"]},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )
        if other is None:
            return Claimed(Claim.GRANTED, claimant)
        if other and "leaseUntil" not in other:
            return Claimed(Claim.PUBLISHED, position=other["position"]["S"] if "position" in other else None)
        if not other:
            return Claimed(Claim.PENDING)
        if int(other["leaseUntil"]["N"]) > now_s * 1000 and other["claimant"] != item["claimant"]:
            return Claimed(Claim.PENDING)
        taken = await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=self._claim_key(channel, message_id),
                UpdateExpression="SET claimant = :claimant, leaseUntil = :lease, #ttl = :ttl",
                ConditionExpression=HAS_LAPSED,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={
                    ":claimant": item["claimant"],
                    ":lease": item["leaseUntil"],
                    ":ttl": item["ttl"],
                    ":now": self._table.now(),
                    ":nowMs": now_ms,
                },
            )
        )
        return Claimed(Claim.GRANTED, other["firstClaimant"]["S"]) if taken else Claimed(Claim.PENDING)

    async def confirm(
        self,
        channel: str,
        message_id: str,
        claimant: str,
        *,
        position: str | None = None,
        for_s: float = CLAIM_LIFETIME_S,
    ) -> None:
        """After the lease too, as long as no other publisher has claimed it."""
        values: Item = {
            ":claimant": {"S": claimant},
            ":now": self._table.now(),
            ":ttl": self._table.expiry(for_s),
        }
        if position is not None:
            values[":position"] = {"S": position}
        names = TTL if position is None else {**TTL, "#position": "position"}
        await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=self._claim_key(channel, message_id),
                UpdateExpression=f"SET #ttl = :ttl{'' if position is None else ', #position = :position'}"
                " REMOVE leaseUntil",
                ConditionExpression=IS_CLAIMED_BY,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )
        )

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        """The row stays: it has the name of what may be kept already."""
        await self._table.write_if(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=self._claim_key(channel, message_id),
                UpdateExpression="SET leaseUntil = :now",
                ConditionExpression=IS_LEASED_BY,
                ExpressionAttributeValues={
                    ":claimant": {"S": claimant},
                    ":now": {"N": str(math.floor(self._clock.now() * 1000))},
                },
            )
        )

    def _claim_key(self, channel: str, message_id: str) -> Item:
        """A digest, since both names together may be longer than a key; of JSON, so that it is clear where one ends."""
        digest = hashlib.sha256(msgspec.json.encode([channel, message_id])).hexdigest()
        return self._table.key(digest, CLAIM)

    # Marks

    async def channel_state(self, channel: str) -> ChannelState:
        items = await self._table.partition(channel, sort_prefix=MARK)
        marks = {item["key"]["S"]: item for item in items if self._table.is_live(item)}
        return ChannelState(
            is_queued=QUEUED in marks,
            slow=frozenset(mark.removeprefix(SLOW) for mark in marks if mark.startswith(SLOW)),
            last_id=marks[LAST]["lastId"]["S"] if LAST in marks else None,
            kept=marks.get(HEAD),
            has_content_filters=FILTERED in marks,
        )

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        await self._mark(self._table.key(channel, QUEUED), for_s)

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        for connection_id in connection_ids:
            await self._mark(self._table.key(channel, f"{SLOW}{connection_id}"), for_s)

    async def set_last_id(self, channel: str, last_id: str | None, *, for_s: float) -> None:
        """None is a row that has expired."""
        key = self._table.key(channel, LAST)
        ttl = self._table.expiry(for_s if last_id is not None else -1)
        row: Item = {**key, "lastId": {"S": last_id or ""}, "ttl": ttl}
        with calling("DynamoDB"):
            await self._client.put_item(TableName=self._table.name, Item=row)

    async def mark_filtered(self, channel: str, *, for_s: float) -> None:
        await self._mark(self._table.key(channel, FILTERED), for_s)

    async def mark_patterns(self, *, for_s: float) -> None:
        await self._mark(self._table.key(DEPLOYMENT, PATTERNS), for_s)

    async def has_patterns(self) -> bool:
        return await self._table.get(self._table.key(DEPLOYMENT, PATTERNS)) is not None

    async def _mark(self, mark: Item, for_s: float) -> None:
        """A mark that lives longer stays as it is."""
        until: AttributeValueTypeDef = self._table.expiry(for_s)
        await self._table.write_if(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item={**mark, "ttl": until},
                ConditionExpression=IS_MARKED_SHORTER,
                ExpressionAttributeNames=TTL,
                ExpressionAttributeValues={":until": until},
            )
        )


def channels_table(client: DynamoDBClient, name: str, clock: Clock) -> Table:
    return Table(client, name, clock, partition_key=PARTITION_KEY, sort_key=SORT_KEY)
