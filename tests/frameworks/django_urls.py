from __future__ import annotations

from django.urls import path

from slip_sockets import Connection
from slip_sockets.django import handler

from .behaviour import act


@handler
def slip(connection: Connection, room: str) -> None:
    act(connection, room)


@handler
async def async_slip(connection: Connection, room: str) -> None:
    act(connection, room)


urlpatterns = [path("sync/<str:room>", slip), path("async/<str:room>", async_slip)]
