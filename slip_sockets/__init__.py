"""SLIP Sockets: a WebSocket server without a server. This is the client library; start at SlipSocketsPublisher."""

from typing import TYPE_CHECKING, Any

from .connection import Answer, Connection
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
    from .publisher import SlipSocketsPublisher

__all__ = [
    "Answer",
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
]


def __getattr__(name: str) -> Any:
    """Import the publisher when it is asked for: the functions have no use for it and requests, which it needs.

    It would make a cold start of theirs a fifth longer (docs/speed.md).
    """
    if name != "SlipSocketsPublisher":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .publisher import SlipSocketsPublisher

    return SlipSocketsPublisher
