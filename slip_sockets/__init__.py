"""SLIP Sockets: a WebSocket server without a server. This is the client library; start at SlipSocketsPublisher."""

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
