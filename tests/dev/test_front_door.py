"""Clients that are slow about their first request, and how many of them there may be."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress

import pytest

from slip_sockets.dev import front_door

from ..contract.raw import RawClient, raw_client
from ..contract.wire import running
from ..scripted_backend import ScriptedBackend

BEGUN = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def is_cut_off(client: RawClient) -> bool:
    with suppress(ConnectionResetError):
        assert await client.read_to_end() == b""
    return True


async def test_the_client_that_has_waited_longest_makes_room(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 3)
    async with running(backend.url) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(5)]
        for client in clients:
            client.send(BEGUN)
        assert await is_cut_off(clients[0])
        assert await is_cut_off(clients[1])
        assert len(server._doors) == 3
        for client in clients[2:]:
            client.send(b"\r\n")
            assert (await client.read_head())[0] == 404
        assert len(server._doors) == 0


async def test_who_has_sent_his_head_counts_no_more(backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_door, "MAX_WAITING", 1)
    async with running(backend.url) as server, raw_client(server) as served:
        served.send(BEGUN, b"\r\n")
        assert (await served.read_head())[0] == 404
        async with raw_client(server) as slow, raw_client(server) as next_one:
            slow.send(BEGUN)
            next_one.send(BEGUN, b"\r\n")
            assert (await next_one.read_head())[0] == 404
            assert await is_cut_off(slow)
            served.send(BEGUN, b"Connection: close\r\n\r\n")
            assert b"404" in await served.read_to_end()
