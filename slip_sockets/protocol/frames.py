"""The frames of the subprotocol `slip.v1`: JSON objects with their kind in the member `slip`. No I/O."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from .decoding import UNREADABLE

SUBPROTOCOL = "slip.v1"


class _Frame(msgspec.Struct, frozen=True, rename="camel", tag_field="slip", omit_defaults=True):
    pass


class TextFrame(_Frame, tag="text", frozen=True):
    """A text for this connection, or from it."""

    data: str


class MessageFrame(_Frame, tag="message", frozen=True):
    """A message that was published to a channel. `position` is there where it was kept."""

    channel: str
    data: str
    position: str | None = None


class SubscribedFrame(_Frame, tag="subscribed", frozen=True):
    """What was missed of a channel has been sent. `position` is the newest.

    `recovered` says whether all of it was sent; it is absent where nobody asked for that. `since` is then the position
    that was asked with, absent where it was none: by it a response is known to be none to an older question.
    """

    channel: str
    position: str
    recovered: bool | None = None
    since: str | None = None


class Joined(msgspec.Struct, frozen=True):
    """A member that has come, or has other info now. `info` is any JSON, null where it has none."""

    user: str
    info: Any


class PresenceFrame(_Frame, tag="presence", frozen=True, kw_only=True):
    """Who has come to a channel and who has left, and how many are there.

    With `all` those in `joined` are all that are there. Without any member the channel has too many to be listed:
    `count` is all that is known.
    """

    channel: str
    all: bool = False
    joined: list[Joined] = []
    left: list[str] = []
    count: int


class FrameError(enum.StrEnum):
    NOT_SUBSCRIBED = "not_subscribed"
    INVALID = "invalid"
    TOO_LARGE = "too_large"


class ErrorFrame(_Frame, tag="error", frozen=True):
    """A frame of the client could not be done."""

    code: FrameError
    channel: str | None = None


class RecoverFrame(_Frame, tag="recover", frozen=True):
    """Asks for what was kept after the position `since`."""

    channel: str
    since: str


class PingFrame(_Frame, tag="ping", frozen=True):
    """Asks for a pong."""


class PongFrame(_Frame, tag="pong", frozen=True):
    """Answers a ping."""


ServerFrame = TextFrame | MessageFrame | SubscribedFrame | PresenceFrame | ErrorFrame | PongFrame
ClientFrame = TextFrame | RecoverFrame | PingFrame


class InvalidFrame(Exception):
    """A client sent something else than a frame."""


def encode_frame(frame: ServerFrame | ClientFrame) -> str:
    return _encoder.encode(frame).decode()


def decode_client_frame(text: str) -> ClientFrame | None:
    """Return None for a frame of an unknown kind. Raises InvalidFrame."""
    try:
        if _kind_decoder.decode(text).slip not in _CLIENT_KINDS:
            return None
        frame: ClientFrame = _client_decoder.decode(text)
        return frame
    except (*UNREADABLE, UnicodeEncodeError) as error:
        raise InvalidFrame(str(error)) from error


class _Kind(msgspec.Struct):
    slip: str


_encoder = msgspec.json.Encoder()
_kind_decoder = msgspec.json.Decoder(_Kind)
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_CLIENT_KINDS = frozenset({"text", "recover", "ping"})
