"""The beginning of the body of an error, where that suffices."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

import pytest

from slip_sockets.gateway.errors import HttpError
from slip_sockets.http import client as client_module
from slip_sockets.http.client import MAX_ERROR_BYTES, Client

from ..gateway.doubles import FakeClock
from .raw_server import Peer, RawServer, responding
from .requesting import MAX_BYTES, NOT_WITHIN, SHORT_S, get, short


async def test_long_body_of_an_error_is_cut(client: Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000\r\n\r\n" + b"x" * (MAX_ERROR_BYTES + 100))
        await peer.gone()

    async with RawServer(script) as server:
        response = await get(client, server.url, whole_errors=False)
        await server.peers[0].gone()
    assert (response.status, response.body) == (500, b"x" * MAX_ERROR_BYTES)


@pytest.mark.parametrize("begun", [b"", b"why", gzip.compress(b"why", mtime=0)[:-9]], ids=["nothing", "text", "gzip"])
async def test_body_of_an_error_that_does_not_end_is_cut_after_a_moment(
    client: Client, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ERROR_BODY_S", SHORT_S)
    coding = b"Content-Encoding: gzip\r\n" if begun.startswith(b"\x1f") else b""

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 503 Later\r\n" + coding + b"Content-Length: 1000\r\n\r\n" + begun)
        await peer.gone()

    async with RawServer(script) as server:
        response = await get(client, server.url, whole_errors=False)
        await server.peers[0].gone()
    assert (response.status, response.body) == (503, b"why" if begun else b"")


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_body_of_an_error_that_breaks_off_does_not_cost_the_status(
    client: Client, end: Callable[[Peer], None]
) -> None:
    read = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\nwhy")
        asyncio.get_running_loop().call_later(SHORT_S, read.set)  # a reset takes away what is not read
        await read.wait()
        end(peer)

    async with RawServer(script) as server:
        response = await get(client, server.url, whole_errors=False)
    assert (response.status, response.body) == (500, b"why")


async def test_short_body_of_an_error_keeps_the_connection(client: Client) -> None:
    async with RawServer(responding(b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nwhy")) as server:
        for _ in range(2):
            response = await get(client, server.url, whole_errors=False)
            assert (response.status, response.body) == (404, b"why")
    assert len(server.peers) == 1


async def test_error_without_the_end_of_its_head_is_waited_for(clock: FakeClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(b"HTTP/1.1 500 Oh\r\n")
        await peer.gone()

    async with RawServer(script) as server:
        with pytest.raises(HttpError) as error:
            await get(short(clock, total_s=SHORT_S), server.url, whole_errors=False)
    assert (error.value.failure, str(error.value)) == NOT_WITHIN


async def test_body_of_success_is_whole_in_any_case(client: Client) -> None:
    body = b"x" * MAX_BYTES
    async with RawServer(
        responding(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    ) as server:
        assert (await get(client, server.url, whole_errors=False)).body == body


async def test_whole_body_of_an_error_is_read_where_it_is_wanted(client: Client) -> None:
    body = b"x" * (MAX_ERROR_BYTES * 3)
    data = b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with RawServer(responding(data)) as server:
        assert (await get(client, server.url)).body == body
