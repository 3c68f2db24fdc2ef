"""Texts that a client has numbered, because their order matters: U+0001, a number from 1 on, U+0001, and the text.

`slip-sockets.js` does so with its option `numberTexts`. The backend sees the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

_NUMBER = re.compile("\x01([1-9][0-9]{0,14})\x01")


class NumberedText(msgspec.Struct, frozen=True):
    """`number` is None where the client gave none."""

    number: int | None
    data: str
    id: str | None = None


def read_number(text: str, id_: str | None = None) -> NumberedText:
    found = _NUMBER.match(text)
    return NumberedText(None, text, id_) if found is None else NumberedText(int(found[1]), text[found.end() :], id_)


def in_order(texts: Sequence[NumberedText]) -> list[NumberedText]:
    """Return the texts in the order of their numbers. A text without a number stays where it is."""
    numbered = iter(sorted((text for text in texts if text.number is not None), key=lambda text: text.number or 0))
    return [text if text.number is None else next(numbered) for text in texts]


def is_early(texts: Sequence[NumberedText], *, next_number: int) -> bool:
    """Return whether a forerunner of texts that are in order is missing."""
    for text in texts:
        if text.number is not None:
            if text.number > next_number:
                return True
            next_number = max(next_number, text.number + 1)
    return False


def number_after(texts: Sequence[NumberedText], *, next_number: int) -> int:
    """Return the number that comes next when these are handled."""
    return max([next_number, *(text.number + 1 for text in texts if text.number is not None)])
