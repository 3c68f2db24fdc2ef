"""The chat's backend: plain HTTP. It holds no socket and stores nothing, so any number of copies may run.

The gateway keeps what is said, for a day: a newcomer is shown it, and a client that was away is sent what it missed.

The gateway knows who is in a room, too: each client is subscribed as a member, and its page is told who comes and goes.
So a restart of this backend loses nobody, and a tab that is reloaded has not left.

Each tab is a user of its own, under an id and a name that it chooses. A real application would know its users, for
instance by the cookie in `metadata["headers"]`.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from pathlib import Path
from typing import Any

from flask import Flask, Response, request, send_file

from slip_sockets import Connection, ControlApiError, Keep, Open, Presence, Text
from slip_sockets.browser import MODULE
from slip_sockets.flask import SlipSockets

MAX_NAME = 40
MAX_TEXT = 4_000
"""Characters; a longer text is cut. As JSON, this many always fit into one message."""
KEEP = Keep(count=200, seconds=24 * 60 * 60)
"""Of what is said in a room."""
SHOWN = 100
"""Messages that a newcomer is shown."""


def create_app() -> Flask:
    """Make the backend of the deployment that the file `OUTPUTS` describes; `JWT_SECRET` is that deployment's."""
    outputs = json.loads(Path(os.environ.get("OUTPUTS", "cdk-outputs.dev.json")).read_text())
    deployment = outputs[os.environ.get("STACK_NAME", "slip-sockets")]
    app = Flask(__name__)
    app.config["SLIP_SOCKETS_CONTROL_API"] = deployment["controlApi"]
    app.config["SLIP_SOCKETS_JWT_SECRET"] = os.environ["JWT_SECRET"]
    app.config["SLIP_SOCKETS_SUBPROTOCOL"] = "slip.v1"
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

    @app.get("/history.json")
    def history() -> dict[str, Any]:
        """Return what was said in a room, and the position of the last of it, from which the page goes on."""
        name = channel(tidy(request.args.get("room", ""), "lobby"))
        kept = sockets.publisher.history(name, limit=SHOWN)
        return {"channel": name, "position": kept.position, "messages": [each.data for each in kept.messages]}

    @app.post("/slip")
    @sockets.handler
    def slip(connection: Connection) -> None:
        """Handle what happens on the sockets."""
        for event in connection.events:
            match event:
                case Open():
                    join(connection)
                case Text(data=data):
                    listen(connection, data)

    @app.post("/announce")
    def announce() -> dict[str, int]:
        """Publish from an ordinary request. A real application would check that its sender may."""
        room, text = tidy(request.form.get("room", ""), "lobby"), request.form["text"][:MAX_TEXT]
        announced = message("announced", text=text, message=secrets.token_hex(12))
        report = sockets.publisher.publish_text(channel(room), announced, keep=KEEP)
        return {"listeners": report.matched}

    @app.errorhandler(ControlApiError)
    def not_published(error: ControlApiError) -> tuple[str, int]:
        return f"{error}\n", 502

    return app


def join(connection: Connection) -> None:
    query = connection.metadata["query"]
    name, room = tidy(query.get("name", [""])[0], "somebody"), tidy(query.get("room", [""])[0], "lobby")
    connection.accept(user=user_id(query.get("user", [""])[0]))
    connection.set_metadata({"name": name, "room": room})
    connection.subscribe(channel(room), recover=True, presence=Presence({"name": name}))
    connection.send_text(message("welcome", name=name, room=room))


def listen(connection: Connection, data: str) -> None:
    me = connection.metadata
    match parse(data):
        case {"type": "say", "text": str(text), "message": str(id_)} if text.strip():
            said = message(
                "said", user=connection.user or "", name=me["name"], text=text[:MAX_TEXT], message=id_[:MAX_NAME]
            )
            connection.publish_text(channel(me["room"]), said, keep=KEEP)


def channel(room: str) -> str:
    return f"room:{room}"


def user_id(text: str) -> str:
    """Return the id that a tab has made up, or another one where it is not of the page's making."""
    return text if re.fullmatch(r"[0-9a-f]{24}", text) else secrets.token_hex(12)


def message(kind: str, **fields: str) -> str:
    """Return a message for the page: JSON with the time in milliseconds, as JavaScript counts it."""
    return json.dumps({"type": kind, **fields, "at": int(time.time() * 1000)})


def parse(data: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None  # not of our page


def tidy(text: str, default: str) -> str:
    return " ".join(text.split())[:MAX_NAME].rstrip() or default
