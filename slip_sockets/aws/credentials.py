"""The credentials of a function's role, as Lambda provides them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec

from ..gateway.errors import HttpError, Unavailable
from ..gateway.ports import Clock
from ..http.client import Client as HttpClient
from ..http.client import Request
from .sigv4 import Credentials

CredentialsProvider = Callable[[], Awaitable[Credentials | None]]
"""Called for each request, since credentials expire. Returns None without credentials. May raise Unavailable."""

REFRESH_BEFORE_S = 10 * 60.0
"""Credentials are replaced this long before they expire; if that fails they are used to the end."""
MAX_RESPONSE_BYTES = 64 * 1024


class Keys(msgspec.Struct, frozen=True):
    """The keys that requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None = None


class _Issued(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str
    expiration: datetime


class FunctionCredentials:
    """A CredentialsProvider. Keys in the environment are valid for the life of the process.

    A function that starts from a snapshot has none there, since they would be as old as the snapshot. It fetches them
    from a URL in the environment.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock, http: HttpClient) -> None:
        self._environ = environ
        self._clock = clock
        self._http = http
        self._keys: Keys | None = None
        self._expires_at: float | None = None
        self._refreshing = asyncio.Lock()
        if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
            token = environ.get("AWS_SESSION_TOKEN") or None
            self._keys = Keys(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], token)

    async def __call__(self) -> Keys | None:
        url = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if (self._keys is not None and self._expires_at is None) or url is None:
            return self._keys
        if self._left_s() < REFRESH_BEFORE_S:
            async with self._refreshing:
                left_s = self._left_s()
                if left_s < REFRESH_BEFORE_S:  # no other call has replaced them meanwhile
                    try:
                        await self._refresh(url)
                    except (HttpError, msgspec.MsgspecError) as error:
                        if left_s <= 0:
                            raise Unavailable(f"credentials: {type(error).__name__}") from error
        return self._keys

    def _left_s(self) -> float:
        return (self._expires_at or 0.0) - self._clock.now()

    async def _refresh(self, url: str) -> None:
        headers = {"Authorization": self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")}
        request = Request("GET", url, headers, None, is_repeatable=True)
        response = await self._http.request(request, max_bytes=MAX_RESPONSE_BYTES)
        issued = msgspec.json.decode(response.body, type=_Issued)
        self._keys = Keys(issued.access_key_id, issued.secret_access_key, issued.token)
        self._expires_at = issued.expiration.timestamp()
