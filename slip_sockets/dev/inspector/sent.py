"""What is sent to a client, in a line."""

from __future__ import annotations

import msgspec

from ...protocol.decoding import UNREADABLE
from ...protocol.frames import PresenceFrame

_BEGINNING = '{"slip":"presence"'
_decoder = msgspec.json.Decoder(PresenceFrame)


def described(data: str) -> str:
    """Return what it is: a text, or who has come to a channel and who has left."""
    frame = _presence_frame(data)
    if frame is None:
        return "a text"
    changes = [
        f"{len(frame.joined):,} came" if frame.joined and not frame.all else "",
        f"{len(frame.left):,} left" if frame.left else "",
        f"{frame.count:,} in all",
    ]
    return f"who is in {frame.channel!r} ({', '.join(filter(None, changes))})"


def _presence_frame(data: str) -> PresenceFrame | None:
    if not data.startswith(_BEGINNING):
        return None
    try:
        return _decoder.decode(data)
    except (*UNREADABLE, UnicodeEncodeError):
        return None
