"""The socket of a simulated client: what the gateway stores for it, and which responses the gateway accepts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..apigateway.connection_ids import has_usual_form
from ..gateway.errors import BackendFailed, NotAccepted
from ..gateway.plan_open import check_user
from ..gateway.values import MemberConnection
from ..protocol.bodies import open_metadata
from ..protocol.events import (
    Close,
    CloseChannel,
    CloseConnection,
    ControlEvent,
    Occupied,
    Open,
    PublishText,
    ReplyEvent,
    SendText,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
    Vacated,
    encode_info,
    encode_metadata,
    user_channel,
)
from ..slip.backend import read_opening, read_reply
from .clients import Post
from .requests import signed_request


class InvalidResponse(AssertionError):
    """The gateway would not accept the application's response: its status is not 2xx, or its body is not valid."""


class ClientRefused(AssertionError):
    """The application's response is valid, and does not let the client in."""


class Socket:
    """The socket of one client, to an application that `post` calls.

    The methods return the events of the application's response, as the gateway reads them. They raise InvalidResponse,
    an AssertionError, if the gateway would not accept the response.

    `metadata`, `user` and `channels` are what the gateway stores for the connection; with a user, `user_channel(user)`
    is one of the channels. `recovering` are the channels that it was subscribed to with `recover`, each with the
    position `since`, or None. `presence` are the channels that it is a member of, each with the info that the others
    see. `received` are the texts that reached the client: those of the responses to its own events, and those of a
    publisher that records and knows this socket.
    """

    def __init__(self, post: Post, *, jwt_secret: str, connection_id: str | None = None) -> None:
        self.connection_id = connection_id or f"{secrets.token_urlsafe(12)[:15]}="
        self.metadata: Any = None
        self.user: str | None = None
        self.channels: set[str] = set()
        self.recovering: dict[str, str | None] = {}
        self._memberships: dict[str, MemberConnection] = {}
        self.received: list[str] = []
        self.subprotocol: str | None = None
        self.is_open = False
        self._is_close_due = False
        self._post = post
        self._jwt_secret = jwt_secret

    @property
    def presence(self) -> dict[str, Any]:
        return {channel: msgspec.json.decode(member.info) for channel, member in self._memberships.items()}

    def membership(self, channel: str) -> MemberConnection | None:
        """Return how this socket is a member of a channel, None where it is not."""
        return self._memberships.get(channel)

    def open(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Sequence[str]] | None = None,
        ip: str = "127.0.0.1",
        subprotocols: Sequence[str] = (),
    ) -> Sequence[ReplyEvent]:
        """Connect. Raises ClientRefused, an AssertionError, if the client would not be let in."""
        offered = {"Sec-WebSocket-Protocol": ", ".join(subprotocols)} if subprotocols else {}
        self.metadata = open_metadata({**(headers or {}), **offered}, ip, dict(query or {}))
        reply = self._post_events(Open(self.connection_id))
        try:
            opening = read_opening(self.connection_id, subprotocols, reply)
            check_user(opening.user, has_usual_form)
        except NotAccepted as error:
            raise ClientRefused(f"the client was not let in: {error}") from error
        except BackendFailed as error:
            raise InvalidResponse(f"to OPEN the application {error}") from error
        self.is_open = self._is_close_due = True
        self.subprotocol, self.user = opening.subprotocol, opening.user
        if self.user is not None:
            self.channels.add(user_channel(self.user))
        self._store(reply)
        return reply

    def text(self, data: str, *more: str) -> Sequence[ReplyEvent]:
        """Send a text message; several go in one POST, each with an id, as with INBOUND=ordered."""
        if not self.is_open:
            raise RuntimeError("the socket is not open: call open() first")
        texts = [Text(self.connection_id, data)]
        if more:
            texts = [Text(self.connection_id, each, secrets.token_urlsafe(12)) for each in (data, *more)]
        reply = self._post_events(*texts)
        self._store(reply)
        return reply

    def close(self, code: int | None = 1000, reason: str | None = "") -> Sequence[ReplyEvent]:
        """Leave; code 1006 stands for a connection that was cut.

        Call it also after the application closed the socket, for the CLOSE that the gateway sends then.
        """
        if not self._is_close_due:
            raise RuntimeError("the socket was not opened: call open() first")
        self._is_close_due = False
        self._forget()
        return self._post_events(Close(self.connection_id, code, reason))

    def occupied(self, channel: str) -> Sequence[ReplyEvent]:
        """Be the first member of `channel`, as with OCCUPANCY_EVENTS=true."""
        if not self.is_open:
            raise RuntimeError("the socket is not open: call open() first")
        reply = self._post_events(Occupied(channel))
        self._store(reply)
        return reply

    def vacated(self, channel: str) -> Sequence[ReplyEvent]:
        """Have been the last member of `channel`, as with OCCUPANCY_EVENTS=true: also after `close`."""
        reply = self._post_events(Vacated(channel))
        if self.is_open:
            self._store(reply)
        return reply

    def _post_events(self, *events: SocketEvent) -> Sequence[ReplyEvent]:
        request = signed_request(
            *events,
            jwt_secret=self._jwt_secret,
            metadata=self.metadata,
            user=self.user,
            connection_id=self.connection_id,
        )
        status, body = self._post(request.headers, request.body)
        try:
            return read_reply(status, body)
        except BackendFailed as error:
            kind = type(events[0]).__name__.upper()
            shown = "" if 200 <= status < 300 else f": {body[:500].decode(errors='replace').strip()}"
            raise InvalidResponse(f"to {kind} the application {error}{shown}") from error

    def _store(self, reply: Sequence[ReplyEvent]) -> None:
        for event in reply:
            self.take(event)

    def take(self, event: ReplyEvent | ControlEvent) -> bool:
        """Let an event of a reply, or of a publisher, have its effect on this socket. Return whether it is for it."""
        if not self.is_open:
            return False
        match event:
            case SetMetadata(connection_id=self.connection_id):
                self.metadata = msgspec.json.decode(encode_metadata(event.metadata))
            case Subscribe(connection_id=self.connection_id):
                self.channels.add(event.channel)
                self.recovering.pop(event.channel, None)
                if event.recover:
                    self.recovering[event.channel] = event.since
                if event.presence is not None:
                    name = self.connection_id if self.user is None else self.user
                    info = encode_info(event.presence.info)
                    self._memberships[event.channel] = MemberConnection(name, self.connection_id, time.time(), info)
            case Unsubscribe(connection_id=self.connection_id):
                self.channels.discard(event.channel)
                self.recovering.pop(event.channel, None)
                self._memberships.pop(event.channel, None)
            case SendText(connection_id=self.connection_id):
                self.received.append(event.data)
            case PublishText() if event.channel in self.channels:
                self.received.append(event.data)
            case CloseConnection(connection_id=self.connection_id):
                self._forget()
            case CloseChannel() if event.channel in self.channels and event.except_connection_id != self.connection_id:
                self._forget()
            case _:
                return False
        return True

    def _forget(self) -> None:
        self.is_open = False
        self.channels.clear()
        self.recovering.clear()
        self._memberships.clear()
