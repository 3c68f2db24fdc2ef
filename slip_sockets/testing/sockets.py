"""A client's socket, played from the gateway's side: what it remembers of a client, and which answers it takes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..errors import InvalidEvents
from ..events import (
    AnswerEvent,
    Close,
    CloseConnection,
    Open,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
    encode_metadata,
)
from ..gateway.backend import BackendFailed, read_answer
from ..gateway.plan import plan_open
from .clients import Post
from .requests import signed_request


class AnswerRefused(AssertionError):
    """The gateway would not take what the application answered."""


class ClientRefused(AssertionError):
    """The application answered, and did not let the client in."""


class Socket:
    """The socket of one client, to an application that `post` reaches.

    The methods return the events that the application answered, as the gateway reads them. They raise AnswerRefused, an
    AssertionError, where the gateway would not take the answer: another status than 2xx, a body that is not valid.

    `metadata` and `channels` are what the gateway remembers of the connection, `is_open` whether the client is in.
    """

    def __init__(self, post: Post, *, jwt_secret: str, connection_id: str | None = None) -> None:
        self.connection_id = connection_id or f"{secrets.token_urlsafe(12)[:15]}="
        self.metadata: Any = None
        self.channels: set[str] = set()
        self.subprotocol: str | None = None
        self.is_open = False
        self._is_close_due = False
        self._post = post
        self._jwt_secret = jwt_secret

    def open(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, Sequence[str]] | None = None,
        ip: str = "127.0.0.1",
        subprotocols: Sequence[str] = (),
    ) -> Sequence[AnswerEvent]:
        """Connect. Raises ClientRefused, an AssertionError, where the client would not be let in."""
        offered = {"Sec-WebSocket-Protocol": ", ".join(subprotocols)} if subprotocols else {}
        self.metadata = {"headers": {**(headers or {}), **offered}, "ip": ip, "query": dict(query or {})}
        answer = self._tell(Open(self.connection_id))
        try:
            plan = plan_open(self.connection_id, subprotocols, answer, encode_metadata(self.metadata))
        except InvalidEvents as error:
            raise ClientRefused(f"the client was not let in: {error}") from error
        self.is_open = self._is_close_due = True
        self.subprotocol = plan.subprotocol
        self._remember(answer)
        return answer

    def text(self, data: str) -> Sequence[AnswerEvent]:
        """Send a text frame."""
        if not self.is_open:
            raise RuntimeError("the socket is not open: call open() first")
        answer = self._tell(Text(self.connection_id, data))
        self._remember(answer)
        return answer

    def close(self, code: int | None = 1000, reason: str | None = "") -> Sequence[AnswerEvent]:
        """Leave; code 1006 is that of a client that was cut off. After the application closed the socket, call this for
        the CLOSE that the gateway then tells it."""
        if not self._is_close_due:
            raise RuntimeError("the socket was not opened: call open() first")
        self._is_close_due = self.is_open = False
        self.channels.clear()
        return self._tell(Close(self.connection_id, code, reason))

    def _tell(self, event: SocketEvent) -> Sequence[AnswerEvent]:
        request = signed_request(event, jwt_secret=self._jwt_secret, metadata=self.metadata)
        status, body = self._post(request.headers, request.body)
        try:
            return read_answer(status, body)
        except BackendFailed as error:
            kind = type(event).__name__.upper()
            shown = "" if 200 <= status < 300 else f": {body[:500].decode(errors='replace').strip()}"
            raise AnswerRefused(f"to {kind} the application {error}{shown}") from error

    def _remember(self, answer: Sequence[AnswerEvent]) -> None:
        for event in answer:
            match event:
                case SetMetadata(connection_id=self.connection_id):
                    self.metadata = msgspec.json.decode(encode_metadata(event.metadata))
                case Subscribe(connection_id=self.connection_id):
                    self.channels.add(event.channel)
                case Unsubscribe(connection_id=self.connection_id):
                    self.channels.discard(event.channel)
                case CloseConnection(connection_id=self.connection_id):
                    self.is_open = False
                    self.channels.clear()
                case _:
                    pass
