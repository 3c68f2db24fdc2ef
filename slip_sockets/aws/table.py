"""Rows of a DynamoDB table: their keys and times, and calls that go on until all is done."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..gateway.errors import Unavailable
from ..gateway.ports import Clock
from .errors import AwsError, calling, error_code

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import (
        AttributeValueTypeDef,
        WriteRequestOutputTypeDef,
        WriteRequestTypeDef,
    )

    Item = dict[str, AttributeValueTypeDef]
    WriteRequest = WriteRequestTypeDef | WriteRequestOutputTypeDef

MAX_BATCH_READS = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
MAX_BATCH_ROWS = 25
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html"""
RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Between attempts that the client does not make: at rows left unprocessed, and after conflicts of transactions."""

TTL = {"#ttl": "ttl"}  # a reserved word of DynamoDB's expressions
_TRANSIENT_REASONS = {"None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html"""

T = TypeVar("T")


def expires_at(item: Item) -> int:
    return int(item["ttl"]["N"])


def slices(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Table:
    """A table of rows that expire: `ttl` is in whole Unix seconds, and a row is absent from then on.

    DynamoDB may take days to delete an expired row, so each read filters. Times are rounded up to whole seconds. All
    methods raise Unavailable.
    """

    def __init__(self, client: DynamoDBClient, name: str, clock: Clock, *, partition_key: str, sort_key: str) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        self._partition_key = partition_key
        self._sort_key = sort_key

    def key(self, partition: str, sort: str) -> Item:
        return {self._partition_key: {"S": partition}, self._sort_key: {"S": sort}}

    def expiry(self, lifetime_s: float) -> AttributeValueTypeDef:
        return {"N": str(math.ceil(self._clock.now() + lifetime_s))}

    def now(self) -> AttributeValueTypeDef:
        """The current time, to compare `ttl` with."""
        return {"N": str(math.floor(self._clock.now()))}

    def is_live(self, item: Item) -> bool:
        return expires_at(item) > self._clock.now()

    async def get(self, key: Item) -> Item | None:
        """Read a row consistently. An expired one is absent."""
        with calling("DynamoDB"):
            response = await self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
        item = response.get("Item")
        return item if item is not None and self.is_live(item) else None

    async def get_all(self, keys: Sequence[Item], attributes: str) -> list[Item]:
        """Read the `attributes` of rows consistently; no key may come twice. Expired rows are absent."""
        found: list[Item] = []

        async def read(pending: Sequence[Item]) -> Sequence[Item]:
            response = await self._client.batch_get_item(
                RequestItems={
                    self.name: {
                        "Keys": pending,
                        "ConsistentRead": True,
                        "ProjectionExpression": f"{attributes}, #ttl",
                        "ExpressionAttributeNames": TTL,
                    }
                }
            )
            found.extend(response["Responses"].get(self.name, []))
            return response["UnprocessedKeys"][self.name]["Keys"] if response["UnprocessedKeys"] else []

        for batch in slices(keys, MAX_BATCH_READS):
            await self._process(batch, read)
        return [item for item in found if self.is_live(item)]

    async def partition(self, name: str, *, attributes: Sequence[str] = (), sort_prefix: str = "") -> list[Item]:
        """Read the rows of a partition consistently, expired ones included: the keys and these `attributes`, or all.

        `sort_prefix` leaves out those with a sort key that does not begin with it.
        """
        names = {"#partition": self._partition_key}
        values: dict[str, AttributeValueTypeDef] = {":partition": {"S": name}}
        condition = "#partition = :partition"
        how: dict[str, Any] = {}
        if sort_prefix:
            condition += " AND begins_with(#sort, :prefix)"
            values[":prefix"] = {"S": sort_prefix}
        if attributes:
            names |= {f"#{attribute}": attribute for attribute in attributes}
            how["ProjectionExpression"] = ", ".join(["#partition", "#sort", *(f"#{each}" for each in attributes)])
        if sort_prefix or attributes:
            names["#sort"] = self._sort_key
        return await self._query(condition, names, values, how)

    async def between(self, name: str, first: str, last: str) -> list[Item]:
        """Read the rows of a partition consistently that have a sort key from `first` to `last`."""
        condition = "#partition = :partition AND #sort BETWEEN :first AND :last"
        names = {"#partition": self._partition_key, "#sort": self._sort_key}
        values: Item = {":partition": {"S": name}, ":first": {"S": first}, ":last": {"S": last}}
        return [item for item in await self._query(condition, names, values, {}) if self.is_live(item)]

    async def _query(self, condition: str, names: dict[str, str], values: Item, how: dict[str, Any]) -> list[Item]:
        """Read all pages consistently; `how` are further parameters of the first."""
        found: list[Item] = []
        with calling("DynamoDB"):
            while True:
                page = await self._client.query(
                    TableName=self.name,
                    ConsistentRead=True,
                    KeyConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    **how,
                )
                found += page["Items"]
                if not (last := page.get("LastEvaluatedKey")):
                    return found
                how = {**how, "ExclusiveStartKey": last}

    async def delete(self, items: Iterable[Item]) -> None:
        keys = [{name: item[name] for name in (self._partition_key, self._sort_key)} for item in items]
        await self.write([{"DeleteRequest": {"Key": key}} for key in keys])

    async def write(self, requests: Sequence[WriteRequest]) -> None:
        await self.write_to_tables([(self.name, request) for request in requests])

    async def write_to_tables(self, requests: Sequence[tuple[str, WriteRequest]]) -> None:
        """Write rows of this table and of others, each with the name of its table."""

        async def write(pending: Sequence[tuple[str, WriteRequest]]) -> Sequence[tuple[str, WriteRequest]]:
            by_table: dict[str, list[WriteRequest]] = {}
            for name, request in pending:
                by_table.setdefault(name, []).append(request)
            response = await self._client.batch_write_item(RequestItems=by_table)
            return [(name, request) for name, left in response["UnprocessedItems"].items() for request in left]

        for batch in slices(requests, MAX_BATCH_ROWS):
            await self._process(batch, write)

    async def write_if(self, write: Callable[[], Awaitable[object]]) -> bool:
        """Return False where the condition of `write` does not hold."""
        return await self.failed_condition(write) is None

    async def failed_condition(self, write: Callable[[], Awaitable[object]]) -> Item | None:
        """Return None where the condition of `write` holds, else the row as it is, empty unless `write` asks for it."""
        with calling("DynamoDB"):
            try:
                await self._retried(write)
            except AwsError as error:
                if not _condition_failed(error):
                    raise
                return cast("Item", error.response.get("Item") or _item_of_reasons(error))
        return None

    async def _process(self, pending: Sequence[T], call: Callable[[Sequence[T]], Awaitable[Sequence[T]]]) -> None:
        """Call again with the part that `call` returns as unprocessed."""
        with calling("DynamoDB"):
            for pause_s in (*RETRY_PAUSES_S, None):
                pending = await call(pending)
                if not pending:
                    return
                if pause_s is not None:
                    await self._clock.sleep(pause_s)
        raise Unavailable(f"DynamoDB: {len(pending)} rows remain unprocessed")

    async def _retried(self, write: Callable[[], Awaitable[object]]) -> None:
        for pause_s in (*RETRY_PAUSES_S, None):
            try:
                await write()
                return
            except AwsError as error:
                if pause_s is None or not _is_conflict(error):
                    raise
            await self._clock.sleep(pause_s)


def _reasons(error: AwsError) -> set[str]:
    reasons = error.response.get("CancellationReasons", [])
    return {reason.get("Code", "None") for reason in reasons}


def _item_of_reasons(error: AwsError) -> Any:
    """Return the row for which a transaction was cancelled, if it was asked for."""
    reasons = error.response.get("CancellationReasons", [])
    return next((reason["Item"] for reason in reasons if reason.get("Item")), {})


def _condition_failed(error: AwsError) -> bool:
    return error_code(error) == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in _reasons(error)


def _is_conflict(error: AwsError) -> bool:
    if error_code(error) == "TransactionCanceledException":
        return _reasons(error) <= _TRANSIENT_REASONS
    return error_code(error) == "TransactionConflictException"
