"""Calls the application's backend: one POST for the events of a connection, and the actions that its reply asks for."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from ..protocol.events import Action, Open, SocketEvent
from ..protocol.urls import without_secrets
from .dialects import BackendProtocol, Opening
from .errors import BackendFailed, BackendFault, HttpError, HttpFailure, Unavailable
from .observer import NO_OBSERVER, Observer
from .ports import Clock, HttpClient, Secrets
from .values import Connect, HttpResponse

MAX_RESPONSE_BYTES = 10 * 1024 * 1024


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

    async def call(self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent]) -> Sequence[Action]:
        """Send events and return what the reply asks for. `metadata` is JSON. Raises BackendFailed."""
        began = time.perf_counter()
        failure: BackendFailed | None = None
        try:
            return self.protocol.reply(await self._post(connection_id, metadata, events))
        except BackendFailed as error:
            failure = BackendFailed(
                error.fault, error.problem, status=error.status, lacks_token=error.lacks_token, url=self._url
            )
            raise failure from (error.__cause__ or error)
        finally:
            self.observer.backend_called(seconds=time.perf_counter() - began, error=failure)

    async def _post(self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent]) -> HttpResponse:
        try:
            secret = (await self.secrets())[0]
        except Unavailable as error:
            problem = f"was not called: the signing secret cannot be read: {error}"
            raise BackendFailed(BackendFault.NO_SECRET, problem) from error
        request = self.protocol.request(connection_id, metadata, events, secret=secret, now=self.clock.now())
        try:
            return await self.client.post(self.target_url, request.headers, request.body, max_bytes=MAX_RESPONSE_BYTES)
        except HttpError as error:
            raise _unreached(error) from error

    @property
    def _url(self) -> str:
        return without_secrets(self.target_url)


def _unreached(error: HttpError) -> BackendFailed:
    match error.failure:
        case HttpFailure.TIMEOUT:
            return BackendFailed(BackendFault.TIMEOUT, f"did not respond: {error}")
        case HttpFailure.TOO_LARGE:
            return BackendFailed(BackendFault.TOO_LARGE, f"responded with {error}")
        case HttpFailure.TLS:
            return BackendFailed(BackendFault.TLS, f"cannot be reached: {error}")
        case _:
            return BackendFailed(BackendFault.UNREACHABLE, f"cannot be reached: {error}")
