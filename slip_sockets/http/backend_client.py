"""POSTs to the backend: the gateway's port HttpClient, the same for functions, development server and check."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from ..gateway.ports import Clock
from ..gateway.values import HttpResponse
from .client import Client, Request, Timeouts

IDLE_CONNECTION_S = 1.0
"""Common servers drop an idle connection after 2 s or more; a POST into one that is being dropped would be lost."""
USER_AGENT = "slip-sockets"


class BackendClient:
    """The port HttpClient. `timeout_s` bounds a whole POST, from the connection to the last byte received.

    A POST that fails is not repeated here: once a byte has been sent, nothing proves that the backend did not act.
    """

    def __init__(
        self,
        clock: Clock,
        timeout_s: float,
        *,
        idle_s: float = IDLE_CONNECTION_S,
        max_at_once: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        timeouts = Timeouts(timeout_s, timeout_s, timeout_s)
        self._client = Client(clock, timeouts, idle_s=idle_s, max_at_once=max_at_once, tls=tls)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        request = Request("POST", url, {"User-Agent": USER_AGENT, **headers}, body)
        response = await self._client.request(request, max_bytes=max_bytes, whole_errors=False)
        return HttpResponse(response.status, response.headers, response.body)

    async def aclose(self) -> None:
        await self._client.aclose()
