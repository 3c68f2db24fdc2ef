"""One POST to a backend, and all that is worth knowing of its answer."""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from ..gateway.backend import MAX_ANSWER_BYTES


class Failure(enum.Enum):
    """Why there is no whole answer."""

    UNREACHABLE = enum.auto()
    BROKEN_OFF = enum.auto()
    TIMEOUT = enum.auto()
    TOO_LARGE = enum.auto()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a POST brought: a status, headers (names in lower case) and a body, or a `failure` and its `reason`."""

    seconds: float
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: Failure | None = None
    reason: str = ""


class Backend:
    """The backend at `url`. `timeout_s` bounds a whole POST. As the gateway does, it follows no redirect."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = URL(url).with_user(None)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        )

    async def __aenter__(self) -> Backend:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def post(self, headers: Mapping[str, str], body: bytes) -> Exchange:
        begin = time.monotonic()
        received = bytearray()
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                names = {name.lower(): value for name, value in response.headers.items()}
                async for chunk in response.content.iter_any():
                    received += chunk
                    if len(received) > MAX_ANSWER_BYTES:
                        response.close()
                        return _failed(begin, Failure.TOO_LARGE)
        except aiohttp.ClientConnectorCertificateError as error:
            return _failed(begin, Failure.UNREACHABLE, error.certificate_error)
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            reason = os.strerror(number) if number and number > 0 else error.os_error.strerror
            return _failed(begin, Failure.UNREACHABLE, reason or error)
        except TimeoutError:
            return _failed(begin, Failure.TIMEOUT)
        except (aiohttp.ClientError, OSError) as error:
            return _failed(begin, Failure.BROKEN_OFF, str(error) or type(error).__name__)
        return Exchange(time.monotonic() - begin, response.status, names, bytes(received))


def _failed(begin: float, failure: Failure, reason: object = "") -> Exchange:
    return Exchange(time.monotonic() - begin, failure=failure, reason=" ".join(str(reason).split()))
