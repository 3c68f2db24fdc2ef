"""What a backend works with: one POST of the gateway, and the response to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ..protocol.errors import ERROR_HEADER, InvalidEvents, InvalidToken
from ..protocol.events import (
    Accept,
    BackendRequest,
    CloseChannel,
    CloseConnection,
    Keep,
    Open,
    Presence,
    PublishText,
    ReplyEvent,
    SendText,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
    check,
    decode_request,
    encode_events,
    user_channel,
)
from ..protocol.tokens import bearer_token, secret_problem, verify

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a subprotocol: https://www.rfc-editor.org/rfc/rfc6455#section-4.1"""


class SupportsItems(Protocol):
    """A framework's headers that are not a Mapping, such as werkzeug's."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = Mapping[str, str] | SupportsItems | Iterable[tuple[Any, Any]]
"""Any framework's headers: a mapping, an object with `items()`, or pairs; names in any case, text or bytes."""


class Response(NamedTuple):
    """An HTTP response for any framework.

    The fields are in this order so that a Flask view may return it as it is, and that `Response(*response)` makes one
    of Starlette's or werkzeug's.
    """

    body: bytes
    status: int
    headers: dict[str, str]


class Connection:
    """One POST of the gateway: what happened on a connection, and the reply to it.

    `events` are what happened, in order: usually one; several texts may come together. `metadata` is what was last set
    for the connection; on Open it is `{"headers": {name: value}, "ip": address, "query": {name: [value, ...]}}`.
    `user` is who is at the connection, as `accept` said; None on Open, and where it said nothing.

    The methods only record. The gateway acts once `response()` has been returned to it. A method raises InvalidEvents
    at once if the gateway would refuse the event. Give `connection_id` for another connection than this one.

    `subprotocol` is the one that `accept()` chooses where the client offers it.
    """

    def __init__(self, request: BackendRequest, *, subprotocol: str | None = None) -> None:
        self.connection_id: str = request.connection_id
        self.metadata: Any = request.metadata
        self.user: str | None = None if request.user is msgspec.UNSET else request.user
        self.events: Sequence[SocketEvent] = tuple(request.events)
        self._subprotocol = subprotocol
        self._accept: Accept | None = None
        self._recorded: list[ReplyEvent] = []
        self._set_metadata: SetMetadata | None = None
        self._close: CloseConnection | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.connection_id} {[type(event).__name__ for event in self.events]}>"

    @property
    def is_opening(self) -> bool:
        """Whether a client waits to be accepted."""
        return any(isinstance(event, Open) for event in self.events)

    @property
    def texts(self) -> Sequence[str]:
        """The text messages that the client sent, in order."""
        return [event.data for event in self.events if isinstance(event, Text)]

    @property
    def offered_subprotocols(self) -> Sequence[str]:
        """What an opening client offers in `Sec-WebSocket-Protocol`, in its order."""
        headers = self.metadata.get("headers") if self.is_opening and isinstance(self.metadata, dict) else None
        if not isinstance(headers, dict):
            return []
        values = [str(value) for name, value in headers.items() if name.lower() == "sec-websocket-protocol"]
        return [name.strip() for value in values for name in value.split(",") if name.strip()]

    def accept(self, subprotocol: str | None = None, *, user: str | None = None) -> None:
        """Let the client in. Without this, the gateway refuses an opening connection with 400.

        `subprotocol` must be one of those that the client offered in `Sec-WebSocket-Protocol`. Without it, the one of
        the adapter's settings is chosen if the client offered that, and none otherwise.

        `user` says who is at the connection, in 1 to 128 bytes of UTF-8: the application's own id or name, which must
        not look like a connection id. Later events have it as `connection.user`, and `send_to_user` reaches all of the
        user's connections.
        """
        if subprotocol is None and self._subprotocol in self.offered_subprotocols:
            subprotocol = self._subprotocol
        event = Accept(self.connection_id, subprotocol, user)
        check(event)
        self._accept = event

    def close(self) -> None:
        """Close this connection, after everything else in the reply. The client sees code 1000."""
        self._close = CloseConnection(self.connection_id)

    def subscribe(
        self,
        channel: str,
        *,
        recover: bool = False,
        since: str | None = None,
        presence: Presence | bool = False,
        connection_id: str | None = None,
    ) -> None:
        """Subscribe to a channel, and send what was kept after the position `since`.

        `channel` may be a pattern: `orders:*` is all channels that begin with `orders:`.

        With `recover` a client of `slip.v1` also receives the channel's newest position, from which it recovers after
        the connection was lost.

        With `presence` the connection's user, or the connection where it has none, is a member of the channel, whom
        its members and `publisher.members(channel)` see. `Presence(info)` shows them any JSON of at most 1 KB, such as
        `Presence({"name": "Ann"})`; subscribing again replaces it.
        """
        self._record(Subscribe(self._named(connection_id), channel, recover, since, presence_of(presence)))

    def unsubscribe(self, channel: str, *, connection_id: str | None = None) -> None:
        self._record(Unsubscribe(self._named(connection_id), channel))

    def send_text(self, data: str, *, connection_id: str | None = None) -> None:
        """Send one text message of at most 131,072 bytes of UTF-8."""
        self._record(SendText(self._named(connection_id), data))

    def publish_text(self, channel: str, data: str, *, message_id: str | None = None, keep: Keep | None = None) -> None:
        """Send a text message to each subscriber of `channel`.

        The same `message_id` on the same channel within five minutes is delivered once. With `keep` the gateway keeps
        the message for those who come later.
        """
        self._record(PublishText(channel, data, message_id, keep))

    def send_to_user(self, user: str, data: str, *, message_id: str | None = None, keep: Keep | None = None) -> None:
        """Send a text message to all connections that were accepted with `user`; `message_id` and `keep` are those of
        `publish_text`."""
        self.publish_text(user_channel(user), data, message_id=message_id, keep=keep)

    def close_channel(self, channel: str, *, except_connection_id: str | None = None) -> None:
        """Close the connections of all subscribers of `channel`, but for `except_connection_id`."""
        self._record(CloseChannel(channel, except_connection_id))

    def close_user(self, user: str, *, except_connection_id: str | None = None) -> None:
        """Close all connections that were accepted with `user`, but for `except_connection_id`."""
        self.close_channel(user_channel(user), except_connection_id=except_connection_id)

    def set_metadata(self, metadata: Any) -> None:
        """Store `metadata`, any JSON of at most 64 KiB, which later events bring back.

        The last call counts; None clears it.
        """
        event = SetMetadata(self.connection_id, metadata)
        check(event)
        self._set_metadata = event

    def response(self) -> Response:
        """Return the HTTP response: ACCEPT first, then what was recorded in its order, then metadata, then CLOSE."""
        reply = (self._accept, *self._recorded, self._set_metadata, self._close)
        events = [event for event in reply if event is not None]
        return Response(encode_events(events), 200, {"Content-Type": "application/json"})

    def _named(self, connection_id: str | None) -> str:
        return self.connection_id if connection_id is None else connection_id

    def _record(self, event: ReplyEvent) -> None:
        check(event)
        self._recorded.append(event)


def parse_request(
    headers: Headers, body: bytes | str, *, secrets: Sequence[str], subprotocol: str | None = None
) -> Connection:
    """Return the connection that a POST of the gateway is about. The token is checked before the body is read.

    `secrets` are those that may have signed the token: the deployment's `JWT_SECRET`, and another one while it is being
    changed. `subprotocol` is the one that `connection.accept()` chooses where the client offers it, such as `slip.v1`.

    Raises MissingToken, ExpiredToken, BadToken or InvalidEvents: see `error_response`.
    """
    if isinstance(secrets, str):  # each of its characters would be a secret
        raise ValueError("secrets needs a list of secrets, got a string")
    verify(bearer_token(_authorization(headers)), "WebSocketEvent", secrets)
    try:
        raw = body.encode() if isinstance(body, str) else bytes(body)
    except UnicodeEncodeError as error:
        raise InvalidEvents("the body is not UTF-8") from error
    return Connection(decode_request(raw), subprotocol=subprotocol)


def presence_of(presence: Presence | bool) -> Presence | None:
    """Return what SUBSCRIBE carries: for True a membership without info."""
    if isinstance(presence, bool):
        return Presence() if presence else None
    return presence


def secrets_problems(jwt_secret: object, previous_secrets: object) -> list[str]:
    """Return a line for each of a deployment's secrets that is not a good one."""
    if isinstance(previous_secrets, str | bytes) or not isinstance(previous_secrets, Iterable):
        kind = "a string" if isinstance(previous_secrets, str) else type(previous_secrets).__name__
        return [f"previous_secrets needs a list of secrets, got {kind}"]
    problems = []
    for name, secret in (("jwt_secret", jwt_secret), *(("previous_secrets", each) for each in previous_secrets)):
        if not isinstance(secret, str):
            problems.append(f"{name} needs a string, got {type(secret).__name__}")
        elif problem := secret_problem(secret):
            problems.append(f"{name} {problem}")
    return problems


def subprotocol_problem(subprotocol: object) -> str | None:
    """Return what is wrong with the name of a subprotocol; None for one that a client can offer."""
    if not isinstance(subprotocol, str):
        return f"needs a string, got {type(subprotocol).__name__}"
    return None if _TOKEN.fullmatch(subprotocol) else f"{subprotocol!a} is not the name of one, such as slip.v1"


def error_response(error: InvalidToken | InvalidEvents) -> Response:
    """Return the response to a POST that `parse_request` refused: 403 for its token, 400 for its body.

    A header names the error's class, for `slip-sockets check` and the development server.
    """
    status = 403 if isinstance(error, InvalidToken) else 400
    headers = {"Content-Type": "text/plain; charset=utf-8", ERROR_HEADER: type(error).__name__}
    return Response(f"{error}\n".encode(errors="replace"), status, headers)


def _authorization(headers: Headers) -> str | None:
    pairs = headers if not hasattr(headers, "items") else headers.items()
    for name, value in pairs:
        if _text(name).lower() == "authorization":
            return _text(value)
    return None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
