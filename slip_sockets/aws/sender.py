"""Sends many small requests to API Gateway's management API: one event loop, many connections that are kept.

Callbacks instead of a coroutine and a task for each request: posting is what the CPU time of a fan-out goes into.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import itertools
import json
import random
import socket
import ssl
import urllib.parse
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..gateway.ports import Clock, Outcome
from .http1 import Answer, AnswerReader, BadAnswer
from .pace import Pace
from .sigv4 import Signer
from .tls import tls_context

REQUESTS_PER_CONNECTION = 8
"""Another connection is opened where so many requests are there for each: a TLS handshake costs more than they do."""
FEW_CONNECTIONS = 4
SEEMS_SLOW_AFTER = 2
"""So many failures in a row are rarely the quota's, at a pace that keeps to it."""
RESOLVED_FOR_S = 60.0
MAX_REASON_LENGTH = 300
_BUFFER_BYTES = 16 * 1024
_FINE = 0.85
_MEMORY = 50
"""Of so many answers the moving average says whether sending goes well for others, which is from _FINE on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a sender is. `stop_before_s` before its time is over it begins nothing new.

    A connection id is given up after `attempts` that failed while others succeeded, over `give_up_after_s`; all are
    given up where nothing has succeeded for `stall_s`.
    """

    connect_timeout_s: float = 2.0
    timeout_s: float = 5.0
    idle_s: float = 20.0
    attempts: int = 6
    give_up_after_s: float = 1.5
    stall_s: float = 2.5
    first_pause_s: float = 0.05
    longest_pause_s: float = 1.0
    stop_before_s: float = 0.5
    return_before_s: float = 0.02
    tick_s: float = 0.01


class Sender:
    """Sends to one stage's `management_url`, with `tls` or else, for https, the system's certificates.

    Connections are kept from one call to the next, all of which must run on the same event loop. `close` ends them.
    """

    def __init__(
        self, management_url: str, clock: Clock, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        url = urllib.parse.urlsplit(management_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("not an http or https URL")
        self._is_tls = url.scheme == "https"
        self._tls = tls
        self._name = url.hostname
        own_port = 443 if self._is_tls else 80
        self._port = url.port or own_port
        name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        self.host = name if self._port == own_port else f"{name}:{self._port}"
        """As the requests are signed for it."""
        self.path = f"{url.path.rstrip('/')}/@connections/"
        self.clock = clock
        self.limits = limits or Limits()
        self.pace = Pace()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))  # of all connections: each reads it empty at once
        self._idle: list[_Connection] = []  # the last is the one that was used last
        self._addresses: deque[tuple[str, int]] = deque()
        self._resolved_at = 0.0

    async def send(
        self, method: str, connection_ids: Sequence[str], body: bytes | None, signer: Signer, *, until: float
    ) -> Outcome:
        """Send a request for each connection id and return by `until` (Unix seconds, may be infinite).

        An answer 2xx is done; 410 is gone; 429, 5xx, no answer and missing permissions are tried again; others are
        refused.
        """
        if not connection_ids:
            return Outcome()
        self._drop_old()
        for _ in range(3):  # let the loop see what ended since the last call: sockets, then TLS, then protocols
            await asyncio.sleep(0)
        return await _Batch(self, method, connection_ids, body, signer, until).run()

    def close(self) -> None:
        for connection in self._idle:
            connection.drop()
        self._idle.clear()

    def take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
        return None

    @property
    def has_idle(self) -> bool:
        while self._idle and not self._idle[-1].is_usable:
            self._idle.pop()
        return bool(self._idle)

    def give_back(self, connection: _Connection) -> None:
        connection.idle_since = self.clock.now()
        connection.is_reused = True
        self._idle.append(connection)

    async def connect(self) -> _Connection:
        """Raises OSError or TimeoutError."""
        async with asyncio.timeout(self.limits.connect_timeout_s):
            address = await self._address()
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(self._buffer),
                    *address,
                    ssl=self._tls_context(),
                    server_hostname=self._name if self._is_tls else None,
                )
            except BaseException:
                if address in self._addresses:
                    self._addresses.remove(address)
                raise
        return connection

    async def _address(self) -> tuple[str, int]:
        """Return the host's addresses in turn. One that failed is left out until the name is resolved again."""
        now = self.clock.now()
        if not self._addresses or not 0 <= now - self._resolved_at < RESOLVED_FOR_S:
            found = await asyncio.get_running_loop().getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
            self._addresses = deque(dict.fromkeys((str(info[4][0]), self._port) for info in found))
            self._resolved_at = now
        self._addresses.rotate(-1)
        return self._addresses[-1]

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._is_tls and self._tls is None:
            self._tls = tls_context()
        return self._tls if self._is_tls else None

    def _drop_old(self) -> None:
        """A function is frozen between events: what a connection has missed meanwhile shows too late."""
        now = self.clock.now()
        kept = []
        for connection in self._idle:
            if 0 <= now - connection.idle_since <= self.limits.idle_s:
                kept.append(connection)
            else:
                connection.drop()
        self._idle = kept


class _Connection(asyncio.BufferedProtocol):
    """One request at a time."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._batch: _Batch | None = None
        self._request: _Request | None = None
        self.is_reused = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing() and self._batch is None

    def send(self, batch: _Batch, request: _Request, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101
        self._batch, self._request, self._reader = batch, request, AnswerReader()
        self._transport.write(data)

    def drop(self) -> None:
        """Close, and tell nobody."""
        self._batch = self._request = self._reader = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._reader is None:  # nobody has asked
            self.drop()
            return
        try:
            answer = self._reader.feed(bytes(self._buffer[:nbytes]))
        except BadAnswer as error:
            self._fail(str(error))
            return
        if answer is not None:
            self._finish(answer)

    def eof_received(self) -> None:
        if self._reader is not None:
            try:
                answer = self._reader.end()
            except BadAnswer as error:
                self._fail(str(error))
            else:
                self._finish(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(_reason(exc) if exc else "the connection was closed before the answer")
        self._transport = None

    def _finish(self, answer: Answer) -> None:
        batch, request = self._batch, self._request
        assert batch is not None  # noqa: S101
        assert request is not None  # noqa: S101
        self._batch = self._request = self._reader = None
        if not answer.keeps_alive:
            self.drop()
        batch.on_answer(request, answer, self if answer.keeps_alive else None)

    def _fail(self, reason: str) -> None:
        batch, request, reader = self._batch, self._request, self._reader
        self.drop()
        if batch is not None and request is not None and reader is not None:
            batch.on_broken(request, reason, was_stale=self.is_reused and not reader.has_begun)


class _Request:
    """A request for one connection id, with all its attempts. `strikes` failed while sending went well for others."""

    __slots__ = (
        "connection",
        "connection_id",
        "epoch",
        "failed_at",
        "failures",
        "needs_new_connection",
        "opening",
        "sent_at",
        "strikes",
    )

    def __init__(self, connection_id: str) -> None:
        self.connection_id = connection_id
        self.connection: _Connection | None = None
        self.opening: asyncio.Task[None] | None = None
        self.epoch = 0
        self.sent_at = 0.0
        self.failures = 0
        self.strikes = 0
        self.failed_at = 0.0  # the first time
        self.needs_new_connection = False


class _Batch:
    """One call of `send`."""

    def __init__(
        self,
        sender: Sender,
        method: str,
        connection_ids: Sequence[str],
        body: bytes | None,
        signer: Signer,
        until: float,
    ) -> None:
        self._sender = sender
        self._limits = sender.limits
        self._pace = sender.pace
        self._clock = sender.clock
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._outcome = Outcome()
        self._signer = signer
        self._method = method
        self._wire_path = sender.path
        # SigV4 encodes each segment of what is sent, other than S3, once more.
        self._canonical_path = urllib.parse.quote(sender.path, safe="/~")
        self._body = body or b""
        self._body_sha256 = hashlib.sha256(self._body).hexdigest()
        length = f"Content-Length: {len(self._body)}\r\n" if body is not None else ""
        self._last_lines = f"User-Agent: slip-sockets\r\n{length}\r\n"
        self._fresh = iter(connection_ids)
        self._fresh_count = len(connection_ids)
        self._due: deque[_Request] = deque()  # to be tried again now
        self._waiting: list[tuple[float, int, _Request]] = []  # a heap: when to try again
        self._numbers = itertools.count()
        self._in_flight: dict[_Request, None] = {}  # those that began first are first
        now = self._loop.time()
        left_s = until - self._clock.now()
        self._stop_at = now + left_s - self._limits.stop_before_s
        self._return_at = now + left_s - self._limits.return_before_s
        self._was_due = False
        self._is_stopped = False  # nothing new begins: time is over, or all is stalled
        self._is_stalled = False
        self._succeeded_at = now
        self._has_succeeded = False
        self._failures_since = 0
        self._last_reason = ""
        self._health = 1.0
        self._abandoned: list[_Request] = []
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> Outcome:
        self._pace.resume(self._loop.time())
        try:
            self._tick()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            under_way = [*self._abandoned, *self._in_flight]
            for request in under_way:
                _abandon(request)
            openings = [request.opening for request in under_way if request.opening is not None]
            if openings:
                await asyncio.wait(openings)
        return self._outcome

    # What happens to requests

    def on_answer(self, request: _Request, answer: Answer, connection: _Connection | None) -> None:
        del self._in_flight[request]
        request.connection = None
        if connection is not None:
            self._sender.give_back(connection)
        status = answer.status
        if status == 429 or status >= 500 or _is_unauthorized(answer):
            self._fail(request, _told(answer))
        else:
            now = self._loop.time()
            self._pace.record(now, request.epoch, is_good=True)
            self._health += (1 - self._health) / _MEMORY
            self._succeeded_at = now
            self._has_succeeded = True
            self._failures_since = 0
            if status < 300:
                self._outcome.done += 1
            elif status == 410:
                self._outcome.gone.append(request.connection_id)
            else:
                self._outcome.refused[request.connection_id] = _told(answer)
        self._pump()

    def on_broken(self, request: _Request, reason: str, *, was_stale: bool) -> None:
        """There was no whole answer. `was_stale`: on a kept connection, which may have ended before the request."""
        del self._in_flight[request]
        request.connection = None
        if was_stale and not request.needs_new_connection and not self._is_stopped:
            request.needs_new_connection = True
            self._due.append(request)
        else:
            self._fail(request, reason)
        self._pump()

    def _fail(self, request: _Request, reason: str) -> None:
        now = self._loop.time()
        limits = self._limits
        if not request.failures:
            request.failed_at = now
        request.failures += 1
        self._last_reason = reason
        self._failures_since += 1
        was_fine = self._has_succeeded and self._health >= _FINE
        # What seems to be a connection's own failing says nothing about the others.
        if not request.strikes and (request.failures < SEEMS_SLOW_AFTER or not self._fresh_count):
            self._pace.record(now, request.epoch, is_good=False)
            self._health -= self._health / _MEMORY
        request.strikes += was_fine
        is_given_up = request.strikes >= limits.attempts and now - request.failed_at >= limits.give_up_after_s
        if is_given_up or self._is_stalled:
            self._outcome.failed[request.connection_id] = reason
        elif self._is_stopped:
            self._outcome.unsent.append(request.connection_id)
        else:
            pause_s = min(limits.first_pause_s * 2 ** (request.failures - 1), limits.longest_pause_s)
            due = now + pause_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not cryptography
            heapq.heappush(self._waiting, (due, next(self._numbers), request))

    # What happens in time

    def _tick(self) -> None:
        if self._over.done():
            return
        now = self._loop.time()
        self._timer = self._loop.call_later(self._limits.tick_s, self._tick)
        while self._in_flight:
            request = next(iter(self._in_flight))
            if now - request.sent_at < self._limits.timeout_s:
                break
            _abandon(request)
            del self._in_flight[request]
            self._fail(request, f"no answer within {self._limits.timeout_s:g} s")
        while self._waiting and self._waiting[0][0] <= now:
            self._due.append(heapq.heappop(self._waiting)[2])
        if now >= self._return_at:
            self._stop()
            for request in self._in_flight:
                _abandon(request)
                self._outcome.unsent.append(request.connection_id)
            self._abandoned = list(self._in_flight)
            self._in_flight.clear()
        elif now >= self._stop_at:
            self._stop()
        elif not self._is_stopped and self._seems_stalled(now):
            self._is_stalled = True
            self._stop()
        self._pump()

    def _seems_stalled(self, now: float) -> bool:
        """A few failures of the last one or two that are left may be bad luck; but not for long."""
        since_s = now - self._succeeded_at
        limits = self._limits
        return (self._failures_since >= limits.attempts and since_s >= limits.stall_s) or (
            self._failures_since > 1 and since_s >= 3 * limits.stall_s
        )

    def _stop(self) -> None:
        """Begin nothing new. What is under way may still end well."""
        if self._is_stopped:
            return
        self._is_stopped = True
        requests = [*self._due, *(request for _, _, request in self._waiting)]
        rest = [*(request.connection_id for request in requests), *self._fresh]
        self._due.clear()
        self._waiting.clear()
        self._fresh_count = 0
        if self._is_stalled:
            self._outcome.failed |= dict.fromkeys(rest, self._last_reason)
        else:
            self._outcome.unsent += rest

    def _pump(self) -> None:
        """Begin what may begin now."""
        now = self._loop.time()
        while self._due or self._fresh_count:
            in_flight = len(self._in_flight)
            if in_flight >= self._pace.window or now >= self._stop_at:
                break
            if not self._sender.has_idle:
                pending = len(self._due) + self._fresh_count + in_flight
                if in_flight >= max(FEW_CONNECTIONS, pending // REQUESTS_PER_CONNECTION):
                    break
            if not self._pace.take(now):
                break
            # By turns: neither what fails nor what is new keeps the other back.
            self._was_due = bool(self._due) and not (self._was_due and self._fresh_count)
            if self._was_due:
                request = self._due.popleft()
            else:
                request = _Request(next(self._fresh))
                self._fresh_count -= 1
            self._begin(request, now)
        if not (self._in_flight or self._due or self._fresh_count or self._waiting or self._over.done()):
            self._over.set_result(None)

    def _begin(self, request: _Request, now: float) -> None:
        request.epoch = self._pace.epoch
        request.sent_at = now
        self._in_flight[request] = None
        connection = None if request.needs_new_connection else self._sender.take_idle()
        if connection is not None:
            self._write(request, connection)
        else:
            request.opening = self._loop.create_task(self._open(request))

    async def _open(self, request: _Request) -> None:
        try:
            connection = await self._sender.connect()
        except (OSError, ValueError) as error:  # the latter for names that cannot be resolved
            del self._in_flight[request]
            request.opening = None
            reason = _reason(error) or f"not within {self._limits.connect_timeout_s:g} s"
            self._fail(request, f"no connection: {reason}")
            self._pump()
            return
        request.opening = None
        request.needs_new_connection = False
        del self._in_flight[request]  # and in again, as the youngest
        self._in_flight[request] = None
        request.sent_at = self._loop.time()
        self._write(request, connection)

    def _write(self, request: _Request, connection: _Connection) -> None:
        name = _encoded(request.connection_id)
        canonical_path = self._canonical_path + name.replace("%", "%25")
        signed = self._signer.headers(self._method, canonical_path, self._body_sha256, now=self._clock.now())
        head = f"{self._method} {self._wire_path}{name} HTTP/1.1\r\n{signed}{self._last_lines}"
        request.connection = connection
        connection.send(self, request, head.encode() + self._body)


def _abandon(request: _Request) -> None:
    if request.connection is not None:
        request.connection.drop()
    if request.opening is not None:
        request.opening.cancel()


def _encoded(connection_id: str) -> str:
    """As botocore encodes it; and nothing but dots would be a step in the path."""
    if not connection_id.strip("."):
        return connection_id.replace(".", "%2E")
    return urllib.parse.quote(connection_id, safe="", errors="replace")


def _is_unauthorized(answer: Answer) -> bool:
    """Whether credentials or permissions are wrong, and not the request: they may be mended."""
    name = answer.headers.get(b"x-amzn-errortype", b"")
    return answer.status == 403 and bool(name) and not name.startswith(b"ForbiddenException")


def _told(answer: Answer) -> str:
    """Return what an error says, such as `403 ForbiddenException: Forbidden`."""
    name = answer.headers.get(b"x-amzn-errortype", b"").decode("latin-1").partition(":")[0]
    try:
        decoded = json.loads(answer.body)
    except ValueError:
        decoded = None
    message = decoded.get("message") or decoded.get("Message") if isinstance(decoded, dict) else None
    told = f"{answer.status} {name}".rstrip()
    return (f"{told}: {message}" if isinstance(message, str) else told)[:MAX_REASON_LENGTH]


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return str(error)[:MAX_REASON_LENGTH]
