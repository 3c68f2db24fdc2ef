"""Django views that are handed the connection, and the publishers that the project's settings describe.

SLIP_SOCKETS_CONTROL_API = ...     # in settings.py
SLIP_SOCKETS_JWT_SECRET = ...

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

from .adapter import PREFIX, AdapterSettings, received
from .connection import Answer, Connection
from .publisher import SlipSocketsPublisher

if TYPE_CHECKING:
    from .async_publisher import AsyncSlipSocketsPublisher


@functools.cache
def publisher() -> SlipSocketsPublisher:
    """Return the project's publisher, which acts at once. Raises InvalidSettings."""
    return _settings().publisher(SlipSocketsPublisher)


@functools.cache
def async_publisher() -> AsyncSlipSocketsPublisher:
    """Return the project's publisher for async views. Raises InvalidSettings."""
    from .async_publisher import AsyncSlipSocketsPublisher

    return _settings().publisher(AsyncSlipSocketsPublisher)


def handler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a view of a function that takes the connection, and the route's parameters by name.

    Of an `async def` it makes an async view. What the connection recorded is answered; what the function returns is not
    looked at. A bad token is answered with 403, a bad body with 400, another method than POST with 405. The view is
    exempt from CSRF protection: the token proves who is calling.
    """
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def async_view(request: HttpRequest, **parameters: Any) -> HttpResponse:
            connection = received(publisher(), request.headers, request.body)
            if isinstance(connection, Connection):
                await function(connection, **parameters)
            return _response(connection.answer())

        return csrf_exempt(require_POST(async_view))

    @functools.wraps(function)
    def view(request: HttpRequest, **parameters: Any) -> HttpResponse:
        connection = received(publisher(), request.headers, request.body)
        if isinstance(connection, Connection):
            function(connection, **parameters)
        return _response(connection.answer())

    return csrf_exempt(require_POST(view))


def _settings() -> AdapterSettings:
    return AdapterSettings.read(lambda name: getattr(settings, name, None), "your Django settings")


def _response(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=answer.headers)


def _forget_publishers(*, setting: str, **_: object) -> None:
    if setting.startswith(PREFIX):
        publisher.cache_clear()
        async_publisher.cache_clear()


# Sent by the tests' `override_settings`.
setting_changed.connect(_forget_publishers, dispatch_uid="slip_sockets")
