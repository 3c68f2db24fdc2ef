"""Responses over real sockets, and servers that are not reached."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http.client import Client

from .cases import GOOD, REFUSED, Good, Refused
from .raw_server import OK, Peer, RawServer, Script, responding
from .requesting import MAX_BYTES, fails, get, post
from .test_reader import FRAMING


def cut_off(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(data)

    return script


# Responses


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
async def test_response_of_each_kind_is_read(client: Client, case: Good) -> None:
    async def script(peer: Peer) -> None:
        while await peer.read() is not None:
            await peer.send(case.data)
            if case.ends_with_connection:
                return

    async with RawServer(script) as server:
        for _ in range(2):
            response = await get(client, server.url)
            headers = {name: value for name, value in response.headers.items() if name not in FRAMING}
            assert (response.status, headers, response.body) == (case.status, case.headers, case.body)
    assert len(server.peers) == (1 if case.keeps_alive else 2)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_is_not_a_response_is_an_error(client: Client, case: Refused) -> None:
    async with RawServer(cut_off(case.data)) as server:
        assert await fails(client, server.url) == (HttpFailure.NOT_HTTP, case.text)


@pytest.mark.parametrize("name", ["length", "chunked", "until close", "102, 103 and 199", "bare line feeds", "gzip"])
async def test_response_byte_by_byte_is_read(client: Client, name: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        for byte in GOOD[name].data:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with RawServer(script) as server:
        assert (await get(client, server.url)).body == GOOD[name].body


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_redirect_is_a_response_and_not_followed(client: Client, status: str) -> None:
    redirect = b"HTTP/1.1 %b\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status.encode()
    async with RawServer(responding(redirect)) as server:
        response = await get(client, server.url)
    assert (response.status, response.headers["location"]) == (int(status[:3]), "/elsewhere")
    assert len(server.requests) == 1


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nA: b\r\n", OK[:-1]])
@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_response_that_breaks_off_is_an_error(client: Client, data: bytes, end: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        await peer.send(data)
        end(peer)

    async with RawServer(script) as server:
        failure, text = await fails(client, server.url)
    assert failure is HttpFailure.BROKEN_OFF
    assert text.partition(":")[0] in (
        "the connection was closed before the response",
        f"the connection was closed {'within' if data else 'before'} the response",
    )
    assert len(server.requests) == 1


async def test_reset_is_named(client: Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        peer.reset()

    async with RawServer(script) as server:
        text = "the connection was closed before the response: Connection reset by peer"
        assert await fails(client, server.url) == (HttpFailure.BROKEN_OFF, text)


async def test_response_beyond_the_limit_is_not_read_further(client: Client) -> None:
    total = 50 * 1024 * 1024
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.read()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            await peer.send(bytes(65536))
            sent += 65536

    async with RawServer(script) as server:
        assert await fails(client, server.url) == (HttpFailure.TOO_LARGE, f"more than {MAX_BYTES} bytes")
    assert sent < total / 2  # what the buffers of two sockets hold


async def test_response_before_the_whole_request_is_read_and_the_connection_is_not_kept(client: Client) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    async with RawServer(script) as server:
        assert (await post(client, server.url, bytes(20_000_000))).status == 413
        assert (await post(client, server.url, b"")).status == 413
        assert len(server.peers) == 2


# Connecting


async def test_port_at_which_nothing_listens_is_an_error(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://ada:password@127.0.0.1:{port}/slip?key=secret"
    assert await fails(client, url) == (HttpFailure.UNREACHABLE, "Connection refused")


async def test_name_that_cannot_be_resolved_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_known(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", not_known)
    text = "its name cannot be resolved: Name or service not known"
    assert await fails(client, "http://a.example/") == (HttpFailure.UNREACHABLE, text)


@pytest.mark.parametrize("name", [".example.com", "a..b", "a" * 64 + ".example"])
async def test_name_that_is_not_one_is_an_error(client: Client, name: str) -> None:
    failure, text = await fails(client, f"http://{name}/")
    assert failure == HttpFailure.INVALID_URL
    assert text.startswith(f"not an http or https URL: its host {name!r} has ")
