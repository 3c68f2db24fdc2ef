"""Makes one POST to a backend, with the gateway's own client, and notes all of the response that can be judged."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..gateway.backend import MAX_RESPONSE_BYTES
from ..gateway.errors import HttpError, HttpFailure
from ..gateway.ports import SystemClock
from ..http.backend_client import BackendClient
from ..protocol.urls import with_query

AWAY = (HttpFailure.UNREACHABLE, HttpFailure.TLS, HttpFailure.INVALID_URL)
"""Failures for which there was no connection."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST: its response's status, headers (names in lower case) and body, or a `failure` and its `reason`."""

    seconds: float
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: HttpFailure | None = None
    reason: str = ""
    url: str = ""


class Target:
    """The backend at `url`. `timeout_s` bounds a whole POST. Each is on a connection of its own."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._client = BackendClient(SystemClock(), timeout_s, idle_s=0)

    async def __aenter__(self) -> Target:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def post(self, headers: Mapping[str, str], body: bytes, query: str = "") -> Attempt:
        """Make a POST. `query` is added to that of the URL."""
        begin = time.monotonic()
        url = with_query(self._url, query)
        try:
            response = await self._client.post(url, headers, body, max_bytes=MAX_RESPONSE_BYTES)
        except HttpError as error:
            return Attempt(time.monotonic() - begin, failure=error.failure, reason=str(error))
        return Attempt(time.monotonic() - begin, response.status, response.headers, response.body, url=self._url)
