"""POSTs to the backend with urllib3, one at a time."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import urllib3
from urllib3.util.response import assert_header_parsing

from ..gateway.backend import TIMEOUT_S
from ..gateway.ports import Clock, HttpAnswer, HttpAnswerTooLarge, HttpError, HttpTimeout
from ..settings import NO_HTTP_URL, is_http_url
from .tls import tls_context

IDLE_CONNECTION_S = 1.0
"""Common servers drop an idle connection after 2 s or more; a POST into one that is being dropped would be lost."""
CHUNK_BYTES = 64 * 1024
HEADERS = {"Accept-Encoding": "gzip, deflate", "User-Agent": "slip-sockets"}


class Urllib3Client:
    """An HttpClient. `timeout_s` bounds a whole POST, from the connection to the last byte received.

    `tls` is another context than that of the functions, which trusts the system's certificates. Nothing else of the
    surroundings matters: no proxy, no ~/.netrc, no cookies.

    A kept connection may be dead when a function thaws, and only a POST into it would tell. So connections that have
    been idle by the `clock` are not used again, and urllib3 looks for a closed one before each use. A POST that fails
    is not repeated here: once a byte has been sent, nothing proves that the backend did not act on it.
    """

    def __init__(self, clock: Clock, timeout_s: float = TIMEOUT_S, *, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._idle_since = 0.0
        self._pools = urllib3.PoolManager(ssl_context=tls)
        self._pools.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        if not is_http_url(url):
            raise HttpError(NO_HTTP_URL)
        if self._clock.now() - self._idle_since > IDLE_CONNECTION_S:
            self._pools.clear()  # it stays usable
        deadline = time.monotonic() + self._timeout_s
        try:
            answer = self._pools.urlopen(
                "POST",
                url,
                body=body,
                headers=HEADERS | dict(headers),
                timeout=urllib3.Timeout(total=self._timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                is_answer = 200 <= answer.status < 300
                return HttpAnswer(answer.status, _read(answer, max_bytes) if is_answer else b"")
            finally:
                answer.close()  # unless it was read to its end: then its connection is kept already
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if time.monotonic() >= deadline:
                raise HttpTimeout(f"not within {self._timeout_s:g} s") from error
            raise HttpError(_reason(error)) from error
        finally:
            self._idle_since = self._clock.now()


def _read(raw: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    received = bytearray()
    for chunk in raw.stream(CHUNK_BYTES, decode_content=True):
        received += chunk
        if len(received) > max_bytes:
            raise HttpAnswerTooLarge(f"more than {max_bytes} bytes")
    return bytes(received)


def _reason(error: BaseException) -> str:
    """Return what the first of a chain of errors says. Others quote the URL, which may hold a password."""
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return NO_HTTP_URL
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, OSError):
        return str(error) or type(error).__name__
    return f"its answer is not HTTP ({type(error).__name__})"  # the errors about it quote it


# A socket's timeout bounds one read. A server that sends a byte now and then would never exceed it, so the read timeout
# that urllib3 sets on the socket becomes the deadline of the whole answer here.


class _BoundedReader(io.RawIOBase):
    """`is_at_end` says whether the server has closed and all it sent is read."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self.is_at_end = False
        self._sock = sock
        self._raw = raw
        timeout_s = sock.gettimeout()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left_s)
        count = self._raw.readinto(buffer)
        self.is_at_end = count == 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._reader = _BoundedReader(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        super().begin()
        if self._reader.is_at_end:  # http.client takes this for the end of the headers, and for a whole answer
            raise http.client.RemoteDisconnected("Remote end closed connection within the headers")
        # urllib3 would take what it can read, and warn in the log of the rest: with the URL, and the lines at fault.
        assert_header_parsing(self.msg)


class _HttpConnection(urllib3.connection.HTTPConnection):
    response_class = _BoundedResponse


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    response_class = _BoundedResponse


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection

    def __init__(self, *args: Any, ssl_context: ssl.SSLContext | None = None, **kwargs: Any) -> None:
        super().__init__(*args, ssl_context=ssl_context or tls_context(), **kwargs)
