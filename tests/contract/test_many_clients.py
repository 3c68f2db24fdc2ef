"""Sections 5 and 7: publishing to many, in order, past clients that misbehave; and ports that fail."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from slip_sockets.dev import websocket
from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import Form, Membership

from ..conftest import SECRET
from ..scripted_backend import ScriptedBackend
from .raw import raw_socket
from .wire import (
    TIMEOUT_S,
    Control,
    Warnings,
    close_channel,
    connect,
    joined,
    publish,
    refusal,
    replies,
    report,
    subscribe,
    text,
)

LARGE = "x" * 131_072


async def test_publishes_arrive_in_order_at_each_of_many(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with joined(server, backend, "lobby") as first, joined(server, backend, "lobby") as second:
        for batch in range(20):
            done = await control(*(publish("lobby", str(batch * 50 + number)) for number in range(50)))
            assert done.json["events"] == [report(2, 2)] * 50
        for member in (first, second):
            assert await member.received(control) == [str(number) for number in range(1000)]


async def test_two_hundred_subscribers_all_get_it_once(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    clients = await asyncio.gather(*(connect(server, "?channel=lobby") for _ in range(200)))
    assert (await control(publish("lobby", "hi"), publish("lobby", "bye"))).json["events"] == [report(200, 200)] * 2
    async with asyncio.timeout(TIMEOUT_S):
        assert [[await client.recv(), await client.recv()] for client in clients] == [["hi", "bye"]] * 200
        assert (await control(close_channel("lobby"))).json["events"] == [report(200, 200)]
        await asyncio.gather(*(client.wait_closed() for client in clients))
    assert {client.close_code for client in clients} == {1000}
    left = {(await backend.next_post("CLOSE")).connection_id for _ in clients}
    assert len(left) == 200


async def test_message_id_is_remembered_by_channel_even_without_subscribers(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    assert (await control(publish("lobby", "to no subscriber", id="m1"))).json["events"] == [report(0, 0)]
    async with joined(server, backend, "lobby", "other") as member:
        done = await control(
            publish("lobby", "never", id="m1"),
            publish("other", "another channel", id="m1"),
            publish("lobby", "another id", id="m2"),
            publish("lobby", "never", id="m2"),
            publish("lobby", "no id"),
            publish("lobby", "no id", id=None),
        )
        nothing, one = report(0, 0), report(1, 1)
        assert done.json["events"] == [nothing, one, one, nothing, one, one]
        assert await member.received(control) == ["another channel", "another id", "no id", "no id"]


class SlowClock(SystemClock):
    """It is behind, until a test sets it right."""

    slow_by_s = 100.0

    def now(self) -> float:
        return super().now() - self.slow_by_s


async def test_row_without_a_socket_counts_as_gone_and_is_forgotten(
    backend: ScriptedBackend, http: aiohttp.ClientSession
) -> None:
    missed = ["B" * 15 + "=", "C" * 15 + "="]
    server = DevServer(DevSettings(backend.url, SECRET, port=0))
    clock = SlowClock()
    server.connections = MemoryConnections(clock)
    for connection_id in missed:  # as if their disconnect events had been lost
        await server.connections.open(connection_id, b"null", ["lobby"])
    clock.slow_by_s = 0
    async with server, joined(server, backend, "lobby") as member:
        control = Control(http, server.control_api)
        assert (await control(publish("lobby", "1"))).json["events"] == [report(3, 1, gone=2)]
        assert (await control(publish("lobby", "2"))).json["events"] == [report(1, 1)]
        assert await member.received(control) == ["1", "2"]


async def test_client_that_never_reads_costs_the_others_nothing(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with (
        joined(server, backend, "lobby") as member,
        raw_socket(server, "/?channel=lobby", receive_bytes=4096) as idler,
    ):
        connection_id = (await backend.next_post("OPEN")).connection_id
        published = 0
        queued = 0
        while not queued:
            done = (await control(publish("lobby", LARGE))).json["events"][0]
            published += 1
            queued = done["queued"]
            assert done == report(2, 2 - queued, queued=queued)
            assert await member.recv() == LARGE
        refused = await control(
            text(member.connection_id, "before"), text(connection_id, "no room"), publish("lobby", "after")
        )
        assert refused.status == 503
        error = "events[1]: TEXT failed: the client's buffer is full"
        assert refused.json == {"message": "not done", "index": 1, "error": error}
        assert await member.received(control) == ["before"]
        for _ in range(published):  # queued texts arrive too, once there is room
            assert await idler.read_frame() == (0x1, LARGE.encode())


async def test_client_that_never_reads_is_cut_off_in_the_end(
    server: DevServer, backend: ScriptedBackend, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with joined(server, backend, "lobby") as member, raw_socket(server, "/?channel=lobby", receive_bytes=4096):
        monkeypatch.setattr(websocket, "STALLED_AFTER_S", 0.1)  # not before: handshakes have as long
        connection_id = (await backend.next_post("OPEN")).connection_id
        leaving = asyncio.create_task(backend.next_post("CLOSE"))
        sent = 0
        while not leaving.done():
            done = await control(publish("lobby", LARGE))
            assert done.status == 200
            sent += 1
            assert await member.recv() == LARGE
        assert leaving.result().connection_id == connection_id
        assert leaving.result().event["code"] == 1006
        assert (await control(publish("lobby", "x"))).json["events"] == [report(1, 1)]
        assert await member.received(control) == ["x"]


async def test_client_that_ends_its_side_with_much_unread_is_gone_for_publishers(
    server: DevServer, backend: ScriptedBackend, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "WRITE_BUFFER_BYTES", 1 << 30)  # the client stays one that takes more
    async with (
        joined(server, backend, "lobby") as member,
        raw_socket(server, "/?channel=lobby", receive_bytes=4096) as idler,
    ):
        connection_id = (await backend.next_post("OPEN")).connection_id
        for _ in range(5):
            done = await control(*[publish("lobby", LARGE)] * 40)
            assert done.json["events"] == [report(2, 2)] * 40  # more than the system's own buffers take
        idler.writer.write_eof()
        post = await backend.next_post("CLOSE")
        assert (post.connection_id, post.event["code"]) == (connection_id, 1006)
        assert (await control(publish("lobby", "x"))).json["events"] == [report(1, 1)]
        assert await member.received(control) == [*[LARGE] * 200, "x"]


class FailingStore(MemoryConnections):
    """A table that is away for some channels."""

    def __init__(self) -> None:
        super().__init__(SystemClock())

    async def subscribe(
        self, connection_id: str, channel: str, form: Form | None = None, membership: Membership | None = None
    ) -> Form | None:
        if channel == "away":
            raise Unavailable("the table is away")
        return await super().subscribe(connection_id, channel, form, membership)


async def test_port_that_fails_stops_the_batch_with_503_and_the_index(
    backend: ScriptedBackend, http: aiohttp.ClientSession, warnings: Warnings
) -> None:
    server = DevServer(DevSettings(backend.url, SECRET, port=0))
    server.connections = FailingStore()
    async with server, joined(server, backend, "lobby") as member:
        control = Control(http, server.control_api)
        connection_id = member.connection_id
        batch = (
            publish("lobby", "1"),
            text(connection_id, "2"),
            subscribe(connection_id, "away"),
            publish("lobby", "never"),
        )
        stopped = await control(*batch)
        assert stopped.status == 503
        error = "events[2]: SUBSCRIBE failed: the table is away"
        assert stopped.json == {"message": "not done", "index": 2, "error": error}
        assert await member.received(control) == ["1", "2"]

        backend.script = replies(TEXT=lambda _: list(batch))
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert [await member.recv(), await member.recv()] == ["1", "2"]
        assert await member.received(control) == []

        other = await backend_refuses(server, backend, connection_id)
        assert warnings() == [
            f"control API: {error}; the batch stopped there",
            f"TEXT of connection {connection_id}: in the reply, {error}; it and what follows, 2 in all, are queued",
            f"connection {connection_id}: deferred, attempt 1: events[0]: SUBSCRIBE failed: the table is away;"
            " again in 1 s",
            f"OPEN of connection {other}: events[0]: SUBSCRIBE failed: the table is away; refused with 500",
        ]


async def backend_refuses(server: DevServer, backend: ScriptedBackend, other: str) -> str:
    """Return the id of a client, refused because the reply to its OPEN asks for a row that cannot be written."""
    backend.script = replies(
        OPEN=lambda post: [{"type": "ACCEPT", "connectionId": post.connection_id}, subscribe(other, "away")]
    )
    assert await refusal(server) == 500
    return (await backend.next_post("OPEN")).connection_id
