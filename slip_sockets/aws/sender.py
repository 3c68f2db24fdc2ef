"""Sends many small requests to API Gateway's management API, over connections that are kept.

`batch` decides, this module drives: by callbacks instead of a coroutine and a task for each request, since the
processor time of a fan-out goes into posting.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import urllib.parse
from collections.abc import Callable, Sequence

import msgspec

from ..gateway.errors import HttpError
from ..gateway.ports import Clock
from ..gateway.values import Outcome
from ..http.connection import Connection
from ..http.pool import Host, Pool
from ..http.reader import Response, ResponseReader
from ..http.url import parse_url
from .batch import Attempt, Batch, Patience
from .rate_control import RateControl
from .sigv4 import Signer

REQUESTS_PER_CONNECTION = 8
"""Another connection is opened where there are more requests than this for each: a TLS handshake costs more."""
FEW_CONNECTIONS = 4
"""That are opened for however few requests: a handshake takes longer than a request."""
IDLE_CONNECTION_S = 20.0
"""API Gateway's own idle limit for kept connections is not documented; a handshake after 20 s costs little."""
MAX_BODY_BYTES = 64 * 1024
"""The management API's responses have a few hundred bytes."""
MAX_REASON_LENGTH = 300

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+=*")


class Limits(msgspec.Struct, frozen=True):
    """How patient a sender is. `stop_before_s` before its time is over it begins nothing new; `return_before_s` before
    it, it returns, and counts the requests in flight as unsent."""

    patience: Patience = msgspec.field(default_factory=Patience)
    connect_timeout_s: float = 2.0
    idle_s: float = IDLE_CONNECTION_S
    stop_before_s: float = 0.5
    return_before_s: float = 0.02
    tick_s: float = 0.01


class BatchSender:
    """Sends to one stage's `management_url`, with `tls` or else, for https, the system's certificates.

    Connections are kept from one call to the next, all of which must run on the same event loop. `close` ends them.
    """

    def __init__(
        self, management_url: str, clock: Clock, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        try:
            url = parse_url(management_url)
        except HttpError as error:
            raise ValueError(str(error)) from error
        self.limits = limits or Limits()
        self.clock = clock
        self.path = f"{url.target.rstrip('/')}/@connections/"
        self.rate = RateControl()
        self._pool = Pool(clock, idle_s=self.limits.idle_s, tls=tls)
        self.api = self._pool.host(url.origin)

    @property
    def host(self) -> str:
        """As the requests are signed for it."""
        return self.api.origin.host

    async def send(
        self,
        method: str,
        connection_ids: Sequence[str],
        body: bytes | None,
        signer: Signer,
        *,
        until: float,
        on_done: Callable[[bytes], None] | None = None,
    ) -> Outcome:
        """Send a request for each connection id and return by `until` (Unix seconds, may be infinite).

        `on_done` gets the body of each 2xx, which is done; 410 is gone; 429, 5xx, no response and missing permissions
        are tried again; others are refused. To GET, 400 is gone too: no connection has such an id.
        """
        if not connection_ids:
            return Outcome()
        return await _Drive(self, method, connection_ids, body, signer, until, on_done).run()

    def close(self) -> None:
        self._pool.close()


class _Drive:
    """One call of `send`."""

    def __init__(
        self,
        sender: BatchSender,
        method: str,
        connection_ids: Sequence[str],
        body: bytes | None,
        signer: Signer,
        until: float,
        on_done: Callable[[bytes], None] | None,
    ) -> None:
        self._limits = limits = sender.limits
        self._api: Host = sender.api
        self._clock = sender.clock
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        now = self._loop.time()
        left_s = until - sender.clock.now()
        self._return_at = now + left_s - limits.return_before_s
        sender.rate.resume(now)
        stop_at = now + left_s - limits.stop_before_s
        self._batch = Batch(connection_ids, sender.rate, limits.patience, now=now, stop_at=stop_at)
        # What is the same for all requests:
        self._signer = signer
        self._method = method
        self._on_done = on_done
        self._path = sender.path
        self._canonical_path = urllib.parse.quote(sender.path, safe="/~")  # SigV4 encodes each segment once more
        self._body = body or b""
        self._body_sha256 = hashlib.sha256(self._body).hexdigest()
        length = f"Content-Length: {len(self._body)}\r\n" if body is not None else ""
        self._last_lines = f"User-Agent: slip-sockets\r\n{length}\r\n"
        # What is in flight:
        self._attempts: dict[Connection, Attempt] = {}
        self._connections: dict[Attempt, Connection] = {}
        self._openings: dict[Attempt, asyncio.Task[None]] = {}

    async def run(self) -> Outcome:
        try:
            self._tick()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            openings = list(self._openings.values())
            for attempt in self._batch.abandon():
                self._drop(attempt)
            for opening in openings:
                opening.cancel()
            if openings:
                await asyncio.wait(openings)
        return self._batch.outcome

    # Results

    def on_response(self, connection: Connection, response: Response) -> None:
        attempt = self._attempts.pop(connection)
        del self._connections[attempt]
        self._api.give_back(connection)
        status, now = response.status, self._loop.time()
        if status == 429 or status >= 500 or _is_unauthorized(response):
            self._batch.on_failure(attempt, now, _reason(response))
        elif status == 400 and self._method == "GET":  # there is nothing but the id that may be wrong
            self._batch.on_response(attempt, now, 410)
        else:
            if self._on_done is not None and 200 <= status < 300:
                self._on_done(response.body)
            self._batch.on_response(attempt, now, status, _reason(response) if status >= 300 else "")
        self._pump(now)

    def on_failure(self, connection: Connection, error: HttpError) -> None:
        attempt = self._attempts.pop(connection)
        del self._connections[attempt]
        now = self._loop.time()
        if connection.is_stale:
            self._batch.again(attempt)
        else:
            self._batch.on_failure(attempt, now, str(error)[:MAX_REASON_LENGTH])
        self._pump(now)

    # Time

    def _tick(self) -> None:
        now = self._loop.time()
        if now >= self._return_at:
            self._finish()
            return
        self._timer = self._loop.call_later(self._limits.tick_s, self._tick)
        for attempt in self._batch.overdue(now):
            self._drop(attempt)
            self._batch.on_failure(attempt, now, f"no response within {self._limits.patience.timeout_s:g} s")
        self._batch.tick(now)
        self._pump(now)

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    # Requests

    def _pump(self, now: float) -> None:
        """Send what may go out now."""
        batch = self._batch
        while unfinished := batch.unfinished:
            connection = self._api.take_idle()
            if connection is None and batch.in_flight >= max(FEW_CONNECTIONS, unfinished // REQUESTS_PER_CONNECTION):
                break
            attempt = batch.begin(now)
            if attempt is None:
                if connection is not None:
                    self._api.give_back(connection)
                break
            if connection is not None:
                self._write(attempt, connection)
            else:
                self._openings[attempt] = self._loop.create_task(self._open(attempt))
        if batch.is_over:
            self._finish()

    async def _open(self, attempt: Attempt) -> None:
        try:
            connection = await self._api.connect(self._limits.connect_timeout_s)
        except HttpError as error:
            del self._openings[attempt]
            now = self._loop.time()
            self._batch.on_failure(attempt, now, f"no connection: {error}"[:MAX_REASON_LENGTH])
            self._pump(now)
            return
        del self._openings[attempt]
        self._batch.restart(attempt, self._loop.time())
        self._write(attempt, connection)

    def _write(self, attempt: Attempt, connection: Connection) -> None:
        name = _encoded(attempt.connection_id)
        canonical_path = self._canonical_path + name.replace("%", "%25")
        signed = self._signer.headers(self._method, canonical_path, self._body_sha256, now=self._clock.now())
        head = f"{self._method} {self._path}{name} HTTP/1.1\r\n{signed}{self._last_lines}"
        self._attempts[connection] = attempt
        self._connections[attempt] = connection
        connection.send(head.encode() + self._body, ResponseReader(max_bytes=MAX_BODY_BYTES), self)

    def _drop(self, attempt: Attempt) -> None:
        if (connection := self._connections.pop(attempt, None)) is not None:
            del self._attempts[connection]
            connection.drop()
        if (opening := self._openings.pop(attempt, None)) is not None:
            opening.cancel()


def _encoded(connection_id: str) -> str:
    """As botocore encodes it; and nothing but dots would be a step in the path."""
    if _PLAIN_ID.fullmatch(connection_id):  # `quote` takes a tenth of a request's time
        return connection_id.replace("=", "%3D")
    if not connection_id.strip("."):
        return connection_id.replace(".", "%2E")
    return urllib.parse.quote(connection_id, safe="", errors="replace")


def _is_unauthorized(response: Response) -> bool:
    """Tell whether credentials or permissions are wrong, and not the request: these may be mended."""
    if response.status != 403:
        return False
    name = response.headers.get("x-amzn-errortype", "")
    return bool(name) and not name.startswith("ForbiddenException")


def _reason(response: Response) -> str:
    """Return what an error says, such as `403 ForbiddenException: Forbidden`."""
    name = response.headers.get("x-amzn-errortype", "").partition(":")[0]
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = None
    message = body.get("message") or body.get("Message") if isinstance(body, dict) else None
    reason = f"{response.status} {name}".rstrip()
    return (f"{reason}: {message}" if isinstance(message, str) else reason)[:MAX_REASON_LENGTH]
