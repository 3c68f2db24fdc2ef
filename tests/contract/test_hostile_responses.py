"""Responses by which a backend, or a program in its place, would bind the gateway: bounded in size, time and memory.

Redirects: `test_backend_faults` and `http/test_backend_client`.
"""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from slip_sockets.gateway.errors import HttpError, HttpFailure
from slip_sockets.gateway.ports import HttpClient, SystemClock
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.http.backend_client import BackendClient

from ..aws.raw_server import RawServer, Script, answer, answering

LIMIT = 1024 * 1024
BRIEF_S = 0.5
"""A deadline that a test waits for."""

WITHOUT_END_S = 15
"""By then the client must have given up."""


@asynccontextmanager
async def client_with(timeout_s: float) -> AsyncIterator[HttpClient]:
    client = BackendClient(SystemClock(), timeout_s)
    yield client
    await client.aclose()


async def post(client: HttpClient, server: RawServer) -> HttpResponse:
    return await client.post(server.url, {"Authorization": "Bearer token"}, b"{}", max_bytes=LIMIT)


async def body_or_failure(client: HttpClient, server: RawServer) -> bytes | HttpFailure:
    try:
        return (await post(client, server)).body
    except HttpError as error:
        return error.failure


def without_end(beginning: bytes, piece: bytes, *, pause_s: float = 0) -> Script:
    """Send `beginning`, then `piece` again and again, as fast as the other side reads, or with pauses."""

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(beginning)
        since = time.monotonic()
        while not server.stopping.wait(pause_s) and time.monotonic() < since + WITHOUT_END_S:
            connection.sendall(piece)

    return script


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

TOO_MUCH: dict[str, tuple[Script, HttpFailure]] = {
    "a body": (without_end(OK + b"\r\n", b" " * 65_536), HttpFailure.TOO_LARGE),
    "chunks": (without_end(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"), HttpFailure.TOO_LARGE),
    "one chunk": (without_end(CHUNKED + b"7fffffffffff\r\n", b" " * 65_536), HttpFailure.TOO_LARGE),
    "a header": (without_end(OK + b"X: ", b"x" * 65_536), HttpFailure.TOO_LARGE),
    "headers": (without_end(OK, b"X: y\r\n" * 1_000), HttpFailure.TOO_LARGE),
    "interim responses": (without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000), HttpFailure.TOO_LARGE),
    "a status line": (without_end(b"HTTP/1.1 200 ", b"x" * 65_536), HttpFailure.TOO_LARGE),
}


@pytest.mark.parametrize(("script", "failure"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
async def test_response_without_end_is_given_up_at_a_size(script: Script, failure: HttpFailure) -> None:
    with RawServer(script) as server:
        async with client_with(20) as client:
            with pytest.raises(HttpError) as raised:
                await post(client, server)
    assert raised.value.failure is failure


NOTHING_BUT: dict[str, Script] = {
    "interim responses, slowly": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=BRIEF_S / 20),
    "trailers": without_end(CHUNKED + b"0\r\n", b"X: y\r\n", pause_s=BRIEF_S / 20),
    "a body byte by byte": without_end(OK + b"\r\n", b" ", pause_s=BRIEF_S / 20),
    "headers byte by byte": without_end(OK + b"X: ", b"x", pause_s=BRIEF_S / 20),
}


@pytest.mark.parametrize("script", NOTHING_BUT.values(), ids=NOTHING_BUT.keys())
async def test_response_without_end_is_given_up_at_the_deadline(script: Script) -> None:
    with RawServer(script) as server:
        async with client_with(BRIEF_S) as client:
            began = time.monotonic()
            with pytest.raises(HttpError, match=r"^not within 0\.5 s$") as raised:
                await post(client, server)
            assert raised.value.failure is HttpFailure.TIMEOUT
            assert time.monotonic() - began >= BRIEF_S


TO_BE_SKIPPED: dict[str, Script] = {
    "a chunk's length": without_end(CHUNKED, b"0" * 65_536),
    "a chunk's extension": without_end(CHUNKED + b"1;", b"x" * 65_536),
}


@pytest.mark.parametrize("script", TO_BE_SKIPPED.values(), ids=TO_BE_SKIPPED.keys())
async def test_bytes_to_be_skipped_are_given_up_at_the_deadline_if_not_before(script: Script) -> None:
    with RawServer(script) as server:
        async with client_with(BRIEF_S) as client:
            with pytest.raises(HttpError):
                await post(client, server)


def bomb(wbits: int) -> bytes:
    """Return a body that unpacks to 256 MiB."""
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    blank = bytes(LIMIT)
    return b"".join(packer.compress(blank) for _ in range(256)) + packer.flush()


@pytest.mark.parametrize(("wbits", "encoding"), [(31, "gzip"), (15, "deflate"), (31, "gzip, gzip")])
async def test_body_that_unpacks_to_too_much_is_not_unpacked(wbits: int, encoding: str) -> None:
    body = bomb(wbits)
    if encoding == "gzip, gzip":
        body = gzip.compress(body)
    with RawServer(answering(answer(body, f"Content-Encoding: {encoding}"))) as server:
        async with client_with(20) as client:
            tracemalloc.start()
            try:
                # A client that does not know this encoding unpacks nothing.
                assert await body_or_failure(client, server) in (HttpFailure.TOO_LARGE, body)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert most < 16 * LIMIT
