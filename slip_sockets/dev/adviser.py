"""Logs what is wrong with the backend, and how to fix it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..apigateway.requests import ProxyEvent, ProxyResponse
from ..gateway.deferred import Deferred
from ..gateway.errors import BackendFailed, NotAccepted
from ..gateway.observer import current_event
from ..gateway.ports import Checkpoint, HttpClient
from ..gateway.values import Done, HttpResponse
from ..gateway.worker import DeadLetter, Retry, Worker
from ..protocol.errors import SlipSocketsError
from ..protocol.events import Report
from .advice import TOO_SLOW, Advice, advise
from .edge import Function

log = logging.getLogger("slip_sockets.dev")


@dataclass(slots=True)
class _Event:
    """What is known about the backend since an event began."""

    is_called: bool = False
    error: BackendFailed | None = None
    not_accepted: NotAccepted | None = None
    is_broken_off: bool = False


_current: ContextVar[_Event | None] = ContextVar("current", default=None)


class Adviser:
    """An Observer, and what it must be put around to know when an event is over and when a call was broken off.

    The same advice is logged once, until the backend succeeds or something else is wrong.
    """

    def __init__(self) -> None:
        self._last: Advice | None = None

    def function(self, function: Function) -> Function:
        async def advised(event: ProxyEvent) -> ProxyResponse:
            with self.watching():
                return await function(event)

        return advised

    def worker(self, worker: Worker) -> Worker:
        return _AdvisedWorker(worker, self)

    def client(self, client: HttpClient) -> HttpClient:
        return _WatchedClient(client)

    @contextmanager
    def watching(self) -> Iterator[None]:
        event = _Event()
        token = _current.set(event)
        try:
            yield
        finally:
            _current.reset(token)
            if event.is_called:
                self._log(advise(event.error, event.not_accepted, is_broken_off=event.is_broken_off))

    def _log(self, advice: Advice | None) -> None:
        if advice is not None and advice != self._last:
            log.warning("%s. %s", advice.problem, advice.fix)
        self._last = advice

    # Observer

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        if (event := _current.get()) is None:
            return
        event.is_called, event.error = True, error
        if error is None and not event.is_broken_off and seconds > BACKEND_TIMEOUT_S:
            handled = current_event.get()
            log.warning(
                "connection %s: your backend took %.1f s. On AWS this call fails after %g s. %s",
                handled and handled.connection_id,
                seconds,
                BACKEND_TIMEOUT_S,
                TOO_SLOW,
            )

    def failed(self, error: SlipSocketsError) -> None:
        if (event := _current.get()) is not None and isinstance(error, NotAccepted):
            event.not_accepted = error

    def published(self, report: Report) -> None:
        pass

    def delivered(self, *, sent: int, gone: int) -> None:
        pass


class _WatchedClient:
    """The port HttpClient."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpResponse:
        try:
            return await self._client.post(url, headers, body, max_bytes=max_bytes)
        except asyncio.CancelledError:
            if (event := _current.get()) is not None:
                event.is_broken_off = True
            raise


class _AdvisedWorker:
    """A Worker."""

    def __init__(self, worker: Worker, adviser: Adviser) -> None:
        self._worker = worker
        self._adviser = adviser

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        with self._adviser.watching():
            return await self._worker.attempt(message, number, checkpoint, deadline=deadline)
