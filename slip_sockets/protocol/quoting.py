"""How messages quote what others wrote."""

from __future__ import annotations

import os

MAX_QUOTED = 100
"""Characters of a value that a line shows; with its advice it is then two lines of a terminal."""


def quoted(text: str) -> str:
    """Return a text in quotation marks, what is not printable escaped, its end cut off where it is long."""
    if len(text) <= MAX_QUOTED:
        return repr(text)
    return f"{text[:MAX_QUOTED]!r}... ({len(text)} characters)"


def printable(text: str) -> str:
    """Return a text with `?` in the place of each character that is not printable."""
    return "".join(each if each.isprintable() else "?" for each in text)


def path_text(path: os.PathLike[str]) -> str:
    """Return a path as text that JSON can hold: bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
