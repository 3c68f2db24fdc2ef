"""Positions of kept messages: `<epoch>:<offset>`."""

from __future__ import annotations

import re

import msgspec

_POSITION = re.compile(r"([A-Za-z0-9]{1,32}):(0|[1-9][0-9]{0,14})")


class Position(msgspec.Struct, frozen=True):
    """A message's place in its channel. Offsets count from 1 without a gap; 0 is before the first message.

    Positions of different epochs say nothing of each other.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def read_position(text: str) -> Position | None:
    """Return None where `text` is no position."""
    found = _POSITION.fullmatch(text)
    return None if found is None else Position(found[1], int(found[2]))
