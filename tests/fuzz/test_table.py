"""The rows that events put into DynamoDB: it takes them, their keys do not collide, and they come back as they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.protocol.errors import InvalidEvents
from slip_sockets.protocol.events import PublishText, SetMetadata, Subscribe, check, encode_metadata

from ..gateway.doubles import ME, FakeClock
from .bodies import CHANNELS
from .mutator import Mutator
from .play import play, run

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

pytestmark = pytest.mark.fuzz

OWN = f"$connection:{ME}"
MARKS = {"mark:queued", f"mark:slow:{ME}"}
MAX_PARTITION_BYTES, MAX_SORT_BYTES, MAX_ITEM_BYTES = 2048, 1024, 400_000
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


KEYS = {"Connections": ("connectionId", "channel"), "Channels": ("channel", "key")}
"""Partition and sort key of each table."""


@dataclass
class Tables:
    """A DynamoDB that keeps the rows that are put, by table and key, as they were on the wire."""

    rows: dict[str, dict[tuple[str, str], dict[str, Any]]] = field(default_factory=lambda: {name: {} for name in KEYS})

    def _key(self, table: str, item: dict[str, Any]) -> tuple[str, str]:
        partition_key, sort_key = KEYS[table]
        return item[partition_key]["S"], item[sort_key]["S"]

    def _put(self, table: str, item: dict[str, Any]) -> None:
        wire = msgspec.json.encode(item)
        assert len(wire) <= MAX_ITEM_BYTES
        row = json.loads(wire)
        partition, sort = self._key(table, row)
        assert 0 < len(partition.encode()) <= MAX_PARTITION_BYTES
        assert 0 < len(sort.encode()) <= MAX_SORT_BYTES
        assert (partition, sort) not in self.rows[table], "two rows have one key"
        self.rows[table][partition, sort] = row

    async def batch_write_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - DynamoDB's name
        for table, requests in RequestItems.items():
            for request in requests:
                self._put(table, request["PutRequest"]["Item"])
        return {"UnprocessedItems": {}}

    async def put_item(self, **call: Any) -> dict[str, Any]:
        self._put(call["TableName"], call["Item"])
        return {}

    async def get_item(self, **call: Any) -> dict[str, Any]:
        return {"Item": self.rows[call["TableName"]][self._key(call["TableName"], call["Key"])]}


@dataclass(frozen=True)
class Stored:
    metadata: Any
    channels: tuple[str, ...]
    message_ids: tuple[str, ...]


class Rows:
    def draw(self, mutator: Mutator, faults: int) -> Stored:
        metadata: Any = mutator.json()
        names = [mutator.one_of(CHANNELS), mutator.text() or "x", "1"]
        for _ in range(faults):
            kind = mutator.chance()
            if kind < 0.4:
                metadata = mutator.one_of((mutator.spoilt(metadata), mutator.deep()))
            else:
                names = [mutator.spoilt_text(name) if mutator.chance() < 0.5 else name for name in names]
        return Stored(metadata, tuple(names[:2]), (names[2], f"{names[2]},"))

    def play(self, given: Stored) -> bool:
        channels, message_ids = dict.fromkeys(given.channels), dict.fromkeys(given.message_ids)
        try:
            check(SetMetadata(ME, given.metadata))
            for channel in channels:
                check(Subscribe(ME, channel))
                for message_id in message_ids:
                    check(PublishText(channel, "", message_id))
        except InvalidEvents:
            return False
        tables, clock = Tables(), FakeClock()
        client = cast("DynamoDBClient", tables)
        connections = DynamoDbConnections(client, "Connections", "Channels", clock)
        metadata = encode_metadata(given.metadata)
        run(connections.open(ME, metadata, list(channels)))
        memory = DynamoDbChannels(client, "Channels", clock)
        for channel in channels:
            run(memory.mark_queued(channel, for_s=60))
            run(memory.mark_slow(channel, [ME], for_s=60))
            for message_id in message_ids:
                run(memory.claim(channel, message_id, "claimant", lease_s=60))
        rows = tables.rows["Connections"]
        assert rows.keys() == {(ME, sort) for sort in (OWN, *channels)}
        assert rows[ME, OWN].keys() == {"connectionId", "channel", "metadata", "connectedAt", "ttl"}
        stored = run(connections.get(ME))
        assert stored is not None
        assert stored.metadata == metadata
        remembered = tables.rows["Channels"]
        assert len(remembered) == len(channels) * (2 + len(message_ids))
        for channel in channels:
            assert {sort for partition, sort in remembered if partition == channel} == MARKS
        return True


def test_rows_are_what_dynamodb_takes_and_come_back() -> None:
    play("table", Rows, accepted=(0.4, 0.9))
