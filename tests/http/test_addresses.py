"""Hosts with several addresses, of which some do not take a connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

import pytest

from slip_sockets.gateway.errors import HttpFailure
from slip_sockets.http import pool
from slip_sockets.http.client import Client, Timeouts
from slip_sockets.http.pool import RESOLVED_FOR_S

from ..gateway.doubles import FakeClock
from .raw_server import OK, Peer, RawServer, responding
from .requesting import IDLE_S, fails, get

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Resolver:
    """Stands for the event loop's `getaddrinfo`."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.names: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[object]:
        self.names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver([FIRST, SECOND])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolver.getaddrinfo)
    return resolver


@pytest.fixture
def port() -> Iterator[int]:
    """A port that refuses at each address, until a test listens there; no other program gets it."""
    with contextlib.ExitStack() as stack:
        number = 0
        for address in (FIRST, SECOND, THIRD):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, number))
            number = sock.getsockname()[1]
        yield number


def url_of(server: RawServer, scheme: str = "http") -> str:
    return f"{scheme}://several.example:{server.port}/"


async def test_addresses_are_used_in_turn(client: Client, resolver: Resolver, port: int) -> None:
    async with (
        RawServer(responding(CLOSING), FIRST, port) as one,
        RawServer(responding(CLOSING), SECOND, port) as other,
    ):
        for _ in range(4):
            await get(client, url_of(one))
    assert (len(one.peers), len(other.peers)) == (2, 2)
    assert resolver.names == ["several.example"]
    assert one.requests[0].header("Host") == [f"several.example:{one.port}"]


@pytest.mark.parametrize("addresses", [[FIRST, SECOND], [FIRST, THIRD, SECOND], [SECOND, FIRST]])
async def test_next_address_is_tried_at_once_and_the_one_that_refuses_is_left_out(
    client: Client, resolver: Resolver, port: int, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.addresses = addresses
    loop = asyncio.get_running_loop()
    connect = loop.create_connection
    tried: list[str] = []

    async def create_connection(factory: object, host: str, *args: object, **kwargs: object) -> object:
        tried.append(host)
        return await connect(factory, host, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(loop, "create_connection", create_connection)
    async with RawServer(responding(CLOSING), SECOND, port) as server:
        for _ in range(4):
            assert (await get(client, url_of(server))).status == 200
    assert len(server.peers) == 4
    assert sorted(tried) == sorted([*addresses, *[SECOND] * 3])
    assert resolver.names == ["several.example"]


async def test_address_that_refuses_does_not_end_requests_side_by_side(
    client: Client, resolver: Resolver, port: int
) -> None:
    async with RawServer(responding(OK), SECOND, port) as server:
        responses = await asyncio.gather(*(get(client, url_of(server)) for _ in range(10)))
    assert [response.status for response in responses] == [200] * 10


async def test_name_is_resolved_again_when_all_addresses_refuse(client: Client, resolver: Resolver, port: int) -> None:
    for _ in range(2):
        refused = (HttpFailure.UNREACHABLE, "Connection refused")
        assert await fails(client, f"http://several.example:{port}/") == refused
    assert len(resolver.names) == 2
    async with RawServer(responding(OK), THIRD, port) as server:
        resolver.addresses = [THIRD]
        assert (await get(client, url_of(server))).status == 200


@pytest.mark.parametrize("passed_s", [RESOLVED_FOR_S, -1])
async def test_name_is_resolved_again_after_a_minute(
    client: Client, clock: FakeClock, resolver: Resolver, port: int, passed_s: float
) -> None:
    async with RawServer(responding(CLOSING), FIRST, port) as server:
        await get(client, url_of(server))
        resolver.addresses = [SECOND]
        async with RawServer(responding(CLOSING), SECOND, port) as moved:
            clock.time += passed_s
            await get(client, url_of(server))
    assert (len(server.peers), len(moved.peers)) == (1, 1)


@pytest.mark.parametrize("silent", [FIRST, SECOND])
async def test_address_that_is_silent_leaves_time_for_the_next(
    clock: FakeClock, resolver: Resolver, port: int, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent in the TLS handshake: to a packet, all addresses of this machine respond."""
    monkeypatch.setattr(pool, "LEAST_ADDRESS_S", 0.01)
    ended = asyncio.Event()

    async def closing(peer: Peer) -> None:
        ended.set()

    client = Client(clock, Timeouts(connect_s=0.4, first_byte_s=20, total_s=20), idle_s=IDLE_S)
    other = SECOND if silent == FIRST else FIRST
    async with RawServer(Peer.gone, silent, port) as server, RawServer(closing, other, port):
        failure, _ = await fails(client, url_of(server, "https"))
        assert ended.is_set()
    assert failure is (HttpFailure.UNREACHABLE if silent == FIRST else HttpFailure.TIMEOUT)


@pytest.mark.parametrize("no_route", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize("without_route", [FIRST, SECOND])
async def test_error_of_an_address_with_a_route_is_reported(
    client: Client, resolver: Resolver, without_route: str, no_route: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def create_connection(factory: object, host: str, *args: object, **kwargs: object) -> None:
        raise OSError(no_route if host == without_route else errno.ECONNREFUSED, "as asyncio words it")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
    assert await fails(client, "http://several.example/") == (HttpFailure.UNREACHABLE, "Connection refused")
    resolver.addresses = [without_route]
    text = os.strerror(no_route)
    assert await fails(client, "http://several.example/") == (HttpFailure.UNREACHABLE, text)


async def test_name_without_an_address_is_an_error(client: Client, resolver: Resolver) -> None:
    resolver.addresses = []
    expected = (HttpFailure.UNREACHABLE, "its name has no address")
    assert await fails(client, "http://several.example/") == expected
