"""The rows of the table `Channels` that hold who is in a channel, as they are."""

from __future__ import annotations

from typing import Any

from slip_sockets.aws import presence

from .aws_json import Response
from .table import condition_failed, expect
from .units import Item, Meter, items_bytes


def is_of_presence(row: Item) -> bool:
    """Whether a row, or its key, is one of these."""
    return row["key"]["S"].startswith(presence.PRESENCE)


class PresenceRows:
    """The operations on them. They never expire."""

    def __init__(self, meter: Meter) -> None:
        self._rows: dict[str, dict[str, Item]] = {}  # by channel and key
        self._meter = meter

    def query(self, channel: str) -> Response:
        rows = [row for _, row in sorted(self._rows.get(channel, {}).items())]
        self._meter.read("Query", items_bytes(rows), is_consistent=True)
        return {"Items": rows, "Count": len(rows)}

    def put(self, item: Item, operation: str, *, is_transaction: bool = False) -> None:
        self._meter.write(operation, item, index=False, is_transaction=is_transaction)
        self._rows.setdefault(item["channel"]["S"], {})[item["key"]["S"]] = item

    def note(self, request: Any) -> Response:
        item, values = request["Item"], request["ExpressionAttributeValues"]
        expect(request["ConditionExpression"], presence.IS_FIRST_NOTE, presence.IS_NOTE_BEFORE)
        stored = self._rows.get(item["channel"]["S"], {}).get(presence.NOTIFIED, {}).get("version", {"N": "0"})
        if stored != values.get(":before", {"N": "0"}):
            raise condition_failed()
        self.put(item, "PutItem")
        return {}

    def forget(self, request: Any) -> Response:
        key = request["Key"]
        expect(request["ConditionExpression"], presence.HAS_LEFT_THEN)
        self._meter.call("DeleteItem")
        rows = self._rows.get(key["channel"]["S"], {})
        row = rows.get(key["key"]["S"], {})
        self._meter.write("DeleteItem", row, index=False)
        if row.get("leftAt") != request["ExpressionAttributeValues"][":leftAt"]:
            raise condition_failed()
        del rows[key["key"]["S"]]
        return {}
