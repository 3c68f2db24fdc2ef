"""The function that changes who is in a channel dies before each of its calls.

At any moment each change that a look can see was announced, and each member that is there has its subscription. Then
the event comes again, and all is as without the crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest

from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.aws.presence import DynamoDbPresence
from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.deferred_presence import Look
from slip_sockets.gateway.looks import Looks
from slip_sockets.gateway.values import Form, Membership

from ..aws.moto_server import channels_table, client, connections_table
from ..gateway.doubles import FakeClock
from .points import ME, ME_AGAIN, OTHERS

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

__all__ = ["channels_table", "connections_table"]

ANN = Membership("ann", b'"red"')
CHANNELS = [f"room-{number}" for number in range(30)]
"""More than one call writes."""

Event = Callable[[DynamoDbConnections], Awaitable[object]]
Members = dict[str, list[str]]


class Died(BaseException):
    """In the place of a process that ends."""


class Death:
    """Counts calls. Before the one with the number `at` the function dies."""

    def __init__(self, at: int | None = None) -> None:
        self.calls: list[str] = []
        self.at = at

    def call(self, name: str) -> None:
        if len(self.calls) == self.at:
            raise Died
        self.calls.append(name)


class MortalClient:
    """A client of DynamoDB in a function that dies."""

    def __init__(self, dynamodb: DynamoDBClient, death: Death) -> None:
        self._dynamodb = dynamodb
        self._death = death

    def __getattr__(self, operation: str) -> Callable[..., Awaitable[Any]]:
        async def call(**parameters: Any) -> Any:
            self._death.call(operation)
            return await getattr(self._dynamodb, operation)(**parameters)

        return call


class MortalQueue:
    """The port Queue, in a function that dies."""

    shards = 8

    def __init__(self, death: Death) -> None:
        self.messages: list[Deferred] = []
        self._death = death

    async def put(self, messages: Sequence[Deferred]) -> None:
        self._death.call("announce")
        self.messages += messages

    def announced(self, *, is_after_grace: bool) -> set[str]:
        looks = [message for message in self.messages if isinstance(message, Look)]
        return {look.channel for look in looks if look.is_after_grace is is_after_grace}


class World:
    """A deployment, and functions that die in it."""

    def __init__(self, dynamodb: DynamoDBClient, tables: tuple[str, str]) -> None:
        self.clock = FakeClock()
        self.presence = DynamoDbPresence(dynamodb, tables[1], self.clock)
        self._dynamodb = dynamodb
        self._tables = tables

    def function(self, death: Death) -> tuple[DynamoDbConnections, MortalQueue]:
        dynamodb, queue = cast("DynamoDBClient", MortalClient(self._dynamodb, death)), MortalQueue(death)
        return DynamoDbConnections(dynamodb, *self._tables, self.clock, Looks(queue, self.clock)), queue

    async def run(self, event: Event) -> None:
        await event(self.function(Death())[0])

    async def there(self, channels: Sequence[str]) -> Members:
        found = {}
        for channel in channels:
            members, _ = await self.presence.read(channel)
            found[channel] = [member.connection_id for member in members if member.left_at is None]
        return found

    async def check_subscriptions(self, there: Members) -> None:
        store, _ = self.function(Death())
        for channel, connection_ids in there.items():
            for connection_id in connection_ids:
                assert await store.is_subscribed(connection_id, channel), (connection_id, channel)


async def at_each_call(world: World, prepare: Event, event: Event, channels: Sequence[str], again: Event) -> list[str]:
    """Return the calls of an event. `again` is the event that comes after a crash."""
    whole = Death()
    await world.run(prepare)
    await event(world.function(whole)[0])
    expected = await world.there(channels)
    for number, call in enumerate(whole.calls):
        where = f"killed at call {number} of {len(whole.calls)}, {call}"
        await world.run(lambda store: store.remove(ME))
        await world.run(prepare)
        before = await world.there(channels)
        store, queue = world.function(Death(number))
        with pytest.raises(Died):
            await event(store)
        after = await world.there(channels)
        came = {channel for channel in channels if set(after[channel]) - set(before[channel])}
        left = {channel for channel in channels if set(before[channel]) - set(after[channel])}
        assert came <= queue.announced(is_after_grace=False), where
        assert came | left <= queue.announced(is_after_grace=True), where
        await world.check_subscriptions(after)
        await world.run(again)
        assert await world.there(channels) == expected, where
    return whole.calls


@pytest.fixture
def world(moto_url: str, connections_table: str, channels_table: str) -> World:
    return World(client("dynamodb", moto_url), (connections_table, channels_table))


async def nothing(_: DynamoDbConnections) -> None:
    pass


async def with_others(store: DynamoDbConnections) -> None:
    await store.open(ME, b"1", ["lobby", *CHANNELS], Form.SLIP_V1, memberships=dict.fromkeys(["lobby", *CHANNELS], ANN))
    await store.open(OTHERS[0], b"1", ["lobby"], memberships={"lobby": ANN})


async def test_open(world: World) -> None:
    """The client was not let in. What is there of it is pruned once it proves not to be open."""
    memberships = dict.fromkeys(CHANNELS, ANN)

    async def again(store: DynamoDbConnections) -> None:
        await store.prune([ME], accepted_before=world.clock.time + 1)
        await store.open(ME, b"1", CHANNELS, memberships=memberships)

    async def opening(store: DynamoDbConnections) -> None:
        await store.open(ME, b"1", CHANNELS, memberships=memberships)

    calls = await at_each_call(world, nothing, opening, CHANNELS, again)
    assert calls == ["announce", "batch_write_item", "batch_write_item", "batch_write_item"]


async def test_pruned_after_a_crash_nothing_of_it_is_there(world: World) -> None:
    memberships = dict.fromkeys(CHANNELS, ANN)
    for number in range(1, 4):
        store, _ = world.function(Death(number))
        with pytest.raises(Died):
            await store.open(ME_AGAIN, b"1", CHANNELS, memberships=memberships)
        await world.run(lambda store: store.prune([ME_AGAIN], accepted_before=world.clock.time + 1))
        assert await world.there(CHANNELS) == {channel: [] for channel in CHANNELS}, number


async def test_subscribe(world: World) -> None:
    async def subscribe(store: DynamoDbConnections) -> None:
        assert await store.subscribe(ME, "lobby", membership=ANN) is Form.SLIP_V1

    async def prepare(store: DynamoDbConnections) -> None:
        await store.open(ME, b"1", ["lobby"], Form.SLIP_V1)

    calls = await at_each_call(world, prepare, subscribe, ["lobby"], subscribe)
    assert calls == ["announce", "transact_write_items", "transact_write_items"]


async def test_unsubscribe(world: World) -> None:
    async def unsubscribe(store: DynamoDbConnections) -> None:
        await store.unsubscribe(ME, "lobby")

    calls = await at_each_call(world, with_others, unsubscribe, ["lobby", *CHANNELS], unsubscribe)
    assert calls == ["delete_item", "announce", "transact_write_items"]


async def test_disconnect(world: World) -> None:
    async def remove(store: DynamoDbConnections) -> None:
        await store.remove(ME)

    calls = await at_each_call(world, with_others, remove, ["lobby", *CHANNELS], remove)
    assert calls == ["query", "announce", *["batch_write_item"] * 4]


async def test_disconnect_that_does_not_come_again(world: World) -> None:
    """The socket proves not to be open at the next frame or publish, which prunes it."""

    async def remove(store: DynamoDbConnections) -> None:
        await store.remove(ME)

    async def prune(store: DynamoDbConnections) -> None:
        await store.prune([ME], accepted_before=world.clock.time + 1)

    await at_each_call(world, with_others, remove, ["lobby", *CHANNELS], prune)


async def test_prune(world: World) -> None:
    async def prune(store: DynamoDbConnections) -> None:
        await store.prune([ME, OTHERS[1]], accepted_before=world.clock.time + 1)

    calls = await at_each_call(world, with_others, prune, ["lobby", *CHANNELS], prune)
    assert calls[:4] == ["batch_get_item", "query", "query", "announce"]
