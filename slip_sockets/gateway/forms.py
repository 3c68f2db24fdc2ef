"""How a text looks to a connection."""

from __future__ import annotations

from ..protocol.events import MAX_TEXT_BYTES
from ..protocol.frames import MessageFrame, encode_frame
from .values import Form, Publication


def text_of(publication: Publication, form: Form) -> str | None:
    """Return what a subscriber of a form is sent, None where it is too large for a frame."""
    if form is Form.RAW:
        return publication.data
    frame = encode_frame(MessageFrame(publication.channel, publication.data, publication.position))
    return frame if len(frame.encode()) <= MAX_TEXT_BYTES else None
