"""Test your own handlers without a network: signed requests, simulated sockets, publishers that record.

    socket = Socket(flask_client(app.test_client(), "/slip"), jwt_secret="change-me")
    socket.open(query={"room": ["tea"]})
    assert socket.text("hi") == [PublishText("room:tea", "hi")]

Fixtures for pytest are in `slip_sockets.testing.plugin`.
"""

from typing import TYPE_CHECKING

from ..slip.backend import CONTENT_TYPE, read_reply
from .clients import Post, Posted, django_client, flask_client, starlette_client
from .publishers import RecordingPublisher, record
from .requests import CONNECTION_ID, SignedRequest, signed_request
from .sockets import ClientRefused, InvalidResponse, Socket

if TYPE_CHECKING:
    from .async_publishers import AsyncRecordingPublisher

__all__ = [
    "CONNECTION_ID",
    "CONTENT_TYPE",
    "AsyncRecordingPublisher",
    "ClientRefused",
    "InvalidResponse",
    "Post",
    "Posted",
    "RecordingPublisher",
    "SignedRequest",
    "Socket",
    "django_client",
    "flask_client",
    "read_reply",
    "record",
    "signed_request",
    "starlette_client",
]


if not TYPE_CHECKING:  # for type checkers every name would exist

    def __getattr__(name: str) -> object:
        """Import the async publisher at its first use, because it needs aiohttp."""
        if name == "AsyncRecordingPublisher":
            from .async_publishers import AsyncRecordingPublisher

            return AsyncRecordingPublisher
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
