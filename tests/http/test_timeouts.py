"""What is waited for how long, and what is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from slip_sockets.gateway.errors import HttpError, HttpFailure
from slip_sockets.http.client import Client

from ..gateway.doubles import FakeClock
from .raw_server import OK, Peer, RawServer, responding
from .requesting import NOT_WITHIN, PATIENT, SHORT_S, fails, get, post, short


async def silent(peer: Peer) -> None:
    await peer.read()
    await peer.gone()


async def hanging(*args: object, **kwargs: object) -> None:
    await asyncio.get_running_loop().create_future()


async def test_name_that_is_not_resolved_in_time_is_an_error(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hanging)
    text = f"no connection within {SHORT_S:g} s"
    assert await fails(short(clock, connect_s=SHORT_S), "http://a.example/") == (HttpFailure.TIMEOUT, text)


async def test_tls_handshake_that_is_not_over_in_time_is_an_error(clock: FakeClock) -> None:
    async with RawServer(Peer.gone) as server:
        url = server.url.replace("http:", "https:")
        text = f"no connection within {SHORT_S:g} s"
        assert await fails(short(clock, connect_s=SHORT_S), url) == (HttpFailure.TIMEOUT, text)


async def test_connecting_counts_in_the_whole_time(clock: FakeClock) -> None:
    async with RawServer(Peer.gone) as server:
        assert await fails(short(clock, total_s=SHORT_S), server.url.replace("http:", "https:")) == NOT_WITHIN


@pytest.mark.parametrize("limit", ["first_byte_s", "total_s"])
async def test_silence_ends_in_an_error_and_closes_the_connection(clock: FakeClock, limit: str) -> None:
    async with RawServer(silent) as server:
        assert await fails(short(clock, **{limit: SHORT_S}), server.url) == NOT_WITHIN
        await server.peers[0].gone()


async def test_silence_on_a_kept_connection_is_not_a_reason_to_send_again(clock: FakeClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(OK)
        await silent(peer)

    async with RawServer(script) as server:
        client = short(clock, first_byte_s=SHORT_S)
        await get(client, server.url)
        assert await fails(client, server.url, is_repeatable=True) == NOT_WITHIN
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["head", "body", "until close"],
)
async def test_response_byte_by_byte_ends_with_the_whole_time(clock: FakeClock, begun: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(begun)
        await peer.trickle(b"a" * 10_000, SHORT_S / 10)

    async with RawServer(script) as server:
        assert await fails(short(clock, total_s=SHORT_S), server.url) == NOT_WITHIN


async def test_response_that_stops_ends_with_the_whole_time(clock: FakeClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(OK[:-1])
        await peer.gone()

    async with RawServer(script) as server:
        client = short(clock, first_byte_s=SHORT_S / 5, total_s=SHORT_S)
        async with asyncio.timeout(100 * SHORT_S):
            assert await fails(client, server.url) == NOT_WITHIN


async def test_interim_responses_without_end_end_with_the_whole_time(clock: FakeClock) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.trickle(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, SHORT_S / 100)

    async with RawServer(script) as server:
        assert await fails(short(clock, total_s=SHORT_S), server.url) == NOT_WITHIN


async def test_first_byte_in_time_leaves_the_rest_the_whole_time(clock: FakeClock) -> None:
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(OK[:1])
        asyncio.get_running_loop().call_later(2 * SHORT_S, late.set)
        await late.wait()
        await peer.send(OK[1:])

    async with RawServer(script) as server:
        assert (await get(short(clock, first_byte_s=SHORT_S), server.url)).body == b"hi"
    assert late.is_set()


async def test_server_that_does_not_read_ends_with_the_time_for_the_first_byte(clock: FakeClock) -> None:
    release = asyncio.Event()

    async def script(peer: Peer) -> None:
        await release.wait()

    async with RawServer(script) as server:
        with pytest.raises(HttpError) as error:
            await post(short(clock, first_byte_s=SHORT_S), server.url, bytes(20_000_000))
        release.set()
    assert (error.value.failure, str(error.value)) == NOT_WITHIN


async def test_each_request_has_its_own_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        later = loop.time() + PATIENT.total_s
        monkeypatch.setattr(loop, "time", lambda: later)
        assert (await get(client, server.url)).status == 200
        monkeypatch.undo()
    assert len(server.peers) == 1


# Cancellation


async def cancel(request: Awaitable[object], when: asyncio.Event) -> None:
    task = asyncio.ensure_future(request)
    await when.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("begun", [b"", OK[:-1]], ids=["before the response", "within it"])
async def test_cancelled_request_closes_its_connection(client: Client, begun: bytes) -> None:
    came = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(begun)
        if peer.number == 1:
            came.set()
            await peer.gone()
        else:
            await peer.send(OK)

    async with RawServer(script) as server:
        await cancel(get(client, server.url), came)
        await server.peers[0].gone()
        if not begun:
            assert (await get(client, server.url)).body == b"hi"
            assert len(server.peers) == 2


async def test_cancelled_connecting_closes_its_connection(client: Client) -> None:
    came = asyncio.Event()

    async def script(peer: Peer) -> None:
        came.set()
        await peer.gone()

    async with RawServer(script) as server:
        await cancel(get(client, server.url.replace("http:", "https:")), came)
        await server.peers[0].gone()
