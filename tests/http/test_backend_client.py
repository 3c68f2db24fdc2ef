"""The gateway's client for POSTs to the backend, over a server of raw bytes.

Longer than 400 lines, since it is one list: what backends send, and what is made of it.
"""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from slip_sockets.gateway.errors import HttpError, HttpFailure
from slip_sockets.gateway.values import HttpResponse
from slip_sockets.http.backend_client import IDLE_CONNECTION_S, BackendClient

from ..aws.raw_server import RawServer, Script, answer, answering
from ..gateway.doubles import FakeClock
from .certificates import Certificate, client_context, make, server_context

HEADERS = {"Authorization": "Bearer token", "Content-Type": "application/websocket-events"}
BODY = b'{"events": []}'
LIMIT = 1024 * 1024
HURRY_S = 0.4
"""The deadline where a test waits for it to pass."""
PATIENT_S = 5
"""The deadline where a test lets part of it pass, and a busy machine two fifths of it."""


NewClient = Callable[..., BackendClient]


@pytest.fixture
async def new_client(clock: FakeClock) -> AsyncIterator[NewClient]:
    """Call it with the seconds that a POST may take."""
    clients: list[BackendClient] = []

    def new(timeout_s: float = 20, *, tls: ssl.SSLContext | None = None) -> BackendClient:
        clients.append(BackendClient(clock, timeout_s, tls=tls))
        return clients[-1]

    yield new
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(new_client: NewClient) -> BackendClient:
    return new_client()


async def post(client: BackendClient, server: RawServer, max_bytes: int = LIMIT) -> HttpResponse:
    return await client.post(server.url, HEADERS, BODY, max_bytes=max_bytes)


async def result(client: BackendClient, server: RawServer) -> tuple[int, bytes]:
    response = await post(client, server)
    return response.status, response.body


async def fails(client: BackendClient, server: RawServer, failure: HttpFailure) -> HttpError:
    """Post, and return the error that it raises."""
    with pytest.raises(HttpError) as error:
        await post(client, server)
    assert error.value.failure is failure
    return error.value


def in_chunks(*chunks: bytes) -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed


# Responses


async def test_request_and_response_are_whole(client: BackendClient) -> None:
    with RawServer(answering(answer(b'{"events": []}', status="207 Some"))) as server:
        assert await result(client, server) == (207, b'{"events": []}')
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /slip?key=secret HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer token" in head
    assert b"\r\nContent-Type: application/websocket-events" in head
    assert body == BODY


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (in_chunks(b"ab", b"c"), (200, b"abc")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (answer(gzip.compress(b"abc"), "Content-Encoding: gzip"), (200, b"abc")),
        (answer(b"no", status="500 Oh"), (500, b"no")),
    ],
    ids=["chunked", "empty", "compressed", "failure"],
)
async def test_responses_of_all_kinds_are_read(client: BackendClient, raw: bytes, expected: tuple[int, bytes]) -> None:
    with RawServer(answering(raw)) as server:
        assert await result(client, server) == expected


async def test_response_that_ends_with_its_connection_is_read(client: BackendClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nabc")

    with RawServer(script) as server:
        assert await result(client, server) == (200, b"abc")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_redirect_is_a_response_and_not_followed(client: BackendClient, status: str) -> None:
    with RawServer(answering(answer(b"", "Location: /elsewhere", status=status))) as server:
        assert (await post(client, server)).status == int(status[:3])
    assert len(server.requests) == 1


async def test_cookies_are_not_kept(client: BackendClient) -> None:
    with RawServer(answering(answer(b"", "Set-Cookie: session=1; Path=/"))) as server:
        await post(client, server)
        await post(client, server)
    assert all(b"cookie:" not in request.lower() for request in server.requests)
    assert len(server.requests) == 2


async def test_surroundings_do_not_matter(
    new_client: NewClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ada password pw\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert os.environ["NETRC"]
    with RawServer(answering(answer(b""))) as server:
        assert (await post(new_client(), server)).status == 200
    assert b"Authorization: Bearer token\r\n" in server.requests[0]


async def test_password_in_the_url_does_not_replace_the_token(client: BackendClient) -> None:
    with RawServer(answering(answer(b""))) as server:
        url = server.url.replace("127.0.0.1", "ada:pw@127.0.0.1")
        assert (await client.post(url, HEADERS, BODY, max_bytes=LIMIT)).status == 200
    assert b"Authorization: Bearer token\r\n" in server.requests[0]


# Too much


async def test_response_as_large_as_the_limit_is_read(client: BackendClient) -> None:
    with RawServer(answering(answer(b"x" * LIMIT))) as server:
        assert len((await post(client, server)).body) == LIMIT


@pytest.mark.parametrize(
    "raw",
    [
        answer(b"x" * (LIMIT + 1)),
        in_chunks(*[b"x" * 65536] * 17),
        answer(gzip.compress(b"x" * (LIMIT + 1)), "Content-Encoding: gzip"),
    ],
    ids=["plain", "chunked", "compressed"],
)
async def test_response_beyond_the_limit_is_too_large(client: BackendClient, raw: bytes) -> None:
    with RawServer(answering(raw)) as server:
        await fails(client, server, HttpFailure.TOO_LARGE)


async def test_response_beyond_the_limit_is_not_read_further(client: BackendClient) -> None:
    total = 50 * 1024 * 1024
    sent = 0

    def script(server: RawServer, connection: socket.socket) -> None:
        nonlocal sent
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            sent += connection.send(b"x" * 65536)

    with RawServer(script) as server:
        await fails(client, server, HttpFailure.TOO_LARGE)
    assert sent < total / 2  # what the buffers of two sockets hold


# Too slow


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50, answer(b"x" * 10_000), in_chunks(*[b"x"] * 1_000)],
    ids=["headers", "body", "chunks"],
)
async def test_response_byte_by_byte_ends_at_the_deadline(new_client: NewClient, raw: bytes) -> None:
    at_once = b"" if b"X: y" in raw else raw[: raw.index(b"\r\n\r\n") + 4]

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(at_once)
        server.trickle(connection, raw[len(at_once) :], HURRY_S / 20)

    with RawServer(script) as server:
        began = time.monotonic()
        error = await fails(new_client(HURRY_S), server, HttpFailure.TIMEOUT)
        assert time.monotonic() - began >= HURRY_S
    assert str(error) == "not within 0.4 s"
    assert server.trickled < 8 * 20  # eight times the deadline; the whole response takes 18 times as long, or more


async def test_silence_ends_at_the_deadline(new_client: NewClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        server.stopping.wait()

    with RawServer(script) as server:
        await fails(new_client(HURRY_S), server, HttpFailure.TIMEOUT)


async def test_silence_after_a_late_beginning_ends_at_the_same_deadline(new_client: NewClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n\r\n"):  # too late, by pauses within the deadline
            server.stopping.wait(0.6 * PATIENT_S)
            connection.sendall(part)

    with RawServer(script) as server:
        await fails(new_client(PATIENT_S), server, HttpFailure.TIMEOUT)


async def test_backend_that_does_not_read_ends_at_the_deadline(new_client: NewClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.stopping.wait()

    with RawServer(script) as server, pytest.raises(HttpError, match=r"not within 0.4 s"):
        await new_client(HURRY_S).post(server.url, HEADERS, b"x" * 20_000_000, max_bytes=LIMIT)


async def test_slow_response_within_the_deadline_is_read(client: BackendClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        server.trickle(connection, answer(b"abc"), 0.001)

    with RawServer(script) as server:
        assert await result(client, server) == (200, b"abc")


async def test_each_post_has_its_own_deadline(new_client: NewClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        while server.read_request(connection):
            server.stopping.wait(0.6 * PATIENT_S)
            connection.sendall(answer(b""))

    client = new_client(PATIENT_S)
    with RawServer(script) as server:
        for _ in range(2):
            assert (await post(client, server)).status == 200
    assert server.connections == 1


# Broken off


def cut(raw: bytes, *, reset: bool) -> Script:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(raw)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return script


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        answer(b"x" * 100)[:-1],
        in_chunks(b"abc")[:-5],
        b"\x00\x01\x02\r\n\r\n",
        answer(b"", "no header"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc",
    ],
    ids=["nothing", "status", "header", "headers", "body", "chunks", "no HTTP", "no header", "no gzip"],
)
async def test_response_that_breaks_off_is_an_error_and_the_post_is_not_repeated(
    client: BackendClient, raw: bytes, *, reset: bool
) -> None:
    with RawServer(cut(raw, reset=reset)) as server, pytest.raises(HttpError) as raised:
        await post(client, server)
    assert raised.value.failure in (HttpFailure.BROKEN_OFF, HttpFailure.NOT_HTTP)
    assert "key=secret" not in str(raised.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"confidential\r\n\r\n",
        b"HTTP/1.1 confidential\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nconfidential\r\n",
        answer(b"confidential", "Content-Encoding: gzip"),
        b"HTTP/1.1 200 " + b"confidential" * 10_000,
    ],
    ids=["no HTTP", "no status", "no chunk", "no gzip", "no end"],
)
async def test_response_that_is_not_http_is_not_quoted(client: BackendClient, raw: bytes) -> None:
    with RawServer(cut(raw, reset=False)) as server, pytest.raises(HttpError) as raised:
        await post(client, server)
    assert raised.value.failure in (HttpFailure.NOT_HTTP, HttpFailure.TOO_LARGE)
    assert not any(word in str(raised.value) for word in ("confidential", "secret"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://ada:password@127.0.0.1:{port}/slip?key=secret", "Connection refused"),
        ("http://127.0.0.1:{port}/slip?key=secret", "Connection refused"),
        ("http://127.0.0.1:99999/slip?key=secret", "not an http or https URL"),
        ("http://[::1/slip?key=secret", "not an http or https URL"),
        ("127.0.0.1:{port}/slip?key=secret", "not an http or https URL"),
        ("ftp://127.0.0.1:{port}/slip?key=secret", "not an http or https URL"),
    ],
)
async def test_backend_that_is_not_there_is_an_error(client: BackendClient, url: str, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HttpError) as error:
        await client.post(url.format(port=port), HEADERS, BODY, max_bytes=LIMIT)
    assert str(error.value) == reason
    assert not any(word in str(error.value) for word in ("key=secret", "ada", "password"))


# Kept connections


async def test_connection_in_use_is_kept(client: BackendClient, clock: FakeClock) -> None:
    with RawServer(answering(answer(b"abc"))) as server:
        for _ in range(5):
            await post(client, server)
            clock.time += IDLE_CONNECTION_S
    assert server.connections == 1


async def test_idle_connection_is_not_used_again(client: BackendClient, clock: FakeClock) -> None:
    with RawServer(answering(answer(b"abc"))) as server:
        await post(client, server)
        clock.time += IDLE_CONNECTION_S + 0.1
        assert (await post(client, server)).status == 200
    assert server.connections == 2


async def test_connection_closed_by_the_backend_is_not_used_again(client: BackendClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(answer(b"abc")[:-1])
        connection.shutdown(socket.SHUT_RD)
        connection.sendall(b"c")

    with RawServer(script) as server:
        for _ in range(3):
            assert (await post(client, server)).body == b"abc"
            server.wait_for_latest()
    assert server.connections == 3


async def test_connection_of_a_response_not_read_to_its_end_is_not_used_again(client: BackendClient) -> None:
    with RawServer(answering(answer(b"x" * (LIMIT * 2)))) as server:
        await fails(client, server, HttpFailure.TOO_LARGE)
        await fails(client, server, HttpFailure.TOO_LARGE)
    assert server.connections == 2


# TLS


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    """A self-signed certificate for 127.0.0.1."""
    return make("127.0.0.1")


@pytest.fixture
def tls(certificate: Certificate, tmp_path: Path) -> ssl.SSLContext:
    return server_context(tmp_path / "certificate.pem", certificate)


async def test_tls_works_and_keeps_its_connection(
    new_client: NewClient, certificate: Certificate, tls: ssl.SSLContext
) -> None:
    client = new_client(tls=client_context(certificate))
    with RawServer(answering(answer(b"abc")), tls) as server:
        assert await result(client, server) == (200, b"abc")
        assert await result(client, server) == (200, b"abc")
    assert server.connections == 1


async def test_tls_response_byte_by_byte_ends_at_the_deadline(
    new_client: NewClient, certificate: Certificate, tls: ssl.SSLContext
) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        server.trickle(connection, answer(b"x" * 10_000), HURRY_S / 20)

    with RawServer(script, tls) as server:
        client = new_client(HURRY_S, tls=client_context(certificate))
        error = await fails(client, server, HttpFailure.TIMEOUT)
    assert str(error) == "not within 0.4 s"
    assert server.trickled < 8 * 20  # eight times the deadline; the whole response takes 500 times as long


async def test_tls_certificate_that_is_not_trusted_is_an_error(client: BackendClient, tls: ssl.SSLContext) -> None:
    with RawServer(answering(answer(b"abc")), tls) as server:
        error = await fails(client, server, HttpFailure.TLS)
    assert "certificate" in str(error)
    assert server.requests == []
