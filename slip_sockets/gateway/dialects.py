"""A dialect: how events and replies are written for a backend, and publishes for the control API. No I/O.

`slip_sockets.slip` is one. A dialect is written once and runs wherever the gateway runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..protocol.errors import InvalidEvents, InvalidToken
from ..protocol.events import Action, ControlEvent, Report, SocketEvent
from .errors import ActionFailed, Unavailable
from .values import Connect, HttpRequest, HttpResponse


class BackendRequest(msgspec.Struct, frozen=True):
    """A POST to the backend."""

    headers: Mapping[str, str]
    body: bytes


class Opening(msgspec.Struct, frozen=True):
    """A reply to OPEN that lets the client in, with `subprotocol`. `actions` are all that it asks for, in order."""

    subprotocol: str | None
    actions: Sequence[Action]


class BackendProtocol(Protocol):
    """How the gateway and a backend talk."""

    def initial_metadata(self, connect: Connect) -> bytes:
        """Return the metadata, as JSON, that a connection has until the backend sets other metadata."""

    def request(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], *, secret: str, now: float
    ) -> BackendRequest:
        """Return the POST for some events of a connection, signed with `secret` at `now` (Unix seconds)."""

    def reply(self, response: HttpResponse) -> Sequence[Action]:
        """Return what a response asks for. Raises BackendFailed where it is not valid."""

    def opening(self, connect: Connect, actions: Sequence[Action]) -> Opening:
        """Return a reply to OPEN that lets the client in. Raises NotAccepted where it does not."""


class Performed(msgspec.Struct, frozen=True):
    """A batch that was performed, with a report for each event that has one."""

    reports: Sequence[Report | None]


Rejected = InvalidToken | InvalidEvents | ActionFailed | Unavailable
"""Why a batch was not performed. ActionFailed: in part. Unavailable: its token could not be checked."""


class PublishProtocol(Protocol):
    """How publishers call the control API."""

    def authorize(self, request: HttpRequest, secrets: Sequence[str]) -> None:
        """Raises InvalidToken where none of `secrets` signed the request."""

    def decode(self, request: HttpRequest) -> Sequence[ControlEvent]:
        """Return the whole batch. Raises InvalidEvents."""

    def respond(self, result: Performed | Rejected) -> HttpResponse: ...
