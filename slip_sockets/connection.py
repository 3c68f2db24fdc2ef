"""What a backend works with: one POST of the gateway, and the answer to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from .errors import InvalidEvents, InvalidToken
from .events import (
    Accept,
    Action,
    BackendRequest,
    CloseChannel,
    CloseConnection,
    Open,
    PublishText,
    SendText,
    SetMetadata,
    SocketEvent,
    Subscribe,
    Text,
    Unsubscribe,
    check,
    decode_request,
    encode_events,
)
from .tokens import bearer_token, verify


class SupportsItems(Protocol):
    """A framework's headers that are no Mapping, such as werkzeug's."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = Mapping[str, str] | SupportsItems | Iterable[tuple[Any, Any]]
"""Any framework's headers: a mapping, an object with `items()`, or pairs; names in any case, text or bytes."""


class Answer(NamedTuple):
    """An HTTP answer, for any framework to return.

    In this order a Flask view may return it as it is, and `Response(*answer)` makes one of Starlette's or werkzeug's.
    """

    body: bytes
    status: int
    headers: dict[str, str]


class Connection:
    """One POST of the gateway: what happened on a connection, and what the answer shall make happen.

    `connection_id` names the connection. `metadata` is what was last set for it; on Open it is the default
    `{"headers": {name: value}, "ip": address, "query": {name: [value, ...]}}`. `events` are what happened, in order.

    The methods record; nothing happens before `answer()` has been returned to the gateway. Each raises InvalidEvents at
    once where the gateway would refuse the event. `connection_id` as a parameter means another connection than this.
    """

    def __init__(self, request: BackendRequest) -> None:
        self.connection_id: str = request.connection_id
        self.metadata: Any = request.metadata
        self.events: Sequence[SocketEvent] = tuple(request.events)
        self._accept: Accept | None = None
        self._queued: list[Action] = []
        self._set_metadata: SetMetadata | None = None
        self._close: CloseConnection | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.connection_id} {[type(event).__name__ for event in self.events]}>"

    @property
    def is_opening(self) -> bool:
        """Whether the client waits to be accepted."""
        return any(isinstance(event, Open) for event in self.events)

    @property
    def texts(self) -> Sequence[str]:
        """What the client has sent, in order."""
        return [event.data for event in self.events if isinstance(event, Text)]

    def accept(self, subprotocol: str | None = None) -> None:
        """Let the client in. Without this, an opening connection is refused with 400.

        `subprotocol` must be one of those the client offered in `Sec-WebSocket-Protocol`.
        """
        event = Accept(self.connection_id, subprotocol)
        check(event)
        self._accept = event

    def close(self) -> None:
        """Close this connection after everything else in the answer. The client sees code 1000."""
        self._close = CloseConnection(self.connection_id)

    def subscribe(self, channel: str, *, connection_id: str | None = None) -> None:
        self._queue(Subscribe(self._named(connection_id), channel))

    def unsubscribe(self, channel: str, *, connection_id: str | None = None) -> None:
        self._queue(Unsubscribe(self._named(connection_id), channel))

    def send_text(self, data: str, *, connection_id: str | None = None) -> None:
        """Send one text frame, to 131,072 bytes of UTF-8."""
        self._queue(SendText(self._named(connection_id), data))

    def publish_text(self, channel: str, data: str, *, message_id: str | None = None) -> None:
        """Send a text frame to each subscriber of `channel`. The same `message_id` within 5 minutes is sent once."""
        self._queue(PublishText(channel, data, message_id))

    def close_channel(self, channel: str) -> None:
        """Close the connections of all subscribers of `channel`."""
        self._queue(CloseChannel(channel))

    def set_metadata(self, metadata: Any) -> None:
        """Store `metadata` (any JSON, to 64 KiB): later events bring it back. The last call counts; None clears."""
        event = SetMetadata(self.connection_id, metadata)
        check(event)
        self._set_metadata = event

    def answer(self) -> Answer:
        """Return the HTTP answer: ACCEPT first, then what was queued in its order, then metadata, then CLOSE."""
        ends = (self._accept, *self._queued, self._set_metadata, self._close)
        events = [event for event in ends if event is not None]
        return Answer(encode_events(events), 200, {"Content-Type": "application/json"})

    def _named(self, connection_id: str | None) -> str:
        return self.connection_id if connection_id is None else connection_id

    def _queue(self, event: Action) -> None:
        check(event)
        self._queued.append(event)


def parse_request(headers: Headers, body: bytes | str, *, secrets: Sequence[str]) -> Connection:
    """Return the connection that a POST of the gateway is about; its token is checked before its body is looked at.

    Raises MissingToken, ExpiredToken, BadToken (answer 403) or InvalidEvents (answer 400).
    """
    verify(bearer_token(_authorization(headers)), "WebSocketEvent", secrets)
    try:
        raw = body.encode() if isinstance(body, str) else bytes(body)
    except UnicodeEncodeError as error:
        raise InvalidEvents("the body is not UTF-8") from error
    return Connection(decode_request(raw))


def refusal(error: InvalidToken | InvalidEvents) -> Answer:
    """Return the answer to a POST that `parse_request` did not take: 403 for its token, 400 for its body."""
    status = 403 if isinstance(error, InvalidToken) else 400
    return Answer(f"{error}\n".encode(errors="replace"), status, {"Content-Type": "text/plain; charset=utf-8"})


def _authorization(headers: Headers) -> str | None:
    pairs = headers if not hasattr(headers, "items") else headers.items()
    for name, value in pairs:
        if _text(name).lower() == "authorization":
            return _text(value)
    return None


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
