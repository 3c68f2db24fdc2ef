"""Connections that are kept, and what becomes of those that ended meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http.client import Client
from slip_sockets.http.pool import FRESH_S
from slip_sockets.http.url import parse_url

from ..gateway.doubles import FakeClock
from .raw_server import OK, Peer, RawServer, Script, responding
from .requesting import IDLE_S, fails, get, post

CLOSED_BEFORE = (HttpFailure.BROKEN_OFF, "the connection was closed before the response")
Ending = Callable[[Peer], None]
endings = pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])


async def test_connection_is_kept(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        for _ in range(5):
            assert (await post(client, server.url)).body == b"hi"
    assert [request.connection for request in server.requests] == [1] * 5


async def test_connection_is_kept_as_long_as_it_is_used(client: Client, clock: FakeClock) -> None:
    async with RawServer(responding(OK)) as server:
        for _ in range(5):
            await get(client, server.url)
            clock.time += IDLE_S
    assert len(server.peers) == 1


@pytest.mark.parametrize("idle_s", [IDLE_S + 0.1, 3600, -0.1])
async def test_connection_that_was_idle_for_too_long_by_the_clock_is_closed(
    client: Client, clock: FakeClock, idle_s: float
) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        clock.time += idle_s
        await get(client, server.url)
        assert len(server.peers) == 2
        await server.peers[0].gone()


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"!",
        OK + OK,
    ],
    ids=["close", "HTTP/1.0", "204 with a body", "bytes behind", "two responses"],
)
async def test_connection_is_closed_where_the_next_response_would_not_be_clear(client: Client, response: bytes) -> None:
    async with RawServer(responding(response)) as server:
        for _ in range(2):
            assert (await get(client, server.url)).status in (200, 204)
    assert [request.connection for request in server.requests] == [1, 2]


async def test_hosts_have_connections_of_their_own(client: Client) -> None:
    async with RawServer(responding(OK)) as one, RawServer(responding(OK)) as other:
        for _ in range(2):
            await get(client, one.url)
            await get(client, other.url)
    assert len(one.peers) == len(other.peers) == 1


async def test_closing_the_client_closes_kept_connections(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        await client.aclose()
        await server.peers[0].gone()
        assert (await get(client, server.url)).status == 200
    assert len(server.peers) == 2


# Ended while idle


@endings
@pytest.mark.parametrize("is_repeatable", [True, False])
@pytest.mark.parametrize("idle_s", [0, FRESH_S, IDLE_S])
async def test_connection_that_ended_while_idle_costs_nothing(
    client: Client, clock: FakeClock, end: Ending, idle_s: float, *, is_repeatable: bool
) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        clock.time += idle_s
        end(server.peers[0])
        assert (await get(client, server.url, is_repeatable=is_repeatable)).body == b"hi"
    assert [request.connection for request in server.requests] == [1, 2]
    assert clock.sleeps == []


async def see_it(client: Client, server: RawServer) -> None:
    """Let the event loop come to what has happened to the connections. A response on another one comes later."""
    async with RawServer(responding(OK)) as other:
        await get(client, other.url)
    host = client.pool.host(parse_url(server.url).origin)
    assert host.take_idle() is None


@endings
async def test_end_that_the_event_loop_has_seen_costs_nothing(client: Client, end: Ending) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        end(server.peers[0])
        await see_it(client, server)
        assert (await get(client, server.url)).body == b"hi"
    assert len(server.peers) == 2


@pytest.mark.parametrize("idle_s", [0, FRESH_S])
@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"hi"])
async def test_connection_on_which_something_came_unasked_is_closed(
    client: Client, clock: FakeClock, unasked: bytes, idle_s: float
) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        await server.peers[0].send(unasked)
        clock.time += idle_s
        assert (await get(client, server.url)).body == b"hi"
        assert len(server.peers) == 2
        await server.peers[0].gone()


async def test_connection_on_which_the_event_loop_has_seen_something_unasked_is_closed(client: Client) -> None:
    async with RawServer(responding(OK)) as server:
        await get(client, server.url)
        await server.peers[0].send(b"hi")
        await see_it(client, server)
        await server.peers[0].gone()


@endings
@pytest.mark.parametrize("is_repeatable", [True, False])
@pytest.mark.parametrize("idle_s", [0, FRESH_S])
async def test_several_connections_that_ended_cost_nothing(
    client: Client, clock: FakeClock, end: Ending, idle_s: float, *, is_repeatable: bool
) -> None:
    async with RawServer(responding(OK)) as server:
        await asyncio.gather(*(get(client, server.url) for _ in range(4)))
        assert len(server.peers) == 4
        clock.time += idle_s
        for peer in server.peers:
            end(peer)
        for _ in range(3):
            assert (await get(client, server.url, is_repeatable=is_repeatable)).body == b"hi"
    assert [request.connection for request in server.requests[4:]] == [5, 5, 5]


# Ended when the request came


def ending_at(request_number: int, end: Ending, begun: bytes = b"") -> Script:
    async def script(peer: Peer) -> None:
        for number in range(1, request_number + 1):
            if await peer.read() is None:
                return
            if number < request_number or peer.number > 1:
                await peer.send(OK)
        if peer.number == 1:
            await peer.send(begun)
            end(peer)
        else:
            await responding(OK)(peer)

    return script


@endings
async def test_repeatable_request_is_sent_again_at_once(client: Client, clock: FakeClock, end: Ending) -> None:
    async with RawServer(ending_at(2, end)) as server:
        await get(client, server.url)
        assert (await post(client, server.url, is_repeatable=True)).body == b"hi"
    assert [request.connection for request in server.requests] == [1, 1, 2]
    assert server.requests[1].body == server.requests[2].body == b"body"
    assert clock.sleeps == []


@endings
async def test_other_request_is_not_sent_again(client: Client, end: Ending) -> None:
    async with RawServer(ending_at(2, end)) as server:
        await get(client, server.url)
        failure, text = await fails(client, server.url)
    assert (failure, text.partition(":")[0]) == CLOSED_BEFORE
    assert [request.connection for request in server.requests] == [1, 1]


@endings
async def test_request_is_not_sent_again_when_its_response_has_begun(client: Client, end: Ending) -> None:
    async with RawServer(ending_at(2, end, b"HTTP/1.1 2")) as server:
        await get(client, server.url)
        failure, text = await fails(client, server.url, is_repeatable=True)
    assert failure is HttpFailure.BROKEN_OFF
    assert text.partition(":")[0].startswith("the connection was closed ")
    assert len(server.requests) == 2


@endings
@pytest.mark.parametrize("is_repeatable", [True, False])
async def test_request_on_a_new_connection_is_not_sent_again(
    client: Client, end: Ending, *, is_repeatable: bool
) -> None:
    async with RawServer(ending_at(1, end)) as server:
        failure, text = await fails(client, server.url, is_repeatable=is_repeatable)
    assert (failure, text.partition(":")[0]) == CLOSED_BEFORE
    assert len(server.requests) == 1


@endings
async def test_request_is_sent_again_only_once(client: Client, end: Ending) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        if peer.number == 1:
            await peer.send(OK)
            await peer.read()
        end(peer)

    async with RawServer(script) as server:
        await get(client, server.url)
        failure, _ = await fails(client, server.url, is_repeatable=True)
    assert failure is HttpFailure.BROKEN_OFF
    assert [request.connection for request in server.requests] == [1, 1, 2]


# Side by side


async def test_requests_run_side_by_side(client: Client) -> None:
    everyone = asyncio.Barrier(20)

    async def script(peer: Peer) -> None:
        while await peer.read() is not None:
            await everyone.wait()
            await peer.send(OK)

    async with RawServer(script) as server:
        for _ in range(3):
            responses = await asyncio.gather(*(post(client, server.url) for _ in range(20)))
            assert [response.body for response in responses] == [b"hi"] * 20
    assert len(server.peers) == 20
    assert len(server.requests) == 60


async def test_each_request_has_its_own_response(client: Client) -> None:
    async def script(peer: Peer) -> None:
        while (request := await peer.read()) is not None:
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request.body))
            await peer.send(request.body)

    async with RawServer(script) as server:
        bodies = [b"%d" % number * number for number in range(200)]
        responses = await asyncio.gather(*(post(client, server.url, body) for body in bodies))
    assert [response.body for response in responses] == bodies
