"""The table `Connections`, over the development server's MemoryConnections."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.aws.connections import (
    HAS_MEMBER,
    HAS_NO_MEMBER,
    INDEX_NAME,
    IS_CONNECTED,
    IS_CONNECTED_RAW,
    NOT_EXPIRED,
    OF_CHANNEL,
    SUBSCRIBE,
    SUBSCRIBE_WITH_FORM,
    own_channel,
)
from slip_sockets.aws.presence import MEMBERSHIP
from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import Page

from .aws_json import Response, ServiceError
from .connection_ids import connection_id
from .table import Table, condition_failed, expect, finished
from .units import Item, Meter, item_bytes, items_bytes

PAGE_BYTES = 1 << 20
"""What one Query reads at most.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html"""


@dataclass(frozen=True, slots=True)
class Filling:
    """Subscribers of a channel that exist as numbers alone, so that a million take no memory. They never leave."""

    number: int
    subscribers: int

    def page(self, after: str | None, size: int) -> Page:
        """Of a full page DynamoDB does not know that it is the last: the next one is empty then."""
        start = int(after or 0)
        end = min(start + size, self.subscribers)
        ids = [connection_id(self.number, index) for index in range(start, end)]
        return Page(ids, str(end) if len(ids) == size else None)


class ConnectionsTable(Table):
    """A channel has the subscribers of its filling, or those that subscribed. A read of the index returns what it
    names, other reads return whole rows: a projection saves no unit."""

    def __init__(self, meter: Meter) -> None:
        self._memory = MemoryConnections(SystemClock())
        self._attributes: dict[tuple[str, str], Item] = {}  # of subscriptions, which the store does not keep
        self._fillings: dict[str, Filling] = {}
        self._numbers = itertools.count()
        self._meter = meter
        self.operations = {
            "Query": self._query,
            "GetItem": self._get_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
        }

    def fill(self, channel: str, subscribers: int) -> Filling:
        self._fillings[channel] = Filling(next(self._numbers), subscribers)
        return self._fillings[channel]

    def _query(self, request: Any) -> Response:
        if "IndexName" in request:
            return self._query_index(request)
        # Ours, and the yardstick's.
        expect(request["KeyConditionExpression"], "#partition = :partition", "connectionId = :id")
        (partition,) = request["ExpressionAttributeValues"].values()
        rows = self._rows(partition["S"])
        self._meter.read("Query", items_bytes(rows), is_consistent=True)
        return {"Items": rows, "Count": len(rows)}

    def _get_item(self, request: Any) -> Response:
        row = self._row(request["Key"])
        self._meter.read("GetItem", item_bytes(row or {}), is_consistent=True)
        return {"Item": row} if row else {}

    def _update_item(self, request: Any) -> Response:
        expect(request["UpdateExpression"], "SET metadata = :value", "SET nextNumber = :value")
        expect(request["ConditionExpression"], IS_CONNECTED)
        id_, _ = _key(request["Key"])
        self._meter.call("UpdateItem")
        value = request["ExpressionAttributeValues"][":value"]
        if "N" in value:
            is_connected = finished(self._memory.set_next_number(id_, int(value["N"])))
        else:
            is_connected = finished(self._memory.set_metadata(id_, value["S"].encode()))
        self._meter.write("UpdateItem", self._row(request["Key"]) or {}, index=False)
        if not is_connected:
            raise condition_failed()
        return {}

    def _delete_item(self, request: Any) -> Response:
        expect(request.get("ConditionExpression", HAS_NO_MEMBER), HAS_NO_MEMBER)
        self._meter.call("DeleteItem")
        if "ConditionExpression" in request and self._has_member(request["Key"]):
            row = self._row(request["Key"])
            self._meter.write("DeleteItem", row or {}, index=False)
            raise condition_failed(row)
        self._delete("DeleteItem", request["Key"])
        return {}

    def write(self, writes: Sequence[Any]) -> None:
        for write in writes:
            match write:
                case {"PutRequest": {"Item": item}}:
                    self._meter.write("BatchWriteItem", item, index=True)
                    self._put(item)
                case {"DeleteRequest": {"Key": key}}:
                    self._delete("BatchWriteItem", key)

    def transact(self, items: Sequence[Any]) -> None:
        """A subscription: the check of one row, the write of another. Or its end, where it has a member."""
        match items:
            case [{"Delete": {"Key": key, "ConditionExpression": condition}}]:
                expect(condition, HAS_MEMBER)
                if not self._has_member(key):
                    raise _transaction_cancelled("ConditionalCheckFailed", "None")
                self._delete("TransactWriteItems", key, is_transaction=True)
            case [{"ConditionCheck": check}, {"Put": {"Item": item}}]:
                self._attributes.pop(_key(item), None)
                self._subscribe(check, item)
            case [{"ConditionCheck": check}, {"Update": update}]:
                expect(update["UpdateExpression"], SUBSCRIBE, SUBSCRIBE_WITH_FORM)
                values = update["ExpressionAttributeValues"]
                self._subscribe(check, update["Key"] | {name.removeprefix(":"): values[name] for name in values})
            case other:
                raise ValueError(f"the stub does not know {other!r}")

    def _subscribe(self, check: Any, item: Item) -> None:
        expect(check["ConditionExpression"], IS_CONNECTED, IS_CONNECTED_RAW)
        self._meter.write("TransactWriteItems", check["Key"], index=False, is_transaction=True)
        if not finished(self._memory.subscribe(*_key(item))):
            raise _transaction_cancelled("ConditionalCheckFailed", "None")
        self._keep_attributes(item)
        self._meter.write("TransactWriteItems", item | self._attributes_of(item), index=True, is_transaction=True)

    def _query_index(self, request: Any) -> Response:
        expect(request["IndexName"], INDEX_NAME)
        expect(request["KeyConditionExpression"], OF_CHANNEL)
        expect(request["FilterExpression"], NOT_EXPIRED)
        channel = request["ExpressionAttributeValues"][":channel"]["S"]
        row_bytes = item_bytes(_subscription(connection_id(0, 0), channel))
        limit = min(PAGE_BYTES // row_bytes, request.get("Limit", PAGE_BYTES))
        # The cursor of the store is in the place of the last row's connection id: callers only hand it back.
        page = self._page(channel, request.get("ExclusiveStartKey", {}).get("connectionId", {}).get("S"), limit)
        is_count = request.get("Select") == "COUNT"
        operation = f"Query {INDEX_NAME}{' COUNT' if is_count else ''}"
        ids = page.connection_ids
        forms: list[Item] = [self._form(id_, channel) if self._attributes else {} for id_ in ids]
        forms_bytes = sum(map(item_bytes, forms))
        self._meter.read(operation, len(ids) * row_bytes + forms_bytes, is_consistent=False)
        response: Response = {"Count": len(ids)}
        if not is_count:
            names = {name.strip() for name in request["ProjectionExpression"].split(",")}
            if names not in ({"connectionId"}, {"connectionId", "form"}):
                raise ValueError(f"the stub does not know {request['ProjectionExpression']!r}")
            items: list[Item] = [{"connectionId": {"S": id_}} for id_ in ids]
            if "form" in names:
                items = [item | form for item, form in zip(items, forms, strict=True)]
            response["Items"] = items
        if page.cursor is not None:
            response["LastEvaluatedKey"] = {"connectionId": {"S": page.cursor}, "channel": {"S": channel}}
        return response

    def _page(self, channel: str, after: str | None, size: int) -> Page:
        filling = self._fillings.get(channel)
        if filling is not None:
            return filling.page(after, size)
        return finished(_first(self._memory, channel, after, size))

    def _put(self, item: Item) -> None:
        id_, channel = _key(item)
        if channel == own_channel(id_):
            user = item["user"]["S"] if "user" in item else None
            finished(self._memory.open(id_, item["metadata"]["S"].encode(), (), user=user))
        elif not finished(self._memory.subscribe(id_, channel)):
            raise ValueError("the connection's own row must come before its subscriptions")
        self._attributes.pop(_key(item), None)
        self._keep_attributes(item)

    def _keep_attributes(self, item: Item) -> None:
        if kept := {name: item[name] for name in MEMBERSHIP if name in item}:
            self._attributes[_key(item)] = self._attributes_of(item) | kept

    def _attributes_of(self, key: Item) -> Item:
        return self._attributes.get(_key(key), {})

    def _has_member(self, key: Item) -> bool:
        return "member" in self._attributes_of(key)

    def _form(self, id_: str, channel: str) -> Item:
        attributes = self._attributes.get((id_, channel), {})
        return {"form": attributes["form"]} if "form" in attributes else {}

    def _delete(self, operation: str, key: Item, *, is_transaction: bool = False) -> None:
        row = self._row(key)
        self._meter.write(operation, row or {}, index=row is not None, is_transaction=is_transaction)
        id_, channel = _key(key)
        self._attributes.pop((id_, channel), None)
        if channel == own_channel(id_):
            finished(self._memory.remove(id_))
        else:
            finished(self._memory.unsubscribe(id_, channel))

    def _row(self, key: Item) -> Item | None:
        id_, channel = _key(key)
        return next((row for row in self._rows(id_) if row["channel"]["S"] == channel), None)

    def _rows(self, id_: str) -> list[Item]:
        rows = [
            _subscription(id_, channel) | self._attributes.get((id_, channel), {})
            for channel in self._memory.peek(id_)[1]
        ]
        stored = finished(self._memory.get(id_))
        if stored is not None:
            own = {
                "metadata": {"S": stored.metadata.decode()},
                "connectedAt": {"N": str(round(stored.accepted_at * 1000))},
                "nextNumber": {"N": str(stored.next_number)},
                "ttl": {"N": str(math.ceil(stored.accepted_at + ROW_LIFETIME_S))},
                **({"user": {"S": stored.user}} if stored.user is not None else {}),
            }
            rows.append({"connectionId": {"S": id_}, "channel": {"S": own_channel(id_)}, **own})
        return rows


async def _first(memory: MemoryConnections, channel: str, after: str | None, size: int) -> Page:
    return await anext(memory.subscribers(channel, after=after, page_size=size))


def _key(item: Item) -> tuple[str, str]:
    return item["connectionId"]["S"], item["channel"]["S"]


def _transaction_cancelled(*reasons: str) -> ServiceError:
    codes = [{"Code": reason} for reason in reasons]
    return ServiceError("TransactionCanceledException", "Transaction cancelled", CancellationReasons=codes)


def _subscription(id_: str, channel: str) -> Item:
    """The store does not show when a subscription expires, and callers do not read it."""
    return {"connectionId": {"S": id_}, "channel": {"S": channel}, "ttl": {"N": "1700000000"}}
