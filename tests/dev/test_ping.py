"""The development server answers pings as a deployment's API Gateway does: without the backend."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest
import websockets

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer

from ..contract.wire import TIMEOUT_S, connect, joined, running
from ..scripted_backend import ScriptedBackend

PING, PONG = '{"slip":"ping"}', '{"slip":"pong"}'


@pytest.mark.parametrize("server", ["direct", "ordered"], indirect=True)
async def test_a_ping_is_answered_and_the_backend_does_not_receive_it(
    server: DevServer, backend: ScriptedBackend
) -> None:
    others = ['{"slip":"pong"}', '["ping"]', '{"slip":"$disconnect"}', '{"slip":"$connect"}', "ping"]
    async with joined(server, backend) as member:
        for text in others:
            await member.client.send(PING)
            assert await member.recv() == PONG
            await member.client.send(text)
            event = (await backend.next_post("TEXT")).event
            assert (event["type"], event["data"]) == ("TEXT", text)
    await backend.next_post("CLOSE")
    assert [post.kind for post in backend.posts] == ["OPEN", *["TEXT"] * len(others), "CLOSE"]


async def test_a_ping_is_answered_while_the_backend_is_busy(server: DevServer, backend: ScriptedBackend) -> None:
    async with joined(server, backend) as member:
        done = asyncio.Event()

        async def busy(post: object) -> list[dict[str, object]]:
            await done.wait()
            return []

        backend.script = busy
        await member.client.send("slow")
        await backend.next_post("TEXT")
        await member.client.send(PING)
        assert await member.recv() == PONG
        done.set()


async def test_a_ping_puts_off_the_idle_limit(backend: ScriptedBackend) -> None:
    limits = Limits(idle_timeout_s=1.5, max_duration_s=2)  # a busy machine may hold up this test for a second
    async with running(backend.url, limits) as server:
        since = time.monotonic()
        async with connect(server) as client, asyncio.timeout(TIMEOUT_S):
            with suppress(websockets.ConnectionClosed):  # in the end
                while True:
                    await client.send(PING)
                    assert await client.recv() == PONG
    assert time.monotonic() - since > 1.9
    assert [post.kind for post in backend.posts] == ["OPEN", "CLOSE"]
