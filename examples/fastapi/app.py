"""Rooms on FastAPI: a text goes to all clients in the room, and a plain POST announces to a room."""

import os

from fastapi import FastAPI, Request

from slip_sockets import Close, Connection, Open, Text
from slip_sockets.starlette import SlipSockets

sockets = SlipSockets(
    control_api=os.environ.get("CONTROL_API", "http://127.0.0.1:8787/control"),
    jwt_secret=os.environ.get("JWT_SECRET", "change-me"),
)
app = FastAPI(lifespan=sockets.lifespan)


@app.post("/slip")
@sockets.handler
async def slip(connection: Connection) -> None:
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


@app.post("/announce/{room}")
async def announce(room: str, request: Request) -> dict[str, int]:
    report = await sockets.publisher.publish_text(f"room:{room}", (await request.body()).decode())
    return {"listeners": report.matched}


def channel_of(connection: Connection) -> str:
    match connection.metadata:
        case {"room": str(room)}:
            return f"room:{room}"
    return "room:lobby"
