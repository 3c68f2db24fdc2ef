"""The chat's backend: plain HTTP. It holds no socket and remembers nothing, so any number of copies may run.

Who is here is known by those who are here: a client that hears of a newcomer answers HERE to it, through us. A restart
of this program therefore forgets nobody. And the gateway sees every tab that closes or crashes: its CLOSE brings back
the metadata of the one who left, and comes again later if we could not be reached.

Names are what the clients say they are. A real application would know its users, by the cookie in
`metadata["headers"]` for instance.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from flask import Flask, Response, request, send_file

from slip_sockets import Close, Connection, ControlApiError, Open, Text
from slip_sockets.browser import MODULE
from slip_sockets.flask import SlipSockets

MAX_NAME = 40
MAX_TEXT = 4_000
"""Characters; what is longer is cut. As JSON, so many always fit into one text frame."""


def create_app() -> Flask:
    """Make the backend of the deployment that the file `OUTPUTS` describes; `JWT_SECRET` is that deployment's."""
    outputs = json.loads(Path(os.environ.get("OUTPUTS", "cdk-outputs.dev.json")).read_text())
    deployment = outputs[os.environ.get("STACK_NAME", "slip-sockets")]
    app = Flask(__name__)
    app.config["SLIP_SOCKETS_CONTROL_API"] = deployment["controlApi"]
    app.config["SLIP_SOCKETS_JWT_SECRET"] = os.environ["JWT_SECRET"]
    sockets = SlipSockets(app)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/slip-sockets.js")
    def module() -> Response:
        return send_file(MODULE, mimetype="text/javascript")

    @app.get("/settings.json")
    def settings() -> dict[str, str]:
        return {"websocketUrl": deployment["websocketUrl"]}

    @app.post("/slip")
    @sockets.handler
    def slip(connection: Connection) -> None:
        """What happens on the sockets."""
        for event in connection.events:
            match event:
                case Open():
                    join(connection)
                case Text(data=data):
                    listen(connection, data)
                case Close():
                    leave(connection)

    @app.post("/announce")
    def announce() -> dict[str, int | None]:
        """Publish from an ordinary request, as from anywhere else. A real application would ask who is asking."""
        room, text = tidy(request.form.get("room", ""), "lobby"), request.form["text"][:MAX_TEXT]
        report = sockets.publisher.publish_text(channel(room), frame("announced", text=text))
        return {"listeners": report.matched if report else None}

    @app.errorhandler(ControlApiError)
    def not_published(error: ControlApiError) -> tuple[str, int]:
        return f"{error}\n", 502

    return app


def join(connection: Connection) -> None:
    query = connection.metadata["query"]
    name, room = tidy(query.get("name", [""])[0], "somebody"), tidy(query.get("room", [""])[0], "lobby")
    connection.accept()
    connection.set_metadata({"name": name, "room": room})
    # In this order: of two who join at once, each hears of the other by JOINED or by HERE.
    connection.subscribe(channel(room))
    connection.send_text(frame("welcome", connection, name=name, room=room))
    connection.publish_text(channel(room), frame("joined", connection, name=name))


def listen(connection: Connection, data: str) -> None:
    me = connection.metadata
    match parse(data):
        case {"type": "say", "text": str(text), "message": str(message)} if text.strip():
            said = frame("said", connection, name=me["name"], text=text[:MAX_TEXT], message=message[:MAX_NAME])
            connection.publish_text(channel(me["room"]), said)
        case {"type": "here", "to": str(newcomer)} if newcomer.isascii():
            connection.send_text(frame("here", connection, name=me["name"]), connection_id=newcomer)


def leave(connection: Connection) -> None:
    me = connection.metadata
    connection.publish_text(channel(me["room"]), frame("left", connection, name=me["name"]))


def channel(room: str) -> str:
    return f"room:{room}"


def frame(kind: str, who: Connection | None = None, **what: str) -> str:
    """Return a text frame for the page: JSON with the time in milliseconds, as JavaScript counts it."""
    whose = {"id": who.connection_id} if who else {}
    return json.dumps({"type": kind, **whose, **what, "at": int(time.time() * 1000)})


def parse(data: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # not from our page


def tidy(text: str, otherwise: str) -> str:
    return " ".join(text.split())[:MAX_NAME].rstrip() or otherwise
