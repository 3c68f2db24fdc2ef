"""A third engine, sketched: SQLite's Subscriptions under the gateway's own fan-out, without a change to the gateway."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import AsyncIterator, Sequence

import pytest

from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.dev.history import MemoryHistory
from slip_sockets.gateway.delivery import Deliverer
from slip_sockets.gateway.fan_out import Broadcaster
from slip_sockets.gateway.listeners import Listeners
from slip_sockets.gateway.pattern_use import PatternUse
from slip_sockets.gateway.recent import Recent
from slip_sockets.gateway.values import Count, Form, Membership, Page, Publication
from slip_sockets.protocol.events import Report

from ..gateway.doubles import ME, START, YOU, FakeClock, RecordingQueue, RecordingSender

LIFETIME_S = 600.0
"""This engine's own: here sockets live ten minutes."""


class SqliteSubscriptions:
    """The port Subscriptions. It knows which connections there are, which the port Connections would write."""

    index_lag_s = 0.0
    page_size = 2

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._rows = sqlite3.connect(":memory:")
        self._rows.execute("CREATE TABLE connections (id TEXT PRIMARY KEY, accepted_at REAL)")
        self._rows.execute("CREATE TABLE subscriptions (channel TEXT, id TEXT, until REAL, PRIMARY KEY (channel, id))")

    def close(self) -> None:
        self._rows.close()

    def connect(self, connection_id: str) -> None:
        self._rows.execute("INSERT INTO connections VALUES (?, ?)", (connection_id, self._clock.now()))

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        row = (channel, connection_id, self._clock.now() + LIFETIME_S)
        known = "SELECT ?, ?, ? WHERE EXISTS (SELECT 1 FROM connections WHERE id = ?)"
        statement = f"INSERT OR REPLACE INTO subscriptions {known}"
        return Form.RAW if self._rows.execute(statement, (*row, connection_id)).rowcount else None

    async def is_subscribed(self, connection_id: str, channel: str) -> bool:
        select = "SELECT 1 FROM subscriptions WHERE channel = ? AND id = ? AND until > ?"
        return self._rows.execute(select, (channel, connection_id, self._clock.now())).fetchone() is not None

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        self._rows.execute("DELETE FROM subscriptions WHERE id = ? AND channel = ?", (connection_id, channel))

    async def unsubscribe_all(self, connection_id: str) -> None:
        self._rows.execute("DELETE FROM subscriptions WHERE id = ?", (connection_id,))

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        select = (
            "SELECT id FROM subscriptions WHERE channel = ? AND until > ? AND until <= ? AND id > ? ORDER BY id LIMIT ?"
        )
        newest = math.inf if subscribed_before is None else subscribed_before + LIFETIME_S
        while True:
            found = [
                str(id_)
                for (id_,) in self._rows.execute(select, (channel, self._clock.now(), newest, after or "", page_size))
            ]
            after = found[-1] if len(found) == page_size else None
            yield Page(found, after)
            if after is None:
                return

    async def count(self, channel: str, *, after: str | None, until: float) -> Count:
        select = "SELECT count(*) FROM subscriptions WHERE channel = ? AND until > ? AND id > ?"
        (number,) = self._rows.execute(select, (channel, self._clock.now(), after or "")).fetchone()
        return Count(number, more=False)

    async def prune(self, connection_ids: Sequence[str], *, accepted_before: float) -> Sequence[str]:
        young: list[str] = []
        for id_ in connection_ids:
            select = "SELECT 1 FROM connections WHERE id = ? AND accepted_at >= ?"
            if self._rows.execute(select, (id_, accepted_before)).fetchone():
                young.append(id_)
            else:
                await self.unsubscribe_all(id_)
        return young


async def test_a_third_engine_needs_no_change_of_the_gateway(request: pytest.FixtureRequest) -> None:
    clock, sender, queue = FakeClock(), RecordingSender(), RecordingQueue()
    subscriptions = SqliteSubscriptions(clock)
    request.addfinalizer(subscriptions.close)
    deliverer = Deliverer(subscriptions, sender, clock)
    marks, history = MemoryChannels(clock), MemoryHistory(clock)
    listeners = Listeners(subscriptions, PatternUse(marks, clock, lag_s=subscriptions.index_lag_s), clock)
    broadcaster = Broadcaster(listeners, marks, history, deliverer, queue, clock, inline_limit=2)
    recent = Recent(subscriptions.index_lag_s)

    async def publish(data: str) -> Report:
        return await broadcaster.broadcast(Publication("lobby", data), recent, deadline=clock.now() + 30)

    for connection_id in (ME, YOU):
        subscriptions.connect(connection_id)
        assert await subscriptions.subscribe(connection_id, "lobby")
    assert not await subscriptions.subscribe("a stranger", "lobby")
    assert await publish("one") == Report(2, 2, 0, 0)

    clock.time = START + 100
    sender.gone = {YOU}
    assert await publish("two") == Report(2, 1, 1, 0)
    assert await publish("three") == Report(1, 1, 0, 0)
    assert sender.sent == [(ME, "one"), (YOU, "one"), (ME, "two"), (ME, "three")]

    for number in range(5):
        subscriptions.connect(str(number))
        await subscriptions.subscribe(str(number), "lobby")
    assert await publish("four") == Report(6, 0, 0, 6)
    (fan_out,) = queue.messages
    assert fan_out.title == "a publish to all of 'lobby'"

    clock.time = START + LIFETIME_S + 101
    assert await publish("five") == Report(0, 0, 0, 0)
