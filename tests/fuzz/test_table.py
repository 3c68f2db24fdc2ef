"""What events put into DynamoDB: rows that it takes, whose names do not collide, and that come back as they were."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from slip_sockets.aws.connections import DynamoDbConnectionStore
from slip_sockets.errors import InvalidEvents
from slip_sockets.events import PublishText, SetMetadata, Subscribe, check, encode_metadata

from ..gateway.doubles import ME, FakeClock
from .bodies import CHANNELS
from .mutator import Mutator
from .play import play, run

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

pytestmark = pytest.mark.fuzz

OWN = f"$connection:{ME}"
MAX_PARTITION_BYTES, MAX_SORT_BYTES, MAX_ITEM_BYTES = 2048, 1024, 400_000
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


@dataclass
class Table:
    """A DynamoDB that keeps the rows that are put, as they were on the wire."""

    rows: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def _put(self, item: dict[str, Any]) -> None:
        wire = msgspec.json.encode(item)
        assert len(wire) <= MAX_ITEM_BYTES
        row = json.loads(wire)
        partition, sort = row["connectionId"]["S"], row["channel"]["S"]
        assert 0 < len(partition.encode()) <= MAX_PARTITION_BYTES
        assert 0 < len(sort.encode()) <= MAX_SORT_BYTES
        assert (partition, sort) not in self.rows, "two rows have one key"
        self.rows[partition, sort] = row

    def batch_write_item(self, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - DynamoDB's name
        for requests in RequestItems.values():
            for request in requests:
                self._put(request["PutRequest"]["Item"])
        return {"UnprocessedItems": {}}

    def put_item(self, **call: Any) -> dict[str, Any]:
        self._put(call["Item"])
        return {}

    def get_item(self, **call: Any) -> dict[str, Any]:
        return {"Item": self.rows[call["Key"]["connectionId"]["S"], call["Key"]["channel"]["S"]]}


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
        table = Table()
        store = DynamoDbConnectionStore(cast("DynamoDBClient", table), "Connections", FakeClock())
        metadata = encode_metadata(given.metadata)
        run(store.open(ME, metadata, list(channels)))
        for channel in channels:
            run(store.mark_queued(channel, for_s=60))
            run(store.mark_slow(channel, [ME], for_s=60))
            for message_id in message_ids:
                run(store.claim(channel, message_id, "claimant", lease_s=60))
        assert len(table.rows) == 1 + len(channels) * (3 + len(message_ids))
        assert {channel for whose, channel in table.rows if whose == ME} == {OWN, *channels}
        assert table.rows[ME, OWN].keys() == {"connectionId", "channel", "metadata", "connectedAt", "ttl"}
        stored = run(store.get(ME))
        assert stored is not None
        assert stored.metadata == metadata
        return True


def test_rows_are_what_dynamodb_takes_and_come_back() -> None:
    play("table", Rows, accepted=(0.4, 0.9))
