"""The credentials of a function's role, from where Lambda puts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
import urllib3

from ..gateway.ports import Clock, Unavailable
from .sigv4 import Credentials

CredentialsProvider = Callable[[], Credentials | None]
"""Is asked for each call, since what it gives expires; None where there are none. May raise Unavailable."""

REFRESH_BEFORE_S = 10 * 60.0
"""So long before they expire credentials are replaced; if that fails they are used to the end."""
TIMEOUT_S = 2.0


class Keys(msgspec.Struct, frozen=True):
    """What requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None = None


class _Answer(msgspec.Struct, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str
    expiration: datetime


class FunctionCredentials:
    """A CredentialsProvider. Keys in the environment last as long as the process.

    A function that starts from a snapshot has none there, since they would be as old as that: it asks an address that
    the environment names.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """

    def __init__(self, environ: Mapping[str, str], clock: Clock) -> None:
        self._environ = environ
        self._clock = clock
        self._keys: Keys | None = None
        self._expires_at: float | None = None
        if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
            token = environ.get("AWS_SESSION_TOKEN") or None
            self._keys = Keys(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], token)

    def __call__(self) -> Keys | None:
        url = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if (self._keys is not None and self._expires_at is None) or url is None:
            return self._keys
        left_s = (self._expires_at or 0.0) - self._clock.now()
        if left_s < REFRESH_BEFORE_S:
            try:
                self._refresh(url)
            except (urllib3.exceptions.HTTPError, msgspec.MsgspecError) as error:
                if left_s <= 0:
                    raise Unavailable(f"credentials: {type(error).__name__}") from error
        return self._keys

    def _refresh(self, url: str) -> None:
        headers = {"Authorization": self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")}
        answer = urllib3.request("GET", url, headers=headers, timeout=TIMEOUT_S, retries=2)
        told = msgspec.json.decode(answer.data, type=_Answer)
        self._keys = Keys(told.access_key_id, told.secret_access_key, told.token)
        self._expires_at = told.expiration.timestamp()
