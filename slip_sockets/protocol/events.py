"""The protocol's events as typed values, and their JSON. No I/O; the only place that knows the wire's names.

A body is `{"events": [event, ...]}`, an event an object with a `type`. Decoding is all or nothing: one bad event makes
the body invalid, and InvalidEvents names the event, the field and the reason, as in
`events[2].data: TEXT needs a string, got int`.
Unknown fields are ignored, unknown types are not. Longer than 400 lines, so that it stays the only place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from .decoding import decode
from .errors import InvalidEvents
from .frames import MessageFrame
from .patterns import MAX_CHANNEL_BYTES, MAX_PATTERN_SEGMENTS, USER_CHANNEL_PREFIX, is_pattern, segments_of
from .positions import EPOCH_LENGTH, Position

MAX_TEXT_BYTES = 128 * 1024
"""Largest message that API Gateway sends to a client.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 100
"""Arrays and objects within each other. Decoders recurse once a level. Far below Python's limit of 1,000 calls, so that
any reader can decode what another accepted."""
MAX_MESSAGE_ID_BYTES = 128
MAX_EVENTS = 10_000
MAX_KEPT, MAX_KEPT_S = 1_000, 7 * 24 * 60 * 60
"""How many messages of a channel are kept at most, and for how many seconds."""
MAX_POLL_TIMEOUT_MS = 25_000
MAX_USER_BYTES = 128
MAX_INFO_BYTES = 1024
"""Of JSON that a member of a channel shows to the others."""
RESERVED_CHANNEL_PREFIX = "$connection:"
"""Prefix of the table's internal sort keys; channel names must not start with it."""

_NOT_OF_PATTERNS = ("recover", "since", "presence")
"""Fields of a SUBSCRIBE to a channel alone."""
_LONGEST_POSITION = str(Position("0" * EPOCH_LENGTH, 10**15 - 1))

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET = re.compile(rb"[\[\]{}]")


class _Event(msgspec.Struct, frozen=True, rename="camel", tag_field="type", omit_defaults=True):
    pass


# From the gateway to the backend


class Open(_Event, tag="OPEN", frozen=True):
    """A client asks to connect. It waits until the response accepts or refuses it."""

    connection_id: str


class Text(_Event, tag="TEXT", frozen=True):
    """A client sent a text message. `data` may be "".

    `id` is there where texts come in order: the same one means the same text, sent again because a response was lost.
    """

    connection_id: str
    data: str
    id: str | None = None


class Close(_Event, tag="CLOSE", frozen=True):
    """A client has left.

    `code` is the WebSocket close code: 1005 if the client sent none, 1006 if the connection was cut. `code` and
    `reason` are None where they are not known.
    """

    connection_id: str
    code: int | None = None
    reason: str | None = None


class Occupied(_Event, tag="OCCUPIED", frozen=True, rename={"channel": "channelId"}):
    """A channel has its first member. The request is about the connection that has come."""

    channel: str


class Vacated(_Event, tag="VACATED", frozen=True, rename={"channel": "channelId"}):
    """A channel has no members any more. The request is about the connection that was the last to go."""

    channel: str


ConnectionEvent = Open | Text | Close
"""What happens on a socket."""

SocketEvent = ConnectionEvent | Occupied | Vacated
"""What happens on a socket, and what becomes of a channel by that."""


# From the backend, or a publisher, to the gateway


class Accept(_Event, tag="ACCEPT", frozen=True):
    """Opens the socket, in the response to Open. `subprotocol` must be one that the client offered.

    `user` says who is at the connection. Later events bring it to the backend.
    """

    connection_id: str
    subprotocol: str | None = None
    user: str | None = None


class SendText(_Event, tag="TEXT", frozen=True):
    """Sends a text message to one connection."""

    connection_id: str
    data: str


class CloseConnection(_Event, tag="CLOSE", frozen=True):
    """Closes one connection and removes its subscriptions."""

    connection_id: str


class Presence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Makes a subscriber a member of its channel. `info` is any JSON that the other members see, to 1 KB."""

    info: Any = None


class Subscribe(_Event, tag="SUBSCRIBE", frozen=True):
    """Subscribes a connection to a channel, or to all channels that match a pattern such as `orders:*`.

    With `recover` a client of the subprotocol `slip.v1` learns the channel's newest position, and is sent before that
    what was kept after the position `since`. Any other client is sent the texts that were kept after `since`.

    With `presence` the user of the connection is a member of the channel; without a user, the connection is. Without it
    a membership stays as it is.
    """

    connection_id: str
    channel: str
    recover: bool = False
    since: str | None = None
    presence: Presence | None = None


class Unsubscribe(_Event, tag="UNSUBSCRIBE", frozen=True):
    connection_id: str
    channel: str


class SetMetadata(_Event, tag="SET_METADATA", frozen=True):
    """Replaces the connection's metadata, any JSON, which later events bring to the backend; None clears it."""

    connection_id: str
    metadata: Any


class Keep(msgspec.Struct, frozen=True):
    """Keeps a message until `count` newer ones of its channel are kept, or `seconds` have passed."""

    count: int
    seconds: int


class PublishText(_Event, tag="PUBLISH_TEXT", frozen=True, rename={"channel": "channelId", "message_id": "id"}):
    """Sends a text message to each subscriber of a channel.

    The same `message_id` on a channel is delivered once within five minutes. With `keep` the message has a position,
    and those who come later may ask for it.
    """

    channel: str
    data: str
    message_id: str | None = None
    keep: Keep | None = None


class CloseChannel(
    _Event,
    tag="CLOSE_CHANNEL",
    frozen=True,
    rename={"channel": "channelId", "except_connection_id": "exceptConnectionId"},
):
    """Closes the connection of each subscriber of a channel, but for the one named."""

    channel: str
    except_connection_id: str | None = None


class PollForConnection(_Event, tag="POLL_FOR_CONNECTION", frozen=True):
    """Waits until the connection is open, at most `timeout` milliseconds."""

    connection_id: str
    timeout: float


class History(_Event, tag="HISTORY", frozen=True, rename={"channel": "channelId"}):
    """Asks for what is kept of a channel: the first `limit` messages after `since`, or the newest `limit`."""

    channel: str
    since: str | None = None
    limit: int = 100


class Members(_Event, tag="PRESENCE", frozen=True, rename={"channel": "channelId"}):
    """Asks who is in a channel: its members at the moment of reading."""

    channel: str


ControlEvent = (
    SendText
    | CloseConnection
    | Subscribe
    | Unsubscribe
    | SetMetadata
    | PublishText
    | CloseChannel
    | PollForConnection
    | History
    | Members
)
"""The events of a request to the control API."""

ReplyEvent = Accept | SendText | CloseConnection | Subscribe | Unsubscribe | SetMetadata | PublishText | CloseChannel
"""The events of a backend's reply."""

Action = ControlEvent | ReplyEvent


# Bodies


class Report(msgspec.Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """What became of a publish or a close-channel: numbers of connections.

    `matched = sent + gone + queued`, but for those that are refused for good, which are in `matched` alone.

    `gone` connections had left unnoticed, and are forgotten now; to `queued` ones the gateway's queue sends shortly.
    `more` means that the channel was too large to be counted in time, or is large and heard by patterns too: all its
    subscribers are queued, and `matched` is a lower bound. `position` is that of a message that is kept.

    `is_reported` is False where the gateway sends no reports, as the original's does not. All numbers are 0 then.
    """

    matched: int
    sent: int
    gone: int
    queued: int
    more: bool = False
    is_reported: bool = True
    position: str | None = None


class KeptMessage(msgspec.Struct, frozen=True, rename="camel"):
    """`published_at` is in milliseconds since 1970."""

    position: str
    data: str
    published_at: int


class HistoryReport(msgspec.Struct, frozen=True):
    """What is kept of a channel, oldest first. `position` is the newest.

    `more` says that there are more after these; where no `since` was given, that there are older ones. `recovered` is
    False where something after `since` is kept no more, so that `messages` has none; unset where no `since` was given.
    """

    position: str
    messages: list[KeptMessage]
    more: bool
    recovered: bool | msgspec.UnsetType = msgspec.UNSET


class Member(msgspec.Struct, frozen=True):
    """A member of a channel: a user with all of its connections there, or a connection without a user.

    `info` is that of the newest connection. `since` is when the first one came, in milliseconds since 1970.
    """

    user: str
    info: Any
    connections: int
    since: int


class PresenceReport(msgspec.Struct, frozen=True):
    """Who is in a channel. `members` are to 1,000, by their names; with `more` there are others, `count` in all."""

    count: int
    members: list[Member]
    more: bool


AnyReport = Report | HistoryReport | PresenceReport

NOT_REPORTED = Report(matched=0, sent=0, gone=0, queued=0, is_reported=False)


class BackendRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a POST to the backend. `metadata` is what was last stored for the connection.

    `user` is who is at it, as ACCEPT said; it is absent where that said nothing.
    """

    connection_id: str
    metadata: Any
    events: list[SocketEvent]
    user: str | msgspec.UnsetType = msgspec.UNSET


class _ReplyBody(msgspec.Struct, frozen=True):
    events: list[ReplyEvent]


class _ControlBody(msgspec.Struct, frozen=True):
    events: list[ControlEvent]


def encode_request(
    connection_id: str, metadata: bytes | None, events: Sequence[SocketEvent], user: str | None = None
) -> bytes:
    """Return the body of a POST to the backend. `metadata` is JSON, None for `null`."""
    raw = msgspec.Raw(metadata if metadata is not None else b"null")
    return _encoder.encode(
        BackendRequest(connection_id, raw, list(events), user if user is not None else msgspec.UNSET)
    )


def decode_request(body: bytes) -> BackendRequest:
    """Raises InvalidEvents."""
    return decode(_request_decoder, body, _TYPES)


def encode_events(events: Sequence[Action]) -> bytes:
    """Return the body of a backend's response, or of a POST to the control API."""
    return _encoder.encode({"events": events})


def decode_reply(body: bytes) -> Sequence[ReplyEvent]:
    """Raises InvalidEvents."""
    events = decode(_reply_decoder, body, _TYPES).events
    check_all(events)
    return events


def decode_control(body: bytes) -> Sequence[ControlEvent]:
    """Raises InvalidEvents."""
    events = decode(_control_decoder, body, _TYPES).events
    check_all(events)
    return events


def encode_info(info: object) -> bytes:
    """Return a member's info as compact JSON. Raises InvalidEvents, with a path in the SUBSCRIBE."""
    try:
        encoded = _encoder.encode(info)
    except (RecursionError, TypeError, ValueError, OverflowError) as error:
        raise InvalidEvents(f"presence.info: SUBSCRIBE needs JSON: {error}", field="presence") from error
    if len(encoded) > MAX_INFO_BYTES or _is_too_deep(encoded):
        limits = f"at most {MAX_INFO_BYTES} bytes of JSON, to {MAX_METADATA_DEPTH} levels"
        raise InvalidEvents(f"presence.info: SUBSCRIBE needs {limits}, got {len(encoded)} bytes", field="presence")
    return encoded


def user_channel(user: str) -> str:
    """Return the channel that all connections of a user listen to. Raises InvalidEvents if no user can be named so."""
    _check_bytes(None, "user", user, 1, MAX_USER_BYTES)
    return f"{USER_CHANNEL_PREFIX}{user}"


def encode_metadata(metadata: object) -> bytes:
    """Return metadata as compact JSON, NaN and infinity as null.

    Raises InvalidEvents where it is not JSON, too large or too deep.
    """
    try:
        encoded = _encoder.encode(metadata)
    except RecursionError as error:
        raise InvalidEvents("metadata: SET_METADATA's value is nested too deeply", field="metadata") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidEvents(f"metadata: SET_METADATA needs JSON: {error}", field="metadata") from error
    if len(encoded) > MAX_METADATA_BYTES:
        detail = f"needs at most {MAX_METADATA_BYTES} bytes of JSON, got {len(encoded)}"
        raise InvalidEvents(f"metadata: SET_METADATA {detail}", field="metadata")
    if _is_too_deep(encoded):
        detail = f"needs at most {MAX_METADATA_DEPTH} arrays and objects within each other"
        raise InvalidEvents(f"metadata: SET_METADATA {detail}", field="metadata")
    return encoded


def _is_too_deep(encoded: bytes) -> bool:
    if encoded.count(b"[") + encoded.count(b"{") <= MAX_METADATA_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", encoded)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_METADATA_DEPTH:
            return True
    return False


def check(event: Action, *, with_patterns: bool = True) -> None:
    """Check `event` against the protocol's limits, which its types do not express.

    Without `with_patterns` a name that ends in `:*`, or begins with `$user:`, is as any other. Raises InvalidEvents,
    without an index.
    """
    if not isinstance(event, PublishText | CloseChannel | History | Members):
        _size(event, "connectionId", event.connection_id)
    match event:
        case Accept():
            if event.subprotocol is not None:
                _size(event, "subprotocol", event.subprotocol)
            if event.user is not None:
                _check_bytes(event, "user", event.user, 1, MAX_USER_BYTES)
                if is_pattern(user_channel(event.user)):
                    raise _fault(event, "user", "needs a name that is not * and does not end in :*")
        case Subscribe():
            _check_channel(event, "channel", event.channel)
            if not isinstance(event.recover, bool):
                raise _fault(event, "recover", f"needs true or false, got {type(event.recover).__name__}")
            _check_since(event, event.since)
            if event.presence is not None:
                if not isinstance(event.presence, Presence):
                    raise _fault(event, "presence", f"needs a Presence, got {type(event.presence).__name__}")
                encode_info(event.presence.info)
        case Unsubscribe():
            _check_channel(event, "channel", event.channel)
        case PublishText():
            _check_channel(event, "channelId", event.channel)
            _check_bytes(event, "data", event.data, 0, MAX_TEXT_BYTES)
            if event.message_id is not None:
                _check_bytes(event, "id", event.message_id, 1, MAX_MESSAGE_ID_BYTES)
            if event.keep is not None:
                _check_keep(event, event.keep)
        case History():
            _check_channel(event, "channelId", event.channel)
            _check_since(event, event.since)
            _check_number(event, "limit", event.limit, MAX_KEPT)
        case Members():
            _check_channel(event, "channelId", event.channel)
        case CloseChannel():
            _check_channel(event, "channelId", event.channel)
            if event.except_connection_id is not None:
                _size(event, "exceptConnectionId", event.except_connection_id)
        case SendText():
            _check_bytes(event, "data", event.data, 0, MAX_TEXT_BYTES)
        case SetMetadata():
            encode_metadata(event.metadata)
        case PollForConnection():
            if not 0 <= event.timeout <= MAX_POLL_TIMEOUT_MS:
                raise _fault(event, "timeout", f"needs 0 to {MAX_POLL_TIMEOUT_MS} ms, got {event.timeout}")
    if with_patterns:
        _check_special_name(event)


def check_all(events: Sequence[Action]) -> None:
    """Check a batch against the protocol's limits. Raises InvalidEvents with the index of the first event at fault."""
    if len(events) > MAX_EVENTS:
        raise InvalidEvents(f"events: a batch has at most {MAX_EVENTS} events, got {len(events)}", field="events")
    for index, event in enumerate(events):
        try:
            check(event)
        except InvalidEvents as error:
            raise InvalidEvents(f"events[{index}].{error}", index=index, field=error.field) from error.__cause__


_encoder = msgspec.json.Encoder()
_request_decoder = msgspec.json.Decoder(BackendRequest)
_reply_decoder = msgspec.json.Decoder(_ReplyBody)
_control_decoder = msgspec.json.Decoder(_ControlBody)

_TYPES = frozenset(
    str(event.__struct_config__.tag) for kind in (ControlEvent, ReplyEvent, SocketEvent) for event in get_args(kind)
)


def _check_channel(event: Action, field: str, channel: str) -> None:
    _check_bytes(event, field, channel, 1, MAX_CHANNEL_BYTES)
    if channel.startswith(RESERVED_CHANNEL_PREFIX):
        raise _fault(event, field, f"needs a name that does not begin with {RESERVED_CHANNEL_PREFIX}")


def _check_special_name(event: Action) -> None:
    """Check the names of users' channels and of patterns: the former are not for the asking, the latter no channels."""
    match event:
        case Subscribe(channel=name) | Unsubscribe(channel=name) if name.startswith(USER_CHANNEL_PREFIX):
            raise _fault(event, "channel", f"needs a name that does not begin with {USER_CHANNEL_PREFIX}")
        case Subscribe(channel=name) | Unsubscribe(channel=name) if is_pattern(name):
            if (segments := segments_of(name)) > MAX_PATTERN_SEGMENTS:
                problem = f"needs a pattern of at most {MAX_PATTERN_SEGMENTS} segments, got {segments}"
                raise _fault(event, "channel", problem)
            for field in _NOT_OF_PATTERNS:
                if getattr(event, field, None) not in (None, False):
                    raise _fault(event, field, "cannot have it with a pattern, only with a channel")
        case PublishText(channel=name) | CloseChannel(channel=name) | History(channel=name) | Members(channel=name) if (
            is_pattern(name)
        ):
            raise _fault(event, "channelId", "needs a channel, got a pattern: its name ends in :*")


def _check_keep(event: PublishText, keep: Keep) -> None:
    if not isinstance(keep, Keep):
        raise _fault(event, "keep", f"needs a Keep, got {type(keep).__name__}")
    _check_number(event, "keep.count", keep.count, MAX_KEPT)
    _check_number(event, "keep.seconds", keep.seconds, MAX_KEPT_S)
    if (size := message_size(event.channel, event.data)) > MAX_TEXT_BYTES:
        raise _fault(event, "data", f"with keep needs at most {MAX_TEXT_BYTES} bytes in its frame, got {size}")


def message_size(channel: str, data: str) -> int:
    """Return the bytes of the largest frame that a kept message has for a client of `slip.v1`."""
    return len(_encoder.encode(MessageFrame(channel, data, _LONGEST_POSITION)))


def _check_since(event: Action, since: str | None) -> None:
    """Any string is valid. One that is not a position is not one that can be recovered from."""
    if since is not None:
        _size(event, "since", since)


def _check_number(event: Action, path: str, number: object, most: int) -> None:
    """Only Python callers can pass something else than an integer; the decoder rejects it."""
    if type(number) is not int:
        raise _fault(event, path, f"needs an integer, got {type(number).__name__}")
    if not 1 <= number <= most:
        shown = number if abs(number) < 2**63 else "a number of more than 64 bits"
        raise _fault(event, path, f"needs 1 to {most}, got {shown}")


def _check_bytes(event: Action | None, field: str, text: str, least: int, most: int) -> None:
    size = _size(event, field, text)
    if not least <= size <= most:
        bounds = f"{least} to {most}" if least else f"at most {most}"
        raise _fault(event, field, f"needs {bounds} bytes of UTF-8, got {size}")


def _size(event: Action | None, field: str, text: object) -> int:
    """Return the bytes of UTF-8. Only Python callers can pass a non-string; the decoder rejects them."""
    if not isinstance(text, str):
        raise _fault(event, field, f"needs a string, got {type(text).__name__}")
    try:
        return len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as error:
        raise _fault(event, field, "needs text, got an unpaired surrogate, which UTF-8 cannot say") from error


def _fault(event: Action | None, path: str, detail: str) -> InvalidEvents:
    """`event` is None where the value at fault is not a field of one."""
    tag = "" if event is None else f"{event.__struct_config__.tag} "
    return InvalidEvents(f"{path}: {tag}{detail}", field=path.partition(".")[0])
