"""Django views that are handed the connection, and the publishers that the project's settings describe.

SLIP_SOCKETS_JWT_SECRET = ...      # in settings.py
SLIP_SOCKETS_CONTROL_API = ...     # to publish

@handler
def slip(connection: Connection) -> None: ...

urlpatterns = [path("slip", slip)]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.signals import setting_changed
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .client.adapter import PREFIX, AdapterSettings, Refused, receive
from .client.connection import Connection
from .client.publisher import SlipSocketsPublisher

if TYPE_CHECKING:
    from .client.async_publisher import AsyncSlipSocketsPublisher


@functools.cache
def publisher() -> SlipSocketsPublisher:
    """Return the project's publisher, which acts at once. Raises InvalidSettings."""
    return _settings().publisher(SlipSocketsPublisher)


@functools.cache
def async_publisher() -> AsyncSlipSocketsPublisher:
    """Return the project's publisher for async views. Raises InvalidSettings."""
    from .client.async_publisher import AsyncSlipSocketsPublisher

    return _settings().publisher(AsyncSlipSocketsPublisher)


def handler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a view of a function that takes the connection, and the route's parameters by name.

    An `async def` becomes an async view. The view responds with what the connection recorded; it ignores what the
    function returns. It responds to a bad token with 403, to a bad body with 400, to another method than POST with 405.
    It is exempt from CSRF protection, because the token proves who is calling.
    """
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def async_view(request: HttpRequest, **parameters: Any) -> HttpResponse:
            connection = _receive(request)
            if isinstance(connection, Connection):
                await function(connection, **parameters)
            return _response(connection)

        return csrf_exempt(require_POST(async_view))

    @functools.wraps(function)
    def view(request: HttpRequest, **parameters: Any) -> HttpResponse:
        connection = _receive(request)
        if isinstance(connection, Connection):
            function(connection, **parameters)
        return _response(connection)

    return csrf_exempt(require_POST(view))


@functools.cache
def _settings() -> AdapterSettings:
    return AdapterSettings.read(lambda name: getattr(settings, name, None), "your Django settings")


def _receive(request: HttpRequest) -> Connection | Refused:
    settings = _settings()
    return receive(request.headers, request.body, secrets=settings.secrets, subprotocol=settings.subprotocol)


def _response(connection: Connection | Refused) -> HttpResponse:
    body, status, headers = connection.response()
    return HttpResponse(body, status=status, headers=headers)


def _forget_settings(*, setting: str, **_: object) -> None:
    if setting.startswith(PREFIX):
        _settings.cache_clear()
        publisher.cache_clear()
        async_publisher.cache_clear()


# Sent by the tests' `override_settings`.
setting_changed.connect(_forget_settings, dispatch_uid="slip_sockets")
