"""What the application does in each framework."""

from __future__ import annotations

from slip_sockets import Connection


def act(connection: Connection, room: str) -> None:
    if connection.is_opening:
        connection.accept()
        connection.subscribe(room)
    for data in connection.texts:
        if data == "fail":
            connection.publish_text("", "an application's own mistake")
        connection.publish_text(room, data)
