"""A URL, taken apart for a request."""

from __future__ import annotations

import functools
import re
from urllib.parse import quote, urlsplit

import msgspec

from ..gateway.errors import HttpError, HttpFailure
from ..protocol.urls import ascii_name, url_problem

MAX_CALLED_URL_BYTES = 32 * 1024
"""More than a setting's: in GRIP a client's query is added, of up to 10,240 bytes, and each may become three.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class Origin(msgspec.Struct, frozen=True):
    """Where to connect. `name` is a host's name or address, without brackets, in ASCII."""

    is_tls: bool
    name: str
    port: int

    @property
    def host(self) -> str:
        """The value of the Host header: with the port unless it is the scheme's own."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == (443 if self.is_tls else 80) else f"{name}:{self.port}"


class Url(msgspec.Struct, frozen=True):
    origin: Origin
    target: str
    """Path and query, as they were set; only characters beyond ASCII are percent-encoded. Never a fragment."""


@functools.lru_cache(maxsize=64)
def parse_url(url: str) -> Url:
    """Take an http or https URL apart. A user and a password in it are ignored. Raises HttpError."""
    if problem := url_problem(url, max_bytes=MAX_CALLED_URL_BYTES):
        raise HttpError(problem, HttpFailure.INVALID_URL)
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    # urlsplit drops nothing of path and query but the fragment.
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query or url.partition("#")[0].endswith("?") else "")
    return Url(Origin(is_tls, ascii_name(parts.hostname or ""), port), _NOT_ASCII.sub(_encoded, target))


def _encoded(match: re.Match[str]) -> str:
    return quote(match[0])
