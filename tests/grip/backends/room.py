"""What both backends do: one room, and a few commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def handle(context: Any, publish: Callable[[str], object]) -> None:
    """Handle the events of a WebSocketContext. `publish` sends a text to the room."""
    if context.is_opening():
        context.accept()
        context.subscribe("room")
        context.meta["texts"] = "0"
    while context.can_recv():
        message = context.recv()
        if message is None:
            context.close(context.close_code)
            return
        context.meta["texts"] = str(int(context.meta["texts"]) + 1)
        match message.partition(" "):
            case "publish", _, text:
                publish(text)
            case "count", _, _:
                context.send(context.meta["texts"])
            case "leave", _, _:
                context.unsubscribe("room")
                context.send("left")
            case "later", _, text:
                context.send_control(json.dumps({"type": "send-delayed", "content": text, "timeout": 1}))
            case "close", _, _:
                context.close()
            case _:
                context.send(message)
