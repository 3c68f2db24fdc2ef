"""The table `Channels`, over the development server's MemoryChannels, `KeptRows` and `PresenceRows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slip_sockets.aws import channels, delivery_rate, history, presence
from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.gateway.ports import Claim, SystemClock

from .aws_json import Response
from .kept_rows import KeptRows
from .presence_rows import PresenceRows, is_of_presence
from .table import Table, condition_failed, expect, finished
from .units import Item, Meter, item_bytes, items_bytes

LATER_S = 60.0
"""The rest of a mark's life in responses: the store does not show the real one."""


class ChannelsTable(Table):
    """A claim is kept by the digest that is its partition key. Of rows that are not `KeptRows` or `PresenceRows`,
    all but checkpoints are below one write unit."""

    def __init__(self, meter: Meter) -> None:
        self._clock = SystemClock()
        self._memory = MemoryChannels(self._clock)
        self._checkpoints: dict[str, Item] = {}
        self._rate: Item | None = None
        self._meter = meter
        self._kept = KeptRows(meter)
        self._presence = PresenceRows(meter)
        self.operations = {
            "BatchGetItem": self._kept.read,
            "Query": self._query,
            "GetItem": self._get_item,
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
        }

    def write(self, writes: Sequence[Any]) -> None:
        for write in writes:
            item = write["PutRequest"]["Item"]
            if is_of_presence(item):
                self.put_member(item, "BatchWriteItem")
            else:
                self._kept.write(item)

    def put_member(self, item: Item, operation: str, *, is_transaction: bool = False) -> None:
        self._presence.put(item, operation, is_transaction=is_transaction)

    def _query(self, request: Any) -> Response:
        if "BETWEEN" in request["KeyConditionExpression"]:
            return self._kept.pages(request)
        expect(request["KeyConditionExpression"], "#partition = :partition AND begins_with(#sort, :prefix)")
        values = request["ExpressionAttributeValues"]
        expect(values[":prefix"]["S"], channels.MARK, presence.PRESENCE)
        channel = values[":partition"]["S"]
        if values[":prefix"]["S"] == presence.PRESENCE:
            return self._presence.query(channel)
        state = finished(self._memory.channel_state(channel))
        marks = [*([channels.QUEUED] if state.is_queued else []), *(f"{channels.SLOW}{id_}" for id_ in state.slow)]
        ttl = {"N": str(int(self._clock.now() + LATER_S))}
        rows: list[Item] = [{"channel": {"S": channel}, "key": {"S": mark}, "ttl": ttl} for mark in marks]
        if state.last_id is not None:
            last = {"channel": {"S": channel}, "key": {"S": channels.LAST}, "lastId": {"S": state.last_id}, "ttl": ttl}
            rows.append(last)
        if state.has_content_filters:
            rows.append({"channel": {"S": channel}, "key": {"S": channels.FILTERED}, "ttl": ttl})
        if (head := self._kept.head(channel)) is not None:
            rows.append(head)
        self._meter.read("Query", items_bytes(rows), is_consistent=True)
        return {"Items": rows, "Count": len(rows)}

    def _get_item(self, request: Any) -> Response:
        if request["Key"]["key"]["S"] == channels.HEAD:
            return self._kept.get_head(request)
        if request["Key"]["key"]["S"] == channels.PATTERNS:
            return self._get_patterns(request["Key"])
        row = self._checkpoints.get(request["Key"]["channel"]["S"])
        self._meter.read("GetItem", item_bytes(row or {}), is_consistent=True)
        return {"Item": row} if row else {}

    def _get_patterns(self, key: Item) -> Response:
        ttl = {"N": str(int(self._clock.now() + LATER_S))}
        row = {**key, "ttl": ttl} if finished(self._memory.has_patterns()) else {}
        self._meter.read("GetItem", item_bytes(row), is_consistent=True)
        return {"Item": row} if row else {}

    def _put_item(self, request: Any) -> Response:
        item = request["Item"]
        self._meter.call("PutItem")
        if is_of_presence(item):
            return self._presence.note(request)
        self._meter.write("PutItem", item, index=False)
        match request.get("ConditionExpression"):
            case None if item["key"]["S"] == channels.LAST:
                for_s = int(item["ttl"]["N"]) - self._clock.now()
                last_id = item["lastId"]["S"] if for_s > 0 else None
                finished(self._memory.set_last_id(item["channel"]["S"], last_id, for_s=for_s))
            case None:
                self._checkpoints[item["channel"]["S"]] = item
            case channels.IS_UNCLAIMED:
                self._claim(item, request["ExpressionAttributeValues"])
            case channels.IS_MARKED_SHORTER:
                self._mark(item)
            case history.HAS_RUN_OUT:
                return self._kept.begin(request)
            case other:
                expect(other)
        return {}

    def _delete_item(self, request: Any) -> Response:
        key = request["Key"]
        if is_of_presence(key):
            return self._presence.forget(request)
        expect(key["key"]["S"], channels.LAST)
        self._meter.call("DeleteItem")
        self._meter.write("DeleteItem", key, index=False)
        finished(self._memory.set_last_id(key["channel"]["S"], None, for_s=0))
        return {}

    def _update_item(self, request: Any) -> Response:
        self._meter.call("UpdateItem")
        if request["Key"]["key"]["S"] == channels.HEAD:
            return self._kept.update_head(request)
        self._meter.write("UpdateItem", request["Key"], index=False)
        if request["Key"]["key"]["S"] == delivery_rate.SORT:
            return self._reserve(request)
        expect(request["ConditionExpression"], channels.IS_CLAIMED_BY)
        confirming = "SET #ttl = :ttl{} REMOVE leaseUntil"
        expect(request["UpdateExpression"], *(confirming.format(each) for each in ("", ", #position = :position")))
        values = {name: value.get("S") for name, value in request["ExpressionAttributeValues"].items()}
        claimant, position = values[":claimant"], values.get(":position")
        finished(self._memory.confirm(request["Key"]["channel"]["S"], "", claimant, position=position))
        return {}

    def _reserve(self, request: Any) -> Response:
        values = {name: int(value["N"]) for name, value in request["ExpressionAttributeValues"].items()}
        until = int(self._rate["reservedUntil"]["N"]) if self._rate else 0
        match request["UpdateExpression"], request["ConditionExpression"]:
            case delivery_rate.FROM_NOW, delivery_rate.IS_IDLE:
                holds, new = until <= values[":now"] or until > values[":furthest"], values[":fromNow"]
            case delivery_rate.FURTHER, delivery_rate.IS_RESERVED:
                holds, new = values[":now"] < until <= values[":latest"], until + values[":duration"]
            case other:
                raise ValueError(f"the stub does not know {other!r}")
        if not holds:
            raise condition_failed(self._rate)
        changed = {"reservedUntil": {"N": str(new)}, "ttl": request["ExpressionAttributeValues"][":ttl"]}
        self._rate = {**request["Key"], **changed}
        return {"Attributes": changed}

    def _claim(self, item: Item, values: Item) -> None:
        lease_s = int(item["leaseUntil"]["N"]) / 1000 - self._clock.now()
        digest, claimant = item["channel"]["S"], values[":claimant"]["S"]
        claimed = finished(self._memory.claim(digest, "", claimant, lease_s=lease_s))
        if claimed.claim is not Claim.GRANTED:
            more = {"leaseUntil": item["leaseUntil"]} if claimed.claim is Claim.PENDING else {}
            if claimed.position is not None:
                more["position"] = {"S": claimed.position}
            raise condition_failed({"channel": item["channel"], "key": item["key"], "claimant": {"S": ""}, **more})

    def _mark(self, item: Item) -> None:
        channel, mark = item["channel"]["S"], item["key"]["S"]
        for_s = int(item["ttl"]["N"]) - self._clock.now()
        if mark == channels.QUEUED:
            finished(self._memory.mark_queued(channel, for_s=for_s))
        elif mark == channels.FILTERED:
            finished(self._memory.mark_filtered(channel, for_s=for_s))
        elif mark == channels.PATTERNS:
            finished(self._memory.mark_patterns(for_s=for_s))
        else:
            finished(self._memory.mark_slow(channel, [mark.removeprefix(channels.SLOW)], for_s=for_s))
