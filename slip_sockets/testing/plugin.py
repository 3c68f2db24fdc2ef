"""Fixtures for pytest. Put this into the conftest.py at the root of your tests:

pytest_plugins = ["slip_sockets.testing.plugin"]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .clients import Post
from .publishers import RecordingPublisher
from .sockets import Socket

if TYPE_CHECKING:
    from .async_publishers import AsyncRecordingPublisher


@pytest.fixture
def slip_sockets_secret() -> str:
    """The secret of the application under test. Override it if the application has another one."""
    return "change-me"


@pytest.fixture
def slip_socket(slip_sockets_secret: str) -> Callable[[Post], Socket]:
    """Call it with `flask_client(...)`, `django_client(...)` or `starlette_client(...)` to make a client's socket."""
    return lambda post: Socket(post, jwt_secret=slip_sockets_secret)


@pytest.fixture
def recording_publisher(slip_sockets_secret: str) -> RecordingPublisher:
    return RecordingPublisher(jwt_secret=slip_sockets_secret)


@pytest.fixture
def async_recording_publisher(slip_sockets_secret: str) -> AsyncRecordingPublisher:
    from .async_publishers import AsyncRecordingPublisher

    return AsyncRecordingPublisher(jwt_secret=slip_sockets_secret)
