"""A Flask extension: views that are handed the connection, and a publisher.

app.config.from_mapping(SLIP_SOCKETS_JWT_SECRET=...)     # and SLIP_SOCKETS_CONTROL_API=... to publish
sockets = SlipSockets(app)

@app.post("/slip")
@sockets.handler
def slip(connection: Connection) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from flask import Flask, current_app, request

from .client.adapter import AdapterSettings, receive
from .client.connection import Connection, Response
from .client.publisher import SlipSocketsPublisher


class _Extension(NamedTuple):
    """What an application has of us. `publisher` is None where the settings name no control API."""

    settings: AdapterSettings
    publisher: SlipSocketsPublisher | None


class SlipSockets:
    """One deployment of SLIP Sockets, as `SLIP_SOCKETS_...` in the application's config describes it."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the settings, which must be in `app.config` by now. Raises InvalidSettings."""
        settings = AdapterSettings.read(app.config.get, "app.config")
        publisher = settings.publisher(SlipSocketsPublisher) if settings.has_control_api else None
        app.extensions["slip_sockets"] = _Extension(settings, publisher)

    @property
    def publisher(self) -> SlipSocketsPublisher:
        """The current application's publisher, which acts at once. Raises InvalidSettings without a control API."""
        settings, publisher = _extension()
        return publisher or settings.publisher(SlipSocketsPublisher)

    def handler(self, function: Callable[..., Any]) -> Callable[..., Response]:
        """Make a view of a function that takes the connection, and the route's parameters by name.

        The function may be `async def`, with Flask's extra `async`. The view responds with what the connection
        recorded; it ignores what the function returns. It responds to a bad token with 403, to a bad body with 400.
        """

        @functools.wraps(function)
        def view(**parameters: Any) -> Response:
            settings, _ = _extension()
            connection = receive(
                request.headers, request.get_data(), secrets=settings.secrets, subprotocol=settings.subprotocol
            )
            if isinstance(connection, Connection):
                current_app.ensure_sync(function)(connection, **parameters)
            return connection.response()

        return view


def _extension() -> _Extension:
    if "slip_sockets" not in current_app.extensions:
        raise RuntimeError("this application has no SLIP Sockets: call SlipSockets.init_app(app)")
    extension: _Extension = current_app.extensions["slip_sockets"]
    return extension
