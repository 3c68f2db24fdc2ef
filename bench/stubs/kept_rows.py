"""The rows of the table `Channels` that hold what is kept: heads, pages and messages, as they are."""

from __future__ import annotations

from typing import Any

from slip_sockets.aws import channels, history

from .aws_json import Response
from .table import condition_failed, expect
from .units import Item, Meter, item_bytes, items_bytes

COUNT = "SET #newest = #newest + :one, #name = #newest + :one"
COUNT_LONGEST = f"{COUNT}, #until = :until, #ttl = :ttl"


class KeptRows:
    """The operations on them. They never expire."""

    def __init__(self, meter: Meter) -> None:
        self._rows: dict[tuple[str, str], Item] = {}
        self._meter = meter

    def head(self, channel: str) -> Item | None:
        return self._rows.get((channel, channels.HEAD))

    def get_head(self, request: Any) -> Response:
        row = self.head(request["Key"]["channel"]["S"])
        self._meter.read("GetItem", item_bytes(row or {}), is_consistent=True)
        return {"Item": row} if row else {}

    def pages(self, request: Any) -> Response:
        expect(request["KeyConditionExpression"], "#partition = :partition AND #sort BETWEEN :first AND :last")
        values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        rows = [
            row
            for (channel, key), row in sorted(self._rows.items())
            if channel == values[":partition"] and values[":first"] <= key <= values[":last"]
        ]
        self._meter.read("Query", items_bytes(rows), is_consistent=True)
        return {"Items": rows, "Count": len(rows)}

    def write(self, item: Item) -> None:
        self._meter.write("BatchWriteItem", item, index=False)
        self._put(item)

    def read(self, request: Any) -> Response:
        ((name, asked),) = request["RequestItems"].items()
        rows = [row for key in asked["Keys"] if (row := self._rows.get((key["channel"]["S"], key["key"]["S"])))]
        self._meter.read_rows("BatchGetItem", [item_bytes(row) for row in rows])
        return {"Responses": {name: rows}, "UnprocessedKeys": {}}

    def begin(self, request: Any) -> Response:
        """Put the first head of an epoch."""
        head = self.head(request["Item"]["channel"]["S"])
        if head is not None:
            raise condition_failed(head)
        self._put(request["Item"])
        return {}

    def update_head(self, request: Any) -> Response:
        """Give a message the next offset, or prolong a head of which nothing is kept."""
        channel, names = request["Key"]["channel"]["S"], request["ExpressionAttributeNames"]
        values = {name: int(value["N"]) for name, value in request["ExpressionAttributeValues"].items() if "N" in value}
        change, _, removed = request["UpdateExpression"].partition(" REMOVE ")
        head = self.head(channel)
        until = int(head["keptUntil"]["N"]) if head else 0
        match request["ConditionExpression"]:
            case history.IS_WORTH_LESS:
                holds = values[":now"] < until <= values[":until"]
            case history.IS_WORTH_MORE:
                holds = until > values[":until"]
            case history.IS_UNUSED:
                holds = head is not None and head["newest"]["N"] == "0" and until < values[":until"]
            case other:
                raise ValueError(f"the stub does not know {other!r}")
        self._meter.write("UpdateItem", head or request["Key"], index=False)
        if head is None or not holds or names.get("#name") in head:
            raise condition_failed(head or {})
        changed = dict(head)
        if change in (COUNT, COUNT_LONGEST):
            changed["newest"] = changed[names["#name"]] = {"N": str(int(head["newest"]["N"]) + 1)}
        else:
            expect(change, "SET #until = :until, #ttl = :ttl")
        if "#until" in change:
            changed |= {"keptUntil": {"N": str(values[":until"])}, "ttl": {"N": str(values[":ttl"])}}
        for name in removed.split(", ") if removed else ():
            changed.pop(names[name], None)
        self._put(changed)
        return {"Attributes": changed}

    def _put(self, item: Item) -> None:
        self._rows[item["channel"]["S"], item["key"]["S"]] = item
