"""How the synchronous publisher's sessions read responses: within a time for the whole, and past interim ones.

requests bounds only the time between two pieces, so that a server that sends a byte now and then is waited for without
end; http.client returns 103 as if it were the response, and the response itself to the next call.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


def new_session() -> requests.Session:
    """Return a session for one control API. It keeps no cookies."""
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **settings: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **settings)
        pool.ConnectionCls = _OURS.get(pool.ConnectionCls, pool.ConnectionCls)  # a SOCKS proxy's has its own
        return pool


class _Deadline(io.RawIOBase):
    """Reads from a socket as `raw` does, until its timeout has passed since now."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        timeout_s = sock.gettimeout()
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            self._socket.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Deadline(self.fp.detach(), sock))

    def begin(self) -> None:
        try:
            super().begin()
            lengths = ",".join(self.headers.get_all("Content-Length", [])).split(",")
            if len({length.strip() for length in lengths}) > 1:
                raise http.client.HTTPException("its headers have different values of Content-Length")
        except (OSError, http.client.HTTPException):  # http.client and urllib3 would leave it open
            self.close()
            raise

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 102 <= status < 200:  # http.client knows 100; 101 is the last response of HTTP
                return version, status, reason
            http.client.parse_headers(self.fp)


class _HttpConnection(HTTPConnection):
    response_class = _Response


class _HttpsConnection(HTTPSConnection):
    response_class = _Response


_OURS: dict[Any, Any] = {HTTPConnection: _HttpConnection, HTTPSConnection: _HttpsConnection}
