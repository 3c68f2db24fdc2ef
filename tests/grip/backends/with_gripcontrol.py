"""A backend with gripcontrol and pubcontrol alone, as their documentation has it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from struct import pack
from typing import Any

from gripcontrol import (
    GripPubControl,
    WebSocketContext,
    WebSocketEvent,
    WebSocketMessageFormat,
    decode_websocket_events,
    encode_websocket_events,
    parse_grip_uri,
    validate_sig,
)
from pubcontrol import Item

from tests.grip.backends.room import handle
from tests.grip.backends.serving import serve

CONFIG = parse_grip_uri(os.environ["GRIP_URL"])
PUBLISHER = GripPubControl(CONFIG)

StartResponse = Callable[[str, list[tuple[str, str]]], object]


def publish(text: str) -> None:
    PUBLISHER.publish("room", Item(WebSocketMessageFormat(text)), blocking=True)


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    is_signed = validate_sig(environ.get("HTTP_GRIP_SIG", ""), CONFIG["key"], iss=CONFIG.get("verify_iss"))
    if not is_signed or "refuse" in environ["QUERY_STRING"]:
        start_response("403 Forbidden", [])
        return [b""]
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    meta = {name[10:].lower(): value for name, value in environ.items() if name.startswith("HTTP_META_")}
    context = WebSocketContext(environ["HTTP_CONNECTION_ID"], meta, decode_websocket_events(body))
    handle(context, publish)
    events = [WebSocketEvent("OPEN")] if context.accepted else []
    events += context.out_events
    if context.closed:
        events.append(WebSocketEvent("CLOSE", pack(">H", context.out_close_code)))
    headers = [(f"Set-Meta-{name}", value) for name, value in context.meta.items()]
    if context.accepted:
        headers.append(("Sec-WebSocket-Extensions", "grip"))
    start_response("200 OK", [("Content-Type", "application/websocket-events"), *headers])
    return [encode_websocket_events(events)]


if __name__ == "__main__":
    serve(application)
