"""What two other clients read from the same bytes: `requests` (urllib3 over http.client) and aiohttp."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from typing import Any, cast

import aiohttp
import urllib3
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser
from aiohttp.streams import EMPTY_PAYLOAD


@dataclass(frozen=True, slots=True)
class Opinion:
    status: int
    headers: dict[str, str]
    body: bytes


def by_urllib3(data: bytes) -> Opinion | None:
    """Return None where it refuses. It is what `requests` reads with."""
    pool = urllib3.HTTPConnectionPool("127.0.0.1")
    pool.ConnectionCls = type("_Connection", (_Connection,), {"data": data})
    try:
        response = pool.urlopen("POST", "/", body=b"", preload_content=False, retries=False, redirect=False)
        headers = {name.lower(): response.headers[name] for name in response.headers}
        return Opinion(response.status, headers, response.read(decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError, ValueError, OverflowError):
        return None
    finally:
        pool.close()


class _Connection(urllib3.connection.HTTPConnection):
    data = b""

    def connect(self) -> None:
        self.sock = cast(Any, _Socket(self.data))


class _Socket:
    """A socket from which some bytes come, and then the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(cast(Any, io.BytesIO(self._data)))

    def sendall(self, data: bytes) -> None: ...

    def settimeout(self, timeout: float | None) -> None: ...

    def shutdown(self, how: int) -> None: ...

    def close(self) -> None: ...


def by_aiohttp(data: bytes) -> Opinion | None:
    """Return None where it refuses. Call it on an event loop."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    parser = HttpResponseParser(
        protocol, loop, 2**16, max_line_size=2**14, max_field_size=2**14, read_until_eof=True, auto_decompress=True
    )
    try:
        messages, _, _ = parser.feed_data(data)
        messages = [
            (message, payload) for message, payload in messages if not 100 <= message.code < 200 or message.code == 101
        ]
        parser.feed_eof()
        if not messages:
            return None
        message, payload = messages[0]
        if message.code == 101:
            return None
        if payload is not EMPTY_PAYLOAD and not payload.is_eof():
            return None
        body = payload.read_nowait()
    except (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError):
        return None
    headers: dict[str, str] = {}
    for raw_name, raw_value in message.raw_headers:
        name, value = raw_name.decode().lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Opinion(message.code, headers, body)
