"""SLIP Sockets: a WebSocket server without a server. This is the client library.

A backend works with Connection, which an adapter of its framework or `parse_request` makes; SlipSocketsPublisher
publishes from anywhere.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client.async_publisher import AsyncSlipSocketsPublisher
    from .client.connection import Connection, Response, error_response, parse_request
    from .client.publisher import SlipSocketsPublisher
    from .protocol.errors import (
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
    from .protocol.events import (
        Accept,
        Close,
        CloseChannel,
        CloseConnection,
        ControlEvent,
        History,
        HistoryReport,
        Keep,
        KeptMessage,
        Member,
        Members,
        Occupied,
        Open,
        PollForConnection,
        Presence,
        PresenceReport,
        PublishText,
        ReplyEvent,
        Report,
        SendText,
        SetMetadata,
        SocketEvent,
        Subscribe,
        Text,
        Unsubscribe,
        Vacated,
        user_channel,
    )

__all__ = [
    "Accept",
    "AsyncSlipSocketsPublisher",
    "BadToken",
    "Close",
    "CloseChannel",
    "CloseConnection",
    "Connection",
    "ControlApiError",
    "ControlApiRefused",
    "ControlApiUnavailable",
    "ControlEvent",
    "ExpiredToken",
    "History",
    "HistoryReport",
    "InvalidEvents",
    "InvalidSettings",
    "InvalidToken",
    "Keep",
    "KeptMessage",
    "Member",
    "Members",
    "MissingToken",
    "Occupied",
    "Open",
    "PollForConnection",
    "Presence",
    "PresenceReport",
    "PublishText",
    "ReplyEvent",
    "Report",
    "Response",
    "SendText",
    "SetMetadata",
    "SlipSocketsError",
    "SlipSocketsPublisher",
    "SocketEvent",
    "Subscribe",
    "Text",
    "Unsubscribe",
    "Vacated",
    "error_response",
    "parse_request",
    "user_channel",
]

_MODULES = {
    ".client.async_publisher": ("AsyncSlipSocketsPublisher",),
    ".client.connection": ("Connection", "Response", "error_response", "parse_request"),
    ".client.publisher": ("SlipSocketsPublisher",),
    ".protocol.errors": (
        "BadToken",
        "ControlApiError",
        "ControlApiRefused",
        "ControlApiUnavailable",
        "ExpiredToken",
        "InvalidEvents",
        "InvalidSettings",
        "InvalidToken",
        "MissingToken",
        "SlipSocketsError",
    ),
    ".protocol.events": (
        "Accept",
        "Close",
        "CloseChannel",
        "CloseConnection",
        "ControlEvent",
        "History",
        "HistoryReport",
        "Keep",
        "KeptMessage",
        "Member",
        "Members",
        "Occupied",
        "Open",
        "PollForConnection",
        "Presence",
        "PresenceReport",
        "PublishText",
        "ReplyEvent",
        "Report",
        "SendText",
        "SetMetadata",
        "SocketEvent",
        "Subscribe",
        "Text",
        "Unsubscribe",
        "user_channel",
        "Vacated",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


if not TYPE_CHECKING:  # for type checkers every name would exist

    def __getattr__(name: str) -> object:
        """Import a name at its first use: requests and aiohttp are large, and the functions' zip has no `client`."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_MODULE_OF[name], __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
