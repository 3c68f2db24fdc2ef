"""A dialect: how events and replies are written for a backend, and publishes for the control API. No I/O.

`slip_sockets.slip` and `slip_sockets.grip` are two. A dialect is written once and runs wherever the gateway runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ..protocol.errors import InvalidEvents, InvalidToken
from ..protocol.events import Action, AnyReport, ControlEvent, SocketEvent
from .effects import Effect
from .errors import ActionFailed, Unavailable
from .values import Broadcast, Connect, HttpRequest, HttpResponse, Publication


class BackendRequest(msgspec.Struct, frozen=True):
    """A POST to the backend. `path` and `query` are added to those of the backend's URL."""

    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    path: str = ""


class FollowUp(msgspec.Struct, frozen=True):
    """Events for the backend that it is sent after its reply, with this metadata. What it replies does not count."""

    metadata: bytes
    events: Sequence[SocketEvent]


class Tick(msgspec.Struct, frozen=True):
    """What a timer asks for: `actions`, or a call of the backend without events; and whether it ticks once more.

    With `if_idle_s` it asks for that only of a connection that has been idle for this time, and ticks again when it
    may be.
    """

    actions: Sequence[Action] = ()
    calls_backend: bool = False
    again_after_s: float | None = None
    if_idle_s: float | None = None


class Reply(msgspec.Struct, frozen=True):
    """What a response asks for. `skipped` are the parts of it that cannot be done, each in a few words for the log."""

    actions: Sequence[Effect]
    skipped: Sequence[str] = ()
    follow_up: FollowUp | None = None


class Opening(msgspec.Struct, frozen=True):
    """A reply to OPEN that lets the client in, with `subprotocol`. `actions` are all that it asks for, in order.

    `user` is who is at the connection, None where the reply does not say.
    """

    subprotocol: str | None
    actions: Sequence[Effect]
    user: str | None = None


class BackendProtocol(Protocol):
    """How the gateway and a backend talk."""

    @property
    def may_repeat(self) -> bool:
        """Whether the backend may be sent an event again that may have reached it."""

    @property
    def has_patterns(self) -> bool:
        """Whether a subscription to a name that ends in `:*` is one to all channels that match it."""

    def initial_metadata(self, connect: Connect) -> bytes:
        """Return the metadata, as JSON, that a connection has until the backend sets other metadata."""

    def request(
        self,
        connection_id: str,
        metadata: bytes | None,
        events: Sequence[SocketEvent],
        *,
        user: str | None,
        secret: str,
        now: float,
    ) -> BackendRequest | None:
        """Return the POST for some events of a connection, signed with `secret` at `now` (Unix seconds).

        `user` is who is at the connection, None where the backend did not say.

        None where the backend does not want them any more.
        """

    def reply(
        self, connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], response: HttpResponse
    ) -> Reply:
        """Return what the response to some events of a connection asks for.

        Raises BackendFailed where it is not valid, and may raise NotAccepted where it is one to OPEN.
        """

    def tick(self, connection_id: str, metadata: bytes | None, timer_id: str) -> Tick | None:
        """Return what a timer asks for, None where the connection has it no more."""

    def filtered(self, metadata: bytes | None, publication: Publication) -> str | None:
        """Return the text of a publication for a subscriber with this metadata, None where it gets none."""

    def opening(self, connect: Connect, actions: Sequence[Effect]) -> Opening:
        """Return a reply to OPEN that lets the client in. Raises NotAccepted where it does not."""


class Batch(msgspec.Struct, frozen=True):
    """What a publisher asks for. `skipped` are the parts of it that cannot be done, each in a few words for the log."""

    events: Sequence[ControlEvent | Broadcast]
    skipped: Sequence[str] = ()


class Performed(msgspec.Struct, frozen=True):
    """A batch that was performed, with a report for each event that has one."""

    reports: Sequence[AnyReport | None]


Rejected = InvalidToken | InvalidEvents | ActionFailed | Unavailable
"""Why a batch was not performed. ActionFailed: in part. Unavailable: its token could not be checked."""


class PublishProtocol(Protocol):
    """How publishers call the control API."""

    def authorize(self, request: HttpRequest, secrets: Sequence[str]) -> None:
        """Raises InvalidToken where none of `secrets` signed the request."""

    def decode(self, request: HttpRequest) -> Batch:
        """Return the whole batch. Raises InvalidEvents."""

    def respond(self, request: HttpRequest, result: Performed | Rejected) -> HttpResponse: ...
