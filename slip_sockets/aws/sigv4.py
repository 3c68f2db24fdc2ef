"""Signature Version 4 for one host of API Gateway, cheap enough for thousands of requests a second.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Protocol

SERVICE = "execute-api"


class Credentials(Protocol):
    """What botocore's `get_frozen_credentials` returns."""

    @property
    def access_key(self) -> str | None: ...
    @property
    def secret_key(self) -> str | None: ...
    @property
    def token(self) -> str | None: ...


class Signer:
    """Signs requests to `host`: a name in lower case, with the port unless it is the scheme's own.

    What is the same for all requests of a day, and of a second, is made once.
    """

    def __init__(self, host: str, region: str, credentials: Credentials) -> None:
        self._host = host
        self._region = region
        self._credentials = credentials
        self._day = ""
        self._second = -1
        self._key = b""
        self._headers = self._canonical_headers = self._string_to_sign = ""

    def headers(self, method: str, canonical_path: str, body_sha256: str, *, now: float) -> str:
        """Return the header lines, Host among them, for a request without a query that is sent at `now` (Unix seconds).

        `canonical_path` is the path as it is sent, with each segment URL-encoded once more; `body_sha256` is in hex.
        """
        if int(now) != self._second:
            self._prepare(int(now))
        canonical = f"{method}\n{canonical_path}{self._canonical_headers}{body_sha256}"
        text = self._string_to_sign + hashlib.sha256(canonical.encode()).hexdigest()
        return f"{self._headers}{hmac.digest(self._key, text.encode(), 'sha256').hex()}\r\n"

    def _prepare(self, second: int) -> None:
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = f"{date[:8]}/{self._region}/{SERVICE}/aws4_request"
        if date[:8] != self._day:
            key = f"AWS4{self._credentials.secret_key}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._day = key, date[:8]
        signed = {"Host": self._host, "X-Amz-Date": date}
        if self._credentials.token:
            signed["X-Amz-Security-Token"] = self._credentials.token
        names = ";".join(signed).lower()
        # The empty line is the query; both that and what follows the headers are the same for all requests.
        canonical = "".join(f"{name.lower()}:{value}\n" for name, value in signed.items())
        self._canonical_headers = f"\n\n{canonical}\n{names}\n"
        self._string_to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        credential = f"Credential={self._credentials.access_key}/{scope}"
        self._headers = f"{lines}Authorization: AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature="
        self._second = second
