"""How messages quote what others wrote."""

from __future__ import annotations

MAX_QUOTED = 100
"""Characters of a value that a line shows; with its advice it is then two lines of a terminal."""


def quoted(text: str) -> str:
    """Return a text in quotation marks, what is not printable escaped, its end cut off where it is long."""
    if len(text) <= MAX_QUOTED:
        return repr(text)
    return f"{text[:MAX_QUOTED]!r}... ({len(text)} characters)"
