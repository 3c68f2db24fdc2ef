"""Test your own handlers without a network: signed requests, sockets that play the gateway, publishers that record.

    socket = Socket(flask_client(app.test_client(), "/slip"), jwt_secret="change-me")
    socket.open(query={"room": ["tea"]})
    assert socket.text("hi") == [PublishText("room:tea", "hi")]

Fixtures for pytest are in `slip_sockets.testing.plugin`.
"""

from typing import TYPE_CHECKING

from ..gateway.backend import CONTENT_TYPE, read_answer
from .clients import Post, Posted, django_client, flask_client, starlette_client
from .publishers import RecordingPublisher, record
from .requests import CONNECTION_ID, SignedRequest, signed_request
from .sockets import AnswerRefused, ClientRefused, Socket

if TYPE_CHECKING:
    from .async_publishers import AsyncRecordingPublisher

__all__ = [
    "CONNECTION_ID",
    "CONTENT_TYPE",
    "AnswerRefused",
    "AsyncRecordingPublisher",
    "ClientRefused",
    "Post",
    "Posted",
    "RecordingPublisher",
    "SignedRequest",
    "Socket",
    "django_client",
    "flask_client",
    "read_answer",
    "record",
    "signed_request",
    "starlette_client",
]


def __getattr__(name: str) -> object:
    """Import the async publisher when it is asked for: it needs aiohttp."""
    if name == "AsyncRecordingPublisher":
        from .async_publishers import AsyncRecordingPublisher

        return AsyncRecordingPublisher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
