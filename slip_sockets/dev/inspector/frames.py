"""A body of WebSocket-over-HTTP as the page shows it: its frames."""

from __future__ import annotations

from typing import Any

from ...grip.framing import BrokenFraming, Event, iterate
from .records import Body


def frames(body: Body) -> dict[str, Any]:
    """Return the frames of the kept part of a body, `more` for the bytes behind it, and why others cannot be read.

    The end of a body of which a part alone is kept may break off in a frame's first line; that is not a fault.
    """
    found: list[dict[str, Any]] = []
    fault: str | None = None
    try:
        found.extend(map(_shown, iterate(body.kept)))
    except BrokenFraming as error:
        fault = str(error) if len(body.kept) == body.size else None
    return {"frames": found, "fault": fault, "bytes": body.size, "more": body.size - len(body.kept)}


def _shown(event: Event) -> dict[str, Any]:
    content = event.content
    return {"type": event.type, "bytes": None if content is None else len(content), "text": _text(event)}


def _text(event: Event) -> str:
    content = event.content or b""
    if event.type == "CLOSE" and len(content) >= 2:
        return f"{int.from_bytes(content[:2])} {content[2:].decode(errors='replace')}".rstrip()
    if event.type == "BINARY":
        return content.hex(" ")
    return content.decode(errors="replace")
