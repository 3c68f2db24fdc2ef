"""Makes requests within their time limits, and repeats one that found its kept connection dead."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping

import msgspec

from ..gateway.errors import HttpError, HttpFailure
from ..gateway.ports import Clock
from .connection import Connection
from .pool import Host, Pool
from .reader import Response, ResponseReader
from .url import parse_url

MAX_ERROR_BYTES = 16 * 1024
"""Read of the body of a status other than 2xx, where the caller wants its beginning alone."""
ERROR_BODY_S = 0.2
"""Longest wait for that beginning: the status is what counts."""

_LINE_BREAK = re.compile(r"[\r\n\x00]")


class Timeouts(msgspec.Struct, frozen=True):
    """In seconds: for the connection, for the first byte of the response from then on, and for everything together."""

    connect_s: float
    first_byte_s: float
    total_s: float


class Request(msgspec.Struct, frozen=True):
    """`headers` are sent as they are, beside Host, Accept-Encoding and Content-Length.

    A request that `is_repeatable` does no harm when it arrives twice: it is sent again at once, on a new connection,
    where a kept one ended before the first byte of a response.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    is_repeatable: bool = False


class Client:
    """Requests side by side, over kept connections: any number, or `max_at_once`. All calls belong on one event loop.

    No proxy, no ~/.netrc, no cookies, no redirects: nothing of the surroundings matters but the system's certificates.
    """

    def __init__(
        self,
        clock: Clock,
        timeouts: Timeouts,
        *,
        idle_s: float,
        max_at_once: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.pool = Pool(clock, idle_s=idle_s, tls=tls)
        self._timeouts = timeouts
        self._turns = asyncio.Semaphore(max_at_once) if max_at_once is not None else None

    async def request(self, request: Request, *, max_bytes: int, whole_errors: bool = True) -> Response:
        """Make a request and return its response. Raises HttpError.

        The body may have `max_bytes`. Without `whole_errors`, of a status other than 2xx only the part of the body is
        read that comes at once.
        """
        url = parse_url(request.url)
        host = self.pool.host(url.origin)
        data = _encode(request, host.origin.host, url.target)
        ends_at = asyncio.get_running_loop().time() + self._timeouts.total_s
        if self._turns is None:
            return await self._request(request, host, data, ends_at, max_bytes, whole_errors)
        try:
            async with asyncio.timeout_at(ends_at):
                await self._turns.acquire()
        except TimeoutError as error:
            raise HttpError(f"not within {self._timeouts.total_s:g} s", HttpFailure.TIMEOUT) from error
        try:
            return await self._request(request, host, data, ends_at, max_bytes, whole_errors)
        finally:
            self._turns.release()

    async def _request(
        self, request: Request, host: Host, data: bytes, ends_at: float, max_bytes: int, whole_errors: bool
    ) -> Response:
        loop = asyncio.get_running_loop()
        max_error_bytes = None if whole_errors else MAX_ERROR_BYTES
        # The end of a connection used a moment ago may have come since: the event loop has not seen it yet.
        connection = host.take_idle(looks_at_all=not request.is_repeatable)
        while True:
            if connection is None:
                left_s = ends_at - loop.time()
                connection = await self._connect(host, left_s)
            reader = ResponseReader(max_bytes=max_bytes, max_error_bytes=max_error_bytes)
            try:
                response = await _Exchange(connection, reader, self._timeouts, ends_at).run(data)
            except HttpError:
                if not (connection.is_stale and request.is_repeatable):
                    raise
                connection = None
                continue
            host.give_back(connection)
            return response

    async def _connect(self, host: Host, left_s: float) -> Connection:
        if left_s <= self._timeouts.connect_s:
            try:
                return await host.connect(left_s)
            except HttpError as error:
                if error.failure is HttpFailure.TIMEOUT:
                    raise HttpError(f"not within {self._timeouts.total_s:g} s", HttpFailure.TIMEOUT) from error
                raise
        return await host.connect(self._timeouts.connect_s)

    async def aclose(self) -> None:
        """Close the kept connections."""
        self.pool.close()
        await asyncio.sleep(0)


class _Exchange:
    """One request on one connection, as a future with a single timer."""

    __slots__ = ("_connection", "_ends_at", "_future", "_loop", "_reader", "_timeouts", "_timer")

    def __init__(self, connection: Connection, reader: ResponseReader, timeouts: Timeouts, ends_at: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._reader = reader
        self._timeouts = timeouts
        self._ends_at = ends_at
        self._future: asyncio.Future[Response] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, data: bytes) -> Response:
        first_byte_at = self._loop.time() + self._timeouts.first_byte_s
        self._timer = self._loop.call_at(min(first_byte_at, self._ends_at), self._on_time)
        self._reader.on_head = self._on_head
        try:
            self._connection.send(data, self._reader, self)
            return await self._future
        except asyncio.CancelledError:
            self._connection.drop()
            raise
        finally:
            self._timer.cancel()
            self._reader.on_head = None  # no cycle keeps the body after this

    def on_response(self, connection: Connection, response: Response) -> None:
        if not self._future.done():
            self._future.set_result(response)

    def on_failure(self, connection: Connection, error: HttpError) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def _on_head(self) -> None:
        """Wait only a moment for a body where its beginning suffices."""
        if self._reader.may_be_cut and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_at(min(self._loop.time() + ERROR_BODY_S, self._ends_at), self._on_time)

    def _on_time(self) -> None:
        if self._future.done():  # the response came in the same turn of the event loop
            return
        connection = self._connection
        if self._reader.may_be_cut:
            connection.cut()
            return
        if self._reader.has_begun and self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._on_time)
            return
        limit_s = self._timeouts.total_s if self._loop.time() >= self._ends_at else self._timeouts.first_byte_s
        connection.drop()
        self.on_failure(connection, HttpError(f"not within {limit_s:g} s", HttpFailure.TIMEOUT))


def _encode(request: Request, host: str, target: str) -> bytes:
    headers = request.headers
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if _LINE_BREAK.search("".join(lines)):
        raise ValueError("a header has a line break in it")
    first = f"{request.method} {target} HTTP/1.1"
    if "Host" not in headers:
        first = f"{first}\r\nHost: {host}"
    body = request.body
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    head = "\r\n".join([first, *lines, f"Accept-Encoding: gzip, deflate\r\n{length}\r\n"])
    return head.encode("latin-1", "replace") + (body or b"")
