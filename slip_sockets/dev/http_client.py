"""POSTs to the backend with aiohttp, for many sockets in one process."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
from yarl import URL

from ..gateway.ports import HttpAnswer, HttpAnswerTooLarge, HttpError, HttpTimeout
from ..settings import NO_HTTP_URL, is_http_url

IDLE_CONNECTION_S = 1.0
"""Common servers drop an idle connection after 2 s or more; a POST into one that is being dropped would be lost."""

MAX_ERROR_BYTES = 16 * 1024
"""Of an answer that is not 2xx the beginning is enough: the inspector shows it, and nobody else looks."""
ERROR_BODY_S = 0.2

NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL, older and newer, says of an answer that is no TLS."""


class AiohttpClient:
    """An HttpClient. `timeout_s` bounds a whole POST, from the first byte sent to the last received."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=IDLE_CONNECTION_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        if not is_http_url(url):
            raise HttpError(NO_HTTP_URL)
        try:
            # Our own Authorization header stands instead of a user and password in the URL, as on AWS.
            target = URL(url).with_user(None)
            async with self._session.post(target, data=body, headers=headers, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    return HttpAnswer(response.status, await _beginning(response))
                received = bytearray()
                async for chunk in response.content.iter_any():
                    received += chunk
                    if len(received) > max_bytes:
                        response.close()
                        raise HttpAnswerTooLarge(f"more than {max_bytes} bytes")
                return HttpAnswer(response.status, bytes(received))
        except TimeoutError as error:
            raise HttpTimeout(f"not within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise HttpError(_reason(error)) from error

    async def aclose(self) -> None:
        await self._session.close()


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return what there is of a body that is not waited for: the status has said it all."""
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(ERROR_BODY_S):
            return await response.content.read(MAX_ERROR_BYTES)
    return b""


def _reason(error: aiohttp.ClientError | OSError) -> str:
    """Return what may be logged. Errors about an answer quote it, and the URL with its query."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _why_not_connected(error.os_error)
    if isinstance(error, OSError | aiohttp.ServerDisconnectedError):
        return " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, aiohttp.InvalidURL):
        return NO_HTTP_URL
    return f"its answer is not HTTP ({type(error).__name__})"


def _why_not_connected(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS" if error.reason in NO_TLS else f"TLS fails ({error.reason})"
    if error.errno and error.errno > 0:  # those of name resolution are not the system's
        return os.strerror(error.errno)
    return error.strerror or str(error)
