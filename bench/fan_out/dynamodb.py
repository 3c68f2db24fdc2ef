"""A stub of DynamoDB with the table `Connections`: `python -m bench.fan_out.dynamodb`.

It knows exactly the calls of `slip_sockets.aws`, by the very text of their expressions, and refuses others. What it
cannot show: the index is never late, nothing is throttled, no row is ever removed, and what comes is trusted.

`POST /fill?channel=&subscribers=&accepted_s_ago=` subscribes connections that exist as numbers alone: a million take a
megabyte. `GET /stats` has calls, read and write units (those of the index among them) by operation since
`POST /reset`; `GET /subscribers?channel=` counts. SSM's GetParameter is answered with JWT_SECRET for any name: a
function asks for it once, and needs no process more for that.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any

from slip_sockets.aws.connections import INDEX_NAME
from slip_sockets.aws.table import own_channel
from slip_sockets.gateway.ports import ROW_TTL_S

from .aws_json import Answer, AwsError, Service, serve
from .subscribers import connection_id, place_of

Item = dict[str, dict[str, str]]

PAGE_BYTES = 1 << 20
READ_UNIT_BYTES = 4096
WRITE_UNIT_BYTES = 1024
OLD_S = 3600
"""How long ago a connection was accepted, if nothing else is said."""


def _number(item: Item, name: str, otherwise: float = math.inf) -> float:
    return float(item[name]["N"]) if name in item else otherwise


CONDITIONS: dict[str, Callable[[Item, Item], bool]] = {
    "#ttl > :now": lambda row, values: bool(row) and _number(row, "ttl") > _number(values, ":now"),
    "attribute_not_exists(connectionId) OR #ttl < :until": (
        lambda row, values: not row or _number(row, "ttl") < _number(values, ":until")
    ),
    "attribute_not_exists(connectionId) OR #ttl <= :now OR leaseUntil <= :nowMs"
    " OR (claimant = :claimant AND attribute_exists(leaseUntil))": (
        lambda row, values: (
            not row
            or _number(row, "ttl") <= _number(values, ":now")
            or _number(row, "leaseUntil") <= _number(values, ":nowMs")
            or (row["claimant"] == values[":claimant"] and "leaseUntil" in row)
        )
    ),
    "claimant = :claimant AND #ttl > :now": (
        lambda row, values: row.get("claimant") == values[":claimant"] and _number(row, "ttl") > _number(values, ":now")
    ),
    "claimant = :claimant AND attribute_exists(leaseUntil)": (
        lambda row, values: row.get("claimant") == values[":claimant"] and "leaseUntil" in row
    ),
}
"""Whether a row ({} for none) fulfils a condition with these values."""

UPDATES: dict[str, Callable[[Item, Item], Item]] = {
    "SET metadata = :metadata": lambda row, values: {**row, "metadata": values[":metadata"]},
    "SET #ttl = :ttl REMOVE leaseUntil": lambda row, values: {
        **{name: value for name, value in row.items() if name != "leaseUntil"},
        "ttl": values[":ttl"],
    },
}


@dataclass(slots=True)
class Filling:
    """Connections 0 to n-1 of a channel. `is_subscribed` has a byte for each."""

    number: int
    channel: str
    accepted_at: float
    is_subscribed: bytearray

    def row(self, index: int, sort_key: str) -> Item | None:
        whose = connection_id(self.number, index)
        ttl = {"N": str(int(self.accepted_at) + ROW_TTL_S)}
        if sort_key == own_channel(whose):
            connected_at = {"N": str(round(self.accepted_at * 1000))}
            return _row(whose, sort_key) | {"metadata": {"S": "{}"}, "connectedAt": connected_at, "ttl": ttl}
        if sort_key == self.channel and self.is_subscribed[index]:
            return _row(whose, sort_key) | {"ttl": ttl}
        return None


@dataclass(slots=True)
class Used:
    """Units of an operation. `index_write_units` come on top of the table's."""

    calls: int = 0
    read_units: float = 0
    write_units: float = 0
    index_write_units: float = 0


@dataclass(slots=True)
class Rows:
    """The table: what was written, over what was filled."""

    fillings: list[Filling] = field(default_factory=list)
    filling_of: dict[str, Filling] = field(default_factory=dict)
    written: dict[str, dict[str, Item]] = field(default_factory=dict)
    index: dict[str, list[str]] = field(default_factory=dict)
    """Of what was written: by channel the connection ids, sorted."""
    deleted: set[tuple[str, str]] = field(default_factory=set)
    """Own rows of filled connections."""

    def fill(self, channel: str, subscribers: int, accepted_at: float) -> Filling:
        filling = Filling(len(self.fillings), channel, accepted_at, bytearray(b"\1") * subscribers)
        self.fillings.append(filling)
        self.filling_of[channel] = filling
        return filling

    def get(self, partition: str, sort_key: str) -> Item | None:
        row = self.written.get(partition, {}).get(sort_key)
        if row is None and (place := self._filled(partition)) and (partition, sort_key) not in self.deleted:
            filling, index = place
            row = filling.row(index, sort_key)
        return row

    def partition(self, partition: str) -> list[Item]:
        rows = dict(self.written.get(partition, {}))
        if place := self._filled(partition):
            for sort_key in (own_channel(partition), place[0].channel):
                if row := self.get(partition, sort_key):
                    rows[sort_key] = row
        return [rows[sort_key] for sort_key in sorted(rows)]

    def put(self, item: Item) -> None:
        partition, sort_key = item["connectionId"]["S"], item["channel"]["S"]
        self.delete(partition, sort_key)
        self.written.setdefault(partition, {})[sort_key] = item
        insort(self.index.setdefault(sort_key, []), partition)

    def delete(self, partition: str, sort_key: str) -> None:
        if sort_key in self.written.get(partition, {}):
            del self.written[partition][sort_key]
            if not self.written[partition]:
                del self.written[partition]
            subscribers = self.index[sort_key]
            del subscribers[bisect_left(subscribers, partition)]
            if not subscribers:
                del self.index[sort_key]
        if place := self._filled(partition):
            filling, index = place
            if sort_key == filling.channel:
                filling.is_subscribed[index] = 0
            elif sort_key == own_channel(partition):
                self.deleted.add((partition, sort_key))

    def subscribers(self, channel: str, after: str | None) -> Iterator[str]:
        """Yield those of the index from a cursor on, first the filled ones."""
        filling, others = self.filling_of.get(channel), self.index.get(channel, [])
        start = bisect_right(others, after) if after is not None else 0
        is_among_others = start > 0 and others[start - 1] == after
        if filling is not None and not is_among_others:
            index = 0
            if after is not None and (place := place_of(after)) and place[0] == filling.number:
                index, start = place[1] + 1, 0
            elif after is not None:
                index = len(filling.is_subscribed)
            indices = range(index, len(filling.is_subscribed))
            for each in compress(indices, memoryview(filling.is_subscribed)[index:]):
                yield connection_id(filling.number, each)
        yield from others[start:]

    def is_live(self, whose: str, channel: str, now: int) -> bool:
        """What was filled is."""
        row = self.written.get(whose, {}).get(channel)
        return row is None or _number(row, "ttl") > now

    def count(self, channel: str) -> int:
        filling = self.filling_of.get(channel)
        return (filling.is_subscribed.count(1) if filling else 0) + len(self.index.get(channel, []))

    def _filled(self, partition: str) -> tuple[Filling, int] | None:
        place = place_of(partition)
        return (self.fillings[place[0]], place[1]) if place and place[0] < len(self.fillings) else None


class DynamoDb(Service):
    """The calls, and what they use."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._used: dict[str, Used] = {}
        self.operations = {
            "Query": self._query,
            "GetItem": self._get_item,
            "BatchGetItem": self._batch_get_item,
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
            "BatchWriteItem": self._batch_write_item,
            "TransactWriteItems": self._transact_write_items,
            "GetParameter": lambda asked: {
                "Parameter": {"Name": asked["Name"], "Value": json.dumps([os.environ["JWT_SECRET"]])}
            },
        }
        self.controls = {
            "/fill": self._fill,
            "/stats": lambda _: {name: vars_of(used) for name, used in self._used.items()},
            "/reset": self._reset,
            "/subscribers": lambda query: {"subscribers": self._rows.count(query["channel"])},
        }

    def _fill(self, query: dict[str, str]) -> Answer:
        accepted_at = time.time() - float(query.get("accepted_s_ago", OLD_S))
        return {"filling": self._rows.fill(query["channel"], int(query["subscribers"]), accepted_at).number}

    def _reset(self, _: dict[str, str]) -> Answer:
        self._used.clear()
        return {}

    def _query(self, asked: Any) -> Answer:
        values = asked["ExpressionAttributeValues"]
        if asked.get("IndexName") is None:
            _expect(asked["KeyConditionExpression"], "connectionId = :id")
            rows = self._rows.partition(values[":id"]["S"])
            self._read("Query", rows, asked)
            items = _projected(rows, asked)
            return {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        _expect(asked["IndexName"], INDEX_NAME)
        _expect(asked["KeyConditionExpression"], "channel = :channel")
        _expect(asked["FilterExpression"], "#ttl > :now")
        channel = values[":channel"]["S"]
        after = asked.get("ExclusiveStartKey", {}).get("connectionId", {}).get("S")
        row_bytes = _size({**_row(connection_id(0, 0), channel), "ttl": {"N": "1700000000"}})
        limit = min(PAGE_BYTES // row_bytes, asked.get("Limit", PAGE_BYTES))
        ids = list(islice(self._rows.subscribers(channel, after), limit))
        is_count = asked.get("Select") == "COUNT"
        used = self._use(f"Query {INDEX_NAME}{' COUNT' if is_count else ''}")
        used.read_units += _units(len(ids) * row_bytes, READ_UNIT_BYTES) / 2
        now = int(values[":now"]["N"])
        found = [whose for whose in ids if self._rows.is_live(whose, channel, now)]
        answer: Answer = {"Count": len(found), "ScannedCount": len(ids)}
        if not is_count:
            _expect(asked["ProjectionExpression"], "connectionId")
            answer["Items"] = [{"connectionId": {"S": whose}} for whose in found]
        if len(ids) == limit:
            answer["LastEvaluatedKey"] = _row(ids[-1], channel)
        return answer

    def _get_item(self, asked: Any) -> Answer:
        row = self._rows.get(*_key(asked["Key"]))
        self._read("GetItem", [row or {}], asked)
        return {"Item": row} if row else {}

    def _batch_get_item(self, asked: Any) -> Answer:
        (table,) = asked["RequestItems"]
        wanted = asked["RequestItems"][table]
        rows = [self._rows.get(*_key(key)) for key in wanted["Keys"]]
        for row in rows:
            self._read("BatchGetItem", [row or {}], wanted, calls=0)
        self._use("BatchGetItem")
        return {"Responses": {table: _projected(filter(None, rows), wanted)}, "UnprocessedKeys": {}}

    def _put_item(self, asked: Any) -> Answer:
        self._check("PutItem", asked, asked["Item"])
        self._write("PutItem", asked["Item"])
        return {}

    def _update_item(self, asked: Any) -> Answer:
        row = self._check("UpdateItem", asked, asked["Key"])
        updated = UPDATES[asked["UpdateExpression"]](row or asked["Key"], asked["ExpressionAttributeValues"])
        self._write("UpdateItem", updated, index=updated.get("ttl") != row.get("ttl"))
        return {}

    def _delete_item(self, asked: Any) -> Answer:
        row = self._check("DeleteItem", asked, asked["Key"])
        self._delete("DeleteItem", row, asked["Key"])
        return {}

    def _batch_write_item(self, asked: Any) -> Answer:
        (requests,) = asked["RequestItems"].values()
        for request in requests:
            if "PutRequest" in request:
                self._write("BatchWriteItem", request["PutRequest"]["Item"], calls=0)
            else:
                key = request["DeleteRequest"]["Key"]
                self._delete("BatchWriteItem", self._rows.get(*_key(key)) or {}, key, calls=0)
        self._use("BatchWriteItem")
        return {"UnprocessedItems": {}}

    def _transact_write_items(self, asked: Any) -> Answer:
        """A check of one row and a put of another, as for a subscription."""
        check, put = asked["TransactItems"]
        try:
            self._check("TransactWriteItems", check["ConditionCheck"], check["ConditionCheck"]["Key"])
        except AwsError as error:
            reasons = [{"Code": "ConditionalCheckFailed"}, {"Code": "None"}]
            raise AwsError(
                "TransactionCanceledException", "Transaction cancelled", CancellationReasons=reasons
            ) from error
        self._use("TransactWriteItems", calls=0).write_units += 2  # the check
        self._write("TransactWriteItems", put["Put"]["Item"], factor=2)
        return {}

    def _check(self, operation: str, asked: Any, key: Item) -> Item:
        """Return the row as it is, {} for none, if it fulfils the condition."""
        row = self._rows.get(*_key(key)) or {}
        condition = asked.get("ConditionExpression")
        if condition is not None and not CONDITIONS[condition](row, asked["ExpressionAttributeValues"]):
            self._use(operation).write_units += _units(_size(row), WRITE_UNIT_BYTES)
            told = {"Item": row} if row and asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" else {}
            raise AwsError("ConditionalCheckFailedException", "The conditional request failed", **told)
        return row

    def _write(self, operation: str, item: Item, *, index: bool = True, calls: int = 1, factor: int = 1) -> None:
        used = self._use(operation, calls)
        used.write_units += factor * _units(_size(item), WRITE_UNIT_BYTES)
        used.index_write_units += index
        self._rows.put(item)

    def _delete(self, operation: str, row: Item, key: Item, *, calls: int = 1) -> None:
        used = self._use(operation, calls)
        used.write_units += _units(_size(row), WRITE_UNIT_BYTES)
        used.index_write_units += bool(row)
        self._rows.delete(*_key(key))

    def _read(self, operation: str, rows: Iterable[Item], asked: Any, *, calls: int = 1) -> None:
        units = _units(sum(map(_size, rows)), READ_UNIT_BYTES)
        self._use(operation, calls).read_units += units if asked.get("ConsistentRead") else units / 2

    def _use(self, operation: str, calls: int = 1) -> Used:
        used = self._used.setdefault(operation, Used())
        used.calls += calls
        return used


def vars_of(used: Used) -> Answer:
    return {name: getattr(used, name) for name in Used.__slots__}


def _expect(told: str, known: str) -> None:
    if told != known:
        raise ValueError(f"the stub knows {known!r}, not {told!r}")


def _row(partition: str, sort_key: str) -> Item:
    return {"connectionId": {"S": partition}, "channel": {"S": sort_key}}


def _key(item: Item) -> tuple[str, str]:
    return item["connectionId"]["S"], item["channel"]["S"]


def _projected(rows: Iterable[Item], asked: Mapping[str, Any]) -> list[Item]:
    expression = asked.get("ProjectionExpression")
    if expression is None:
        return list(rows)
    names = asked.get("ExpressionAttributeNames", {})
    attributes = [names.get(name, name) for name in expression.split(", ")]
    return [{name: row[name] for name in attributes if name in row} for row in rows]


def _size(item: Item) -> int:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
    size = 0
    for name, value in item.items():
        ((kind, text),) = value.items()
        size += len(name) + (len(text.encode()) if kind == "S" else (len(text) + 1) // 2 + 1)
    return size


def _units(size: int, unit_bytes: int) -> int:
    """An empty answer costs as much as a small one."""
    return max(1, math.ceil(size / unit_bytes))


if __name__ == "__main__":
    asyncio.run(serve(DynamoDb()))
