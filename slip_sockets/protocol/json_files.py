"""JSON files that people save, copy and mistake for others: outputs files, price files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from .decoding import UNREADABLE

T = TypeVar("T")

MAX_FILE_BYTES = 16 * 1024 * 1024
"""More than any such file has. Some files have no end, as /dev/zero."""


class NotSuchAFile(ValueError):
    """The text says what is wrong with a file's content, and completes a sentence: `f"{path}: {error}"`."""


def read_json_file(path: str | os.PathLike[str], kind: type[T]) -> T:
    """Return the content of a file in UTF-8; a byte order mark before it is ignored (RFC 8259, section 8.1).

    Raises OSError where the file cannot be read, and NotSuchAFile.
    """
    with Path(path).open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise NotSuchAFile(f"it is larger than {MAX_FILE_BYTES // 1024**2} MB")
    text = _text(data).removeprefix("\ufeff")
    if not text.strip():
        raise NotSuchAFile("it is empty")
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise NotSuchAFile(f"its JSON has another shape: {error}") from error
    except UNREADABLE as error:
        raise NotSuchAFile(f"it is not JSON: {error}") from error


def _text(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    if encoding.startswith(("utf-16", "utf-32")) and _is_text(data, encoding):
        raise NotSuchAFile(f"it is {encoding[:6].upper()}, as PowerShell writes. Save it as UTF-8")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NotSuchAFile(f"it is not UTF-8 at byte {error.start}. Save it as UTF-8") from error


def _is_text(data: bytes, encoding: str) -> bool:
    try:
        return "\0" not in data.decode(encoding)
    except UnicodeDecodeError:
        return False
