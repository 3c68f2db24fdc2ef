"""Answers that a backend, or who stands in its place, sends to bind the gateway: bounded in size, time and memory.

Held against both clients, the development server's and the functions'. Redirects: `test_backend_faults` and
`aws/test_http_client`.
"""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from slip_sockets.aws.http_client import Urllib3Client
from slip_sockets.dev.http_client import AiohttpClient
from slip_sockets.gateway.ports import HttpAnswer, HttpAnswerTooLarge, HttpClient, HttpError, HttpTimeout, SystemClock

from ..aws.raw_server import RawServer, Script, answer, answering

LIMIT = 1024 * 1024
BRIEF_S = 0.5
"""A deadline that a test waits for."""

WITHOUT_END_S = 15
"""So long, and nobody should listen any more."""

Clients = Callable[[float], AbstractAsyncContextManager[HttpClient]]


@asynccontextmanager
async def of_the_development_server(timeout_s: float) -> AsyncIterator[HttpClient]:
    client = AiohttpClient(timeout_s)
    yield client
    await client.aclose()


@asynccontextmanager
async def of_the_functions(timeout_s: float) -> AsyncIterator[HttpClient]:
    yield Urllib3Client(SystemClock(), timeout_s)


@pytest.fixture(params=[of_the_development_server, of_the_functions], ids=["development", "functions"])
def clients(request: pytest.FixtureRequest) -> Clients:
    made: Clients = request.param
    return made


async def post(client: HttpClient, server: RawServer) -> HttpAnswer:
    return await client.post(server.url, {"Authorization": "Bearer token"}, b"{}", max_bytes=LIMIT)


def without_end(beginning: bytes, piece: bytes, *, pause_s: float = 0) -> Script:
    """Say `beginning`, then `piece` again and again, as fast as the other side reads, or with pauses."""

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(beginning)
        since = time.monotonic()
        while not server.stopping.wait(pause_s) and time.monotonic() < since + WITHOUT_END_S:
            connection.sendall(piece)

    return script


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

TOO_MUCH: dict[str, tuple[Script, type[HttpError]]] = {
    "a body": (without_end(OK + b"\r\n", b" " * 65_536), HttpAnswerTooLarge),
    "chunks": (without_end(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"), HttpAnswerTooLarge),
    "one chunk": (without_end(CHUNKED + b"7fffffffffff\r\n", b" " * 65_536), HttpAnswerTooLarge),
    "a header": (without_end(OK + b"X: ", b"x" * 65_536), HttpError),
    "headers": (without_end(OK, b"X: y\r\n" * 1_000), HttpError),
    "a status line": (without_end(b"HTTP/1.1 200 ", b"x" * 65_536), HttpError),
}


@pytest.mark.parametrize(("script", "error"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
async def test_answer_without_end_is_given_up_at_a_size(
    clients: Clients, script: Script, error: type[HttpError]
) -> None:
    with RawServer(script) as server:
        async with clients(20) as client:
            with pytest.raises(error) as raised:
                await post(client, server)
    assert not isinstance(raised.value, HttpTimeout)


NOTHING_BUT: dict[str, Script] = {
    "interim answers": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim answers, slowly": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=BRIEF_S / 20),
    "trailers": without_end(CHUNKED + b"0\r\n", b"X: y\r\n", pause_s=BRIEF_S / 20),
    "a body byte by byte": without_end(OK + b"\r\n", b" ", pause_s=BRIEF_S / 20),
    "headers byte by byte": without_end(OK + b"X: ", b"x", pause_s=BRIEF_S / 20),
}


@pytest.mark.parametrize("script", NOTHING_BUT.values(), ids=NOTHING_BUT.keys())
async def test_answer_without_end_is_given_up_at_the_deadline(clients: Clients, script: Script) -> None:
    with RawServer(script) as server:
        async with clients(BRIEF_S) as client:
            began = time.monotonic()
            with pytest.raises(HttpTimeout, match=r"^not within 0\.5 s$"):
                await post(client, server)
            assert time.monotonic() - began >= BRIEF_S


TO_BE_SKIPPED: dict[str, Script] = {
    "a chunk's length": without_end(CHUNKED, b"0" * 65_536),
    "a chunk's extension": without_end(CHUNKED + b"1;", b"x" * 65_536),
}


@pytest.mark.parametrize("script", TO_BE_SKIPPED.values(), ids=TO_BE_SKIPPED.keys())
async def test_what_is_only_skipped_is_given_up_at_the_deadline_if_not_before(clients: Clients, script: Script) -> None:
    with RawServer(script) as server:
        async with clients(BRIEF_S) as client:
            with pytest.raises(HttpError):
                await post(client, server)


def bomb(wbits: int) -> bytes:
    """Return what unpacks to 256 MiB."""
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits)
    blank = bytes(LIMIT)
    return b"".join(packer.compress(blank) for _ in range(256)) + packer.flush()


@pytest.mark.parametrize(("wbits", "encoding"), [(31, "gzip"), (15, "deflate"), (31, "gzip, gzip")])
async def test_what_unpacks_to_too_much_is_not_unpacked(clients: Clients, wbits: int, encoding: str) -> None:
    body = bomb(wbits)
    if encoding == "gzip, gzip":
        body = gzip.compress(body)
    with RawServer(answering(answer(body, f"Content-Encoding: {encoding}"))) as server:
        async with clients(20) as client:
            tracemalloc.start()
            try:
                with suppress(HttpAnswerTooLarge):
                    assert (await post(client, server)).body == body  # who does not know this encoding, unpacks nothing
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert most < 16 * LIMIT
