"""The engines: each port once over AWS's services in moto, and once in memory. What one does, the other does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.aws.delivery_rate import DynamoDbDeliveryRate
from slip_sockets.aws.history import DynamoDbHistory
from slip_sockets.aws.presence import DynamoDbPresence
from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.dev.delivery_rate import MemoryDeliveryRate
from slip_sockets.dev.history import MemoryHistory
from slip_sockets.dev.presence import MemoryPresence
from slip_sockets.gateway.ports import (
    ChannelMarks,
    Claims,
    Clock,
    Connections,
    DeliveryRate,
    History,
    MemberChanges,
    Presence,
    Subscriptions,
)

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="


class Store(Connections, Subscriptions, Protocol):
    """Both are of one engine: a connection that is removed takes its subscriptions along."""


class Channels(Claims, ChannelMarks, Protocol):
    """What channels remember."""


class Engine(Protocol):
    def store(self, clock: Clock, changes: MemberChanges | None = None, *, keeps_metadata: bool = False) -> Store: ...

    def presence(self, clock: Clock) -> Presence: ...

    def channels(self, clock: Clock) -> Channels: ...

    def history(self, clock: Clock) -> History: ...

    def rates(self, count: int, per_s: float, clock: Clock) -> list[DeliveryRate]:
        """Return the port of `count` functions that share a rate."""


class Memory:
    def __init__(self) -> None:
        self._presence: MemoryPresence | None = None

    def store(self, clock: Clock, changes: MemberChanges | None = None, *, keeps_metadata: bool = False) -> Store:
        return MemoryConnections(clock, changes, self.presence(clock), keeps_metadata=keeps_metadata)

    def presence(self, clock: Clock) -> MemoryPresence:
        """All stores of an engine share it."""
        if self._presence is None:
            self._presence = MemoryPresence(clock)
        return self._presence

    def channels(self, clock: Clock) -> Channels:
        return MemoryChannels(clock)

    def history(self, clock: Clock) -> History:
        return MemoryHistory(clock)

    def rates(self, count: int, per_s: float, clock: Clock) -> list[DeliveryRate]:
        return [MemoryDeliveryRate(per_s, clock)] * count


class DynamoDb:
    def __init__(self, client: DynamoDBClient, connections_table: str, channels_table: str) -> None:
        self._client = client
        self._connections_table = connections_table
        self._channels_table = channels_table

    def store(self, clock: Clock, changes: MemberChanges | None = None, *, keeps_metadata: bool = False) -> Store:
        return DynamoDbConnections(
            self._client, self._connections_table, self._channels_table, clock, changes, keeps_metadata=keeps_metadata
        )

    def presence(self, clock: Clock) -> Presence:
        return DynamoDbPresence(self._client, self._channels_table, clock)

    def channels(self, clock: Clock) -> Channels:
        return DynamoDbChannels(self._client, self._channels_table, clock)

    def history(self, clock: Clock) -> History:
        return DynamoDbHistory(self._client, self._channels_table, clock)

    def rates(self, count: int, per_s: float, clock: Clock) -> list[DeliveryRate]:
        return [DynamoDbDeliveryRate(self._client, self._channels_table, per_s, clock) for _ in range(count)]


async def subscribers(store: Subscriptions, channel: str) -> list[str]:
    pages = store.subscribers(channel, page_size=store.page_size)
    return sorted([id_ async for page in pages for id_ in page.connection_ids])
