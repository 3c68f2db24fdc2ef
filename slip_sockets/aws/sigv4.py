"""Signature Version 4 for one host of AWS, cheap enough for thousands of requests a second.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

MANAGEMENT_SERVICE = "execute-api"
"""The service that calls of API Gateway's management API are signed for."""


class Credentials(Protocol):
    """As botocore's `get_frozen_credentials` returns them, and `credentials`."""

    @property
    def access_key(self) -> str | None: ...
    @property
    def secret_key(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...


class _Second(NamedTuple):
    """The parts that all requests of a second (Unix) share. It is replaced as a whole, since threads share a signer."""

    second: int
    key: bytes
    headers: Mapping[str, str]
    authorization: str
    lines: str
    canonical_headers: str
    string_to_sign: str


class Signer:
    """Signs requests of `service` to `host`: a name in lower case, with the port unless it is the scheme's own.

    `headers` are sent with each request, and signed; their values must have no spaces at the ends and no two in a row,
    which a signature would leave out. Parts that all requests of a day or of a second share are computed
    once.
    """

    def __init__(
        self,
        host: str,
        region: str,
        credentials: Credentials,
        service: str = MANAGEMENT_SERVICE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._host = host
        self._region = region
        self._credentials = credentials
        self._service = service
        self._fixed = headers or {}
        for name, value in self._fixed.items():
            if value != value.strip() or "  " in value:
                raise ValueError(f"{name} has spaces that a signature leaves out")
        self._key = ("", b"")  # the day, and its key
        self._now: _Second | None = None

    def headers(self, method: str, canonical_path: str, body_sha256: str, *, now: float) -> str:
        """Return the header lines, Host among them, for a request without a query that is sent at `now` (Unix seconds).

        `canonical_path` is the path as it is sent, with each segment URL-encoded once more; `body_sha256` is in hex.
        """
        prepared = self._prepared(int(now))
        return f"{prepared.lines}{_signature(prepared, method, canonical_path, body_sha256)}\r\n"

    def fields(self, method: str, canonical_path: str, body_sha256: str, *, now: float) -> dict[str, str]:
        """Return the same as a dictionary."""
        prepared = self._prepared(int(now))
        signature = _signature(prepared, method, canonical_path, body_sha256)
        return {**prepared.headers, "Authorization": prepared.authorization + signature}

    def _prepared(self, second: int) -> _Second:
        if self._now is None or self._now.second != second:
            self._now = self._prepare(second)
            return self._now
        return self._now

    def _prepare(self, second: int) -> _Second:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{date[:8]}/{self._region}/{self._service}/aws4_request"
        day, key = self._key
        if date[:8] != day:
            key = f"AWS4{self._credentials.secret_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key = (date[:8], key)
        signed = {"Host": self._host, "X-Amz-Date": date, **self._fixed}
        if self._credentials.token:
            signed["X-Amz-Security-Token"] = self._credentials.token
        names = sorted(signed, key=str.lower)
        # The empty line is the query: there is never one.
        canonical = "".join(f"{name.lower()}:{signed[name]}\n" for name in names)
        signed_names = ";".join(names).lower()
        credential = f"Credential={self._credentials.access_key}/{scope}"
        authorization = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={signed_names}, Signature="
        return _Second(
            second=second,
            key=key,
            headers=signed,
            authorization=authorization,
            lines="".join(f"{name}: {signed[name]}\r\n" for name in names) + f"Authorization: {authorization}",
            canonical_headers=f"\n\n{canonical}\n{signed_names}\n",
            string_to_sign=f"AWS4-HMAC-SHA256\n{date}\n{scope}\n",
        )


def _signature(prepared: _Second, method: str, canonical_path: str, body_sha256: str) -> str:
    canonical = f"{method}\n{canonical_path}{prepared.canonical_headers}{body_sha256}"
    text = prepared.string_to_sign + hashlib.sha256(canonical.encode()).hexdigest()
    return hmac.digest(prepared.key, text.encode(), "sha256").hex()
