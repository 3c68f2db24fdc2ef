"""Rooms on Flask: a text goes to all clients in the room, and a plain POST announces to a room."""

import os

from flask import Flask, request

from slip_sockets import Close, Connection, Open, Text
from slip_sockets.flask import SlipSockets

app = Flask(__name__)
app.config.from_mapping(
    SLIP_SOCKETS_CONTROL_API=os.environ.get("CONTROL_API", "http://127.0.0.1:8787/control"),
    SLIP_SOCKETS_JWT_SECRET=os.environ.get("JWT_SECRET", "change-me"),
)
sockets = SlipSockets(app)


@app.post("/slip")
@sockets.handler
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


@app.post("/announce/<room>")
def announce(room: str) -> dict[str, int]:
    report = sockets.publisher.publish_text(f"room:{room}", request.get_data(as_text=True))
    return {"listeners": report.matched}


def channel_of(connection: Connection) -> str:
    match connection.metadata:
        case {"room": str(room)}:
            return f"room:{room}"
    return "room:lobby"
