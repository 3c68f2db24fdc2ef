"""Rows of the DynamoDB table: their keys and times, and calls that go on until all is done. `connections` lists them.

The functions block, which the ports allow: a function handles one event at a time, and nothing else waits for its loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..events import RESERVED_CHANNEL_PREFIX
from ..gateway.ports import Clock, Unavailable
from .calls import calling, error_code, refusals, response_of

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef, WriteRequestOutputTypeDef, WriteRequestTypeDef

    Item = dict[str, AttributeValueTypeDef]
    WriteRequest = WriteRequestTypeDef | WriteRequestOutputTypeDef

MAX_BATCH_READS = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
MAX_BATCH_ROWS = 25
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""
RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Between attempts at what the client does not repeat: rows left unprocessed, and conflicts of transactions."""

TTL = {"#ttl": "ttl"}  # a reserved word of DynamoDB's expressions
_TRANSIENT_REASONS = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

T = TypeVar("T")


def key(connection_id: str, channel: str) -> Item:
    return {"connectionId": {"S": connection_id}, "channel": {"S": channel}}


def own_channel(partition: str) -> str:
    """A sort key that no channel has. It names the partition: in the index each such row is alone."""
    return f"{RESERVED_CHANNEL_PREFIX}{partition}"


def own_key(partition: str) -> Item:
    return key(partition, own_channel(partition))


def expires_at(item: Item) -> int:
    return int(item["ttl"]["N"])


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Table:
    """Rows live for the whole second in which they expire at most. All methods raise Unavailable."""

    def __init__(self, client: DynamoDBClient, name: str, clock: Clock) -> None:
        self.name = name
        self._client = client
        self._clock = clock

    def expiry(self, lifetime_s: float) -> AttributeValueTypeDef:
        return {"N": str(math.ceil(self._clock.now() + lifetime_s))}

    def now(self) -> AttributeValueTypeDef:
        """The time that `ttl` is compared with."""
        return {"N": str(math.floor(self._clock.now()))}

    def is_live(self, item: Item) -> bool:
        return expires_at(item) > self._clock.now()

    def get(self, row: Item) -> Item | None:
        """Read a row consistently. An expired one is absent."""
        with calling("DynamoDB"):
            item = self._client.get_item(TableName=self.name, Key=row, ConsistentRead=True).get("Item")
        return item if item is not None and self.is_live(item) else None

    async def get_all(self, rows: Sequence[Item], attributes: str) -> list[Item]:
        """Read rows consistently, those of `attributes` that they have. Expired ones are absent; no row twice."""
        found: list[Item] = []

        def read(pending: Sequence[Item]) -> Sequence[Item]:
            answer = self._client.batch_get_item(
                RequestItems={
                    self.name: {
                        "Keys": pending,
                        "ConsistentRead": True,
                        "ProjectionExpression": f"{attributes}, #ttl",
                        "ExpressionAttributeNames": TTL,
                    }
                }
            )
            found.extend(answer["Responses"].get(self.name, []))
            return answer["UnprocessedKeys"][self.name]["Keys"] if answer["UnprocessedKeys"] else []

        for batch in slices(rows, MAX_BATCH_READS):
            await self._process(batch, read)
        return [item for item in found if self.is_live(item)]

    def partition(self, name: str, *, keys_only: bool = False) -> list[Item]:
        """Read all rows of a partition consistently, expired ones included."""
        how: dict[str, Any] = {"ProjectionExpression": "connectionId, channel"} if keys_only else {}
        found: list[Item] = []
        with calling("DynamoDB"):
            while True:
                page = self._client.query(
                    TableName=self.name,
                    ConsistentRead=True,
                    KeyConditionExpression="connectionId = :id",
                    ExpressionAttributeValues={":id": {"S": name}},
                    **how,
                )
                found += page["Items"]
                if not (last := page.get("LastEvaluatedKey")):
                    return found
                how["ExclusiveStartKey"] = last

    async def delete(self, items: Iterable[Item]) -> None:
        keys = [key(item["connectionId"]["S"], item["channel"]["S"]) for item in items]
        await self.write([{"DeleteRequest": {"Key": row}} for row in keys])

    async def write(self, requests: Sequence[WriteRequest]) -> None:
        def write(pending: Sequence[WriteRequest]) -> Sequence[WriteRequest]:
            answer = self._client.batch_write_item(RequestItems={self.name: pending})
            return answer["UnprocessedItems"].get(self.name, [])

        for batch in slices(requests, MAX_BATCH_ROWS):
            await self._process(batch, write)

    async def write_if(self, write: Callable[[], object]) -> bool:
        """Return False where the condition of `write` does not hold."""
        return await self.failed_condition(write) is None

    async def failed_condition(self, write: Callable[[], object]) -> Item | None:
        """Return None where the condition of `write` holds, else the row as it is, if that was asked for."""
        with calling("DynamoDB"):
            try:
                await self._retried(write)
            except refusals() as error:
                if not _condition_failed(error):
                    raise
                return cast("Item", response_of(error).get("Item", {}))
        return None

    async def _process(self, pending: Sequence[T], call: Callable[[Sequence[T]], Sequence[T]]) -> None:
        """Call again for what `call` returns as unprocessed."""
        with calling("DynamoDB"):
            for pause_s in (*RETRY_PAUSES_S, None):
                pending = call(pending)
                if not pending:
                    return
                if pause_s is not None:
                    await self._clock.sleep(pause_s)
        raise Unavailable(f"DynamoDB: {len(pending)} rows remain unprocessed")

    async def _retried(self, write: Callable[[], object]) -> None:
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                write()
                return
            except refusals() as error:
                if pause_s is None or not _is_conflict(error):
                    raise
            await self._clock.sleep(pause_s)


def _reasons(error: Exception) -> set[str]:
    reasons = response_of(error).get("CancellationReasons", [])
    return {reason.get("Code", "None") for reason in reasons}


def _condition_failed(error: Exception) -> bool:
    return error_code(error) == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in _reasons(error)


def _is_conflict(error: Exception) -> bool:
    if error_code(error) == "TransactionCanceledException":
        return _reasons(error) <= _TRANSIENT_REASONS
    return error_code(error) == "TransactionConflictException"
