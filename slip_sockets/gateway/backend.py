"""Calls the application's backend: one POST for the events of a connection, and the actions that its reply asks for."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from ..protocol.events import Open, SocketEvent
from ..protocol.urls import with_path, with_query, without_secrets
from .dialects import BackendProtocol, BackendRequest, FollowUp, Opening, Reply
from .effects import Effect
from .errors import BackendFailed, BackendFault, HttpError, HttpFailure, Unavailable
from .observer import NO_OBSERVER, Observer
from .ports import Clock, HttpClient, Secrets
from .values import Connect, HttpResponse

log = logging.getLogger("slip_sockets.gateway")

MAX_RESPONSE_BYTES = 10 * 1024 * 1024

_MAY_HAVE_ARRIVED = (HttpFailure.TIMEOUT, HttpFailure.TOO_LARGE, HttpFailure.BROKEN_OFF, HttpFailure.NOT_HTTP)
"""Failures of a POST that the backend may have acted on."""


class Backend(msgspec.Struct, frozen=True):
    """The application at `target_url`, which speaks `protocol`. The first of `secrets` signs."""

    target_url: str
    protocol: BackendProtocol
    secrets: Secrets
    client: HttpClient
    clock: Clock
    observer: Observer = NO_OBSERVER

    async def open(self, connect: Connect, metadata: bytes) -> Opening:
        """Ask whether a client may connect. Raises BackendFailed or NotAccepted."""
        actions = await self.call(connect.connection_id, metadata, [Open(connect.connection_id)])
        return self.protocol.opening(connect, actions)

    async def call(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], user: str | None = None
    ) -> Sequence[Effect]:
        """Send events and return what the reply asks for. `metadata` is JSON. Raises BackendFailed."""
        reply = await self._call(connection_id, metadata, events, user)
        for skipped in reply.skipped:
            log.warning("connection %s: skipped in the reply: %s", connection_id, skipped)
        if reply.follow_up is not None:
            await self._follow_up(connection_id, reply.follow_up)
        return reply.actions

    async def _follow_up(self, connection_id: str, follow_up: FollowUp) -> None:
        try:
            await self._call(connection_id, follow_up.metadata, follow_up.events)
        except BackendFailed as error:
            self.observer.failed(error)
            log.warning("connection %s: %s", connection_id, error)

    async def _call(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], user: str | None = None
    ) -> Reply:
        began = time.perf_counter()
        failure: BackendFailed | None = None
        request: BackendRequest | None = None
        try:
            request = await self._request(connection_id, metadata, events, user)
            if request is None:
                log.info("connection %s: the backend wants no more of its events", connection_id)
                return Reply([])
            return self.protocol.reply(connection_id, metadata, events, await self._post(request))
        except BackendFailed as error:
            failure = BackendFailed(
                error.fault,
                error.problem,
                status=error.status,
                lacks_token=error.lacks_token,
                url=self._url,
                ends_connection=error.ends_connection,
                client_status=error.client_status,
            )
            raise failure from (error.__cause__ or error)
        finally:
            if request is not None or failure is not None:
                self.observer.backend_called(seconds=time.perf_counter() - began, error=failure)

    async def _request(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], user: str | None
    ) -> BackendRequest | None:
        try:
            secret = (await self.secrets())[0]
        except Unavailable as error:
            problem = f"was not called: the signing secret cannot be read: {error}"
            raise BackendFailed(BackendFault.NO_SECRET, problem) from error
        now = self.clock.now()
        return self.protocol.request(connection_id, metadata, events, user=user, secret=secret, now=now)

    async def _post(self, request: BackendRequest) -> HttpResponse:
        url = with_query(with_path(self.target_url, request.path), request.query)
        try:
            return await self.client.post(url, request.headers, request.body, max_bytes=MAX_RESPONSE_BYTES)
        except HttpError as error:
            is_lost = not self.protocol.may_repeat and error.failure in _MAY_HAVE_ARRIVED
            raise _unreached(error, ends_connection=is_lost) from error

    @property
    def _url(self) -> str:
        return without_secrets(self.target_url)


def _unreached(error: HttpError, *, ends_connection: bool) -> BackendFailed:
    fault, problem = _fault(error)
    return BackendFailed(fault, problem, ends_connection=ends_connection)


def _fault(error: HttpError) -> tuple[BackendFault, str]:
    match error.failure:
        case HttpFailure.TIMEOUT:
            return BackendFault.TIMEOUT, f"did not respond: {error}"
        case HttpFailure.TOO_LARGE:
            return BackendFault.TOO_LARGE, f"responded with {error}"
        case HttpFailure.TLS:
            return BackendFault.TLS, f"cannot be reached: {error}"
        case _:
            return BackendFault.UNREACHABLE, f"cannot be reached: {error}"
