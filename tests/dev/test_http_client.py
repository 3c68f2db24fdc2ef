"""Why a backend cannot be reached, in the words that a log shows."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from slip_sockets.dev.http_client import AiohttpClient
from slip_sockets.gateway.ports import HttpError

from ..aws.test_http_client import certificate

__all__ = ["certificate"]


async def why_not(url: str) -> str:
    client = AiohttpClient(timeout_s=30)
    try:
        with pytest.raises(HttpError) as error:
            await client.post(url, {}, b"", max_bytes=1024)
    finally:
        await client.aclose()
    return str(error.value)


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Yield host and port of one that answers 400 to whatever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def test_nobody_listens() -> None:
    async with server() as place:
        pass
    assert await why_not(f"http://{place}/slip") == "Connection refused"


async def test_https_where_http_is_spoken() -> None:
    async with server() as place:
        assert await why_not(f"https://{place}/slip") == "it does not speak TLS"


async def test_a_certificate_that_nobody_vouches_for(certificate: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with server(tls) as place:
        assert await why_not(f"https://{place}/slip") == "its certificate is not valid: self-signed certificate"
