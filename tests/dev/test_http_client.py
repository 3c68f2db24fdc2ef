"""What the development server's client says of a backend that fails: never the URL's query, nor what was answered."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from slip_sockets.dev.http_client import AiohttpClient
from slip_sockets.gateway.ports import HttpAnswer, HttpError, HttpTimeout

from ..aws.raw_server import RawServer, answer, answering
from ..aws.test_http_client import certificate

__all__ = ["certificate"]

HIDDEN = ("secret", "password", "ada", "confidential")
LIMIT = 1024


@pytest.fixture
async def client() -> AsyncIterator[AiohttpClient]:
    client = AiohttpClient(20)
    yield client
    await client.aclose()


async def fails(client: AiohttpClient, url: str) -> str:
    with pytest.raises(HttpError) as error:
        await client.post(url, {}, b"{}", max_bytes=LIMIT)
    assert type(error.value) is HttpError
    told = str(error.value)
    assert told.isprintable()
    assert not any(word in told for word in HIDDEN)
    return told


@pytest.mark.parametrize(
    "raw",
    [
        b"confidential\r\n\r\n",
        b"HTTP/1.1 confidential\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconfidential\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: confidential\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: confidential\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nconfidential\r\n",
        answer(b"confidential", "Content-Encoding: gzip"),
    ],
)
async def test_an_answer_that_is_no_http_is_not_quoted(client: AiohttpClient, raw: bytes) -> None:
    with RawServer(answering(raw)) as server:
        assert (await fails(client, server.url)).startswith("its answer is not HTTP (")
        assert "/slip?key=secret" in server.requests[0].decode()


async def test_an_answer_that_breaks_off_is_not_quoted(client: AiohttpClient) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(answer(b"confidential")[:-1])

    with RawServer(script) as server:
        await fails(client, server.url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://ada:password@127.0.0.1:{port}/slip?key=secret", "Connection refused"),
        ("ftp://ada:password@127.0.0.1/slip?key=secret", "not an http or https URL"),
        ("http:///slip?key=secret", "not an http or https URL"),
    ],
)
async def test_a_backend_that_is_not_there_is_named_without_secrets(
    client: AiohttpClient, url: str, reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await fails(client, url.format(port=port)) == reason


@asynccontextmanager
async def refusing(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Yield host and port of one that answers 400 to whatever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def test_https_where_http_is_spoken(client: AiohttpClient) -> None:
    async with refusing() as place:
        assert await fails(client, f"https://{place}/slip") == "it does not speak TLS"


async def test_a_certificate_that_nobody_vouches_for(client: AiohttpClient, certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with refusing(tls) as place:
        assert await fails(client, f"https://{place}/slip") == "its certificate is not valid: self-signed certificate"


async def test_a_backend_that_is_silent_is_named_without_secrets() -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        server.stopping.wait()

    client = AiohttpClient(0.1)
    with RawServer(script) as server, pytest.raises(HttpTimeout) as error:
        await client.post(server.url, {}, b"{}", max_bytes=LIMIT)
    assert str(error.value) == "not within 0.1 s"
    await client.aclose()


async def test_a_whole_answer_is_read(client: AiohttpClient) -> None:
    with RawServer(answering(answer(b"abc"))) as server:
        assert await client.post(server.url, {}, b"{}", max_bytes=LIMIT) == HttpAnswer(200, b"abc")
