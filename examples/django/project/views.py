"""Rooms on Django: a text goes to all clients in the room, and a plain POST announces to a room."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from slip_sockets import Close, Connection, Open, Text
from slip_sockets.django import handler, publisher


@handler
def slip(connection: Connection) -> None:
    for event in connection.events:
        match event:
            case Open():
                room = connection.metadata["query"].get("room", ["lobby"])[0][:40]
                connection.accept()
                connection.set_metadata({"room": room})
                connection.subscribe(f"room:{room}")
            case Text(data=data):
                connection.publish_text(channel_of(connection), data)
            case Close():
                connection.publish_text(channel_of(connection), "somebody left")


@csrf_exempt
def announce(request: HttpRequest, room: str) -> JsonResponse:
    report = publisher().publish_text(f"room:{room}", request.body.decode())
    return JsonResponse({"listeners": report.matched})


def channel_of(connection: Connection) -> str:
    match connection.metadata:
        case {"room": str(room)}:
            return f"room:{room}"
    return "room:lobby"
