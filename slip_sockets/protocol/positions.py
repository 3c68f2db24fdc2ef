"""Positions of kept messages: `<epoch>:<offset>`."""

from __future__ import annotations

import re
import secrets
import string

import msgspec

EPOCH_LENGTH = 8
"""Of the gateway's own epochs."""
_EPOCH_CHARACTERS = string.ascii_letters + string.digits
_POSITION = re.compile(r"([A-Za-z0-9]{1,32}):(0|[1-9][0-9]{0,14})")


class Position(msgspec.Struct, frozen=True):
    """A message's place in its channel. Offsets count from 1 without a gap; 0 is before the first message.

    Positions of different epochs say nothing of each other.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def new_epoch() -> str:
    return "".join(secrets.choice(_EPOCH_CHARACTERS) for _ in range(EPOCH_LENGTH))


def read_position(text: str) -> Position | None:
    """Return None where `text` is no position."""
    found = _POSITION.fullmatch(text)
    return None if found is None else Position(found[1], int(found[2]))
