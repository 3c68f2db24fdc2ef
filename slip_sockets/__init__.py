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
from .publisher import SlipSocketsPublisher

if TYPE_CHECKING:
    from .async_publisher import AsyncSlipSocketsPublisher

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


def __getattr__(name: str) -> object:
    """Import the async publisher when it is asked for: it needs aiohttp."""
    if name == "AsyncSlipSocketsPublisher":
        from .async_publisher import AsyncSlipSocketsPublisher

        return AsyncSlipSocketsPublisher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
