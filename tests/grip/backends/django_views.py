"""The views of `with_django_grip`."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, HttpResponseForbidden
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django_grip import publish, websocket_only
from gripcontrol import WebSocketMessageFormat

from tests.grip.backends.room import handle


@csrf_exempt
@websocket_only  # type: ignore[untyped-decorator]
def sockets(request: Any) -> HttpResponse:
    if not request.grip.signed or "refuse" in request.GET:
        return HttpResponseForbidden()
    handle(request.wscontext, lambda text: publish("room", WebSocketMessageFormat(text), blocking=True))
    return HttpResponse()


urlpatterns = [path("ws", sockets)]
