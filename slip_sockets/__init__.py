"""SLIP Sockets: a WebSocket server without a server. This is the client library; start at SlipSocketsPublisher."""

from typing import TYPE_CHECKING

from .connection import Answer, Connection, refusal
from .errors import (
    BadToken,
    ControlApiError,
    ControlApiRefused,
    ControlApiUnavailable,
    ExpiredToken,
    InvalidEvents,
    InvalidSettings,
    InvalidToken,
    MissingToken,
    SlipSocketsError,
)
from .events import (
    Close,
    CloseChannel,
    CloseConnection,
    Open,
    PollForConnection,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Text,
    Unsubscribe,
)

if TYPE_CHECKING:
    from .async_publisher import AsyncSlipSocketsPublisher
    from .publisher import SlipSocketsPublisher

__all__ = [
    "Answer",
    "AsyncSlipSocketsPublisher",
    "BadToken",
    "Close",
    "CloseChannel",
    "CloseConnection",
    "Connection",
    "ControlApiError",
    "ControlApiRefused",
    "ControlApiUnavailable",
    "ExpiredToken",
    "InvalidEvents",
    "InvalidSettings",
    "InvalidToken",
    "MissingToken",
    "Open",
    "PollForConnection",
    "PublishText",
    "Report",
    "SendText",
    "SetMetadata",
    "SlipSocketsError",
    "SlipSocketsPublisher",
    "Subscribe",
    "Text",
    "Unsubscribe",
    "refusal",
]


_PUBLISHERS = {"AsyncSlipSocketsPublisher": ".async_publisher", "SlipSocketsPublisher": ".publisher"}


def __getattr__(name: str) -> object:
    """Import a publisher when it is asked for. The functions have no use for it and for requests, which would make a
    cold start of theirs a fifth longer (docs/speed.md); the async one needs aiohttp."""
    if name not in _PUBLISHERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLISHERS[name], __name__), name)
