"""A Flask extension: views that are handed the connection, and a publisher.

app.config.from_mapping(SLIP_SOCKETS_CONTROL_API=..., SLIP_SOCKETS_JWT_SECRET=...)
sockets = SlipSockets(app)

@app.post("/slip")
@sockets.handler
def slip(connection: Connection) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, request

from .adapter import AdapterSettings, received
from .connection import Answer, Connection
from .publisher import SlipSocketsPublisher


class SlipSockets:
    """One deployment of SLIP Sockets, as `SLIP_SOCKETS_...` in the application's config describes it."""

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the settings, which must be in `app.config` by now. Raises InvalidSettings."""
        settings = AdapterSettings.read(app.config.get, "app.config")
        app.extensions["slip_sockets"] = settings.publisher(SlipSocketsPublisher)

    @property
    def publisher(self) -> SlipSocketsPublisher:
        """The current application's publisher, which acts at once."""
        if "slip_sockets" not in current_app.extensions:
            raise RuntimeError("this application has no SLIP Sockets: call SlipSockets.init_app(app)")
        publisher: SlipSocketsPublisher = current_app.extensions["slip_sockets"]
        return publisher

    def handler(self, function: Callable[..., Any]) -> Callable[..., Answer]:
        """Make a view of a function that takes the connection, and the route's parameters by name.

        It may be `async def`, with Flask's extra `async`. What the connection recorded is answered; what the function
        returns is not looked at. A bad token is answered with 403, a bad body with 400.
        """

        @functools.wraps(function)
        def view(**parameters: Any) -> Answer:
            connection = received(self.publisher, request.headers, request.get_data())
            if isinstance(connection, Connection):
                current_app.ensure_sync(function)(connection, **parameters)
            return connection.answer()

        return view
