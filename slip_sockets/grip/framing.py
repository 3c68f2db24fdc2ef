"""The framing of WebSocket-over-HTTP, read as Pushpin reads it.

A body is events one after another, each `TYPE CRLF` or `TYPE SP length CRLF content CRLF`, the length in hexadecimal.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import msgspec

CONTENT_TYPE = "application/websocket-events"

_LENGTH = re.compile(rb"\s*\+?(?:0[xX])?([0-9A-Fa-f]+)\s*")
_MAX_LENGTH = 2**31 - 1


class Event(msgspec.Struct, frozen=True):
    """`content` is None where the event has no length."""

    type: str
    content: bytes | None = None


class BrokenFraming(ValueError):
    """A body that is not a sequence of events."""


def encode(events: Iterable[Event]) -> bytes:
    return b"".join(map(_encoded, events))


def decode(body: bytes) -> list[Event]:
    """Return the events of a body. Raises BrokenFraming.

    Only the line with type and length is checked: content that is cut off at the end of the body is taken as it is, and
    any two bytes may stand in the place of the line break behind it.
    """
    return list(iterate(body))


def iterate(body: bytes) -> Iterator[Event]:
    """Yield the events of a body. Raises BrokenFraming after those that stand before the fault."""
    start = 0
    for number in itertools.count():
        if start >= len(body):
            return
        end = body.find(b"\r\n", start)
        if end < 0:
            raise BrokenFraming(f"events[{number}]: its line has no end")
        name, blank, length = body[start:end].partition(b" ")
        start = end + 2
        content = None
        if blank:
            size = _length(length)
            if size is None:
                raise BrokenFraming(f"events[{number}]: its length is not a hexadecimal number")
            content = body[start : start + size]
            start += size + 2
        yield Event(name.decode("latin-1"), content)


def _encoded(event: Event) -> bytes:
    name = event.type.encode("latin-1")
    if event.content is None:
        return b"%b\r\n" % name
    return b"%b %x\r\n%b\r\n" % (name, len(event.content), event.content)


def _length(text: bytes) -> int | None:
    found = _LENGTH.fullmatch(text)
    if found is None:
        return None
    length = int(found[1], 16)
    return length if length <= _MAX_LENGTH else None
