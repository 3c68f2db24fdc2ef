"""What commands print and read: JSON documents, reports, texts from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec
import typer

from ..protocol.errors import InvalidEvents
from ..protocol.events import Report


def print_json(document: Any) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())


def text_or_stdin(text: str) -> str:
    """Return the text, or for `-` all of stdin without one newline at its end. Raises InvalidEvents."""
    if text != "-":
        return text
    return _decoded(_stdin().read()).removesuffix("\n").removesuffix("\r")


def lines_of_stdin() -> Iterator[str]:
    """Yield each line when it arrives, without its end. Raises InvalidEvents."""
    for line in _stdin():
        yield _decoded(line).rstrip("\r\n")


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise InvalidEvents("stdin is closed. Send the text to it, or give it as an argument")
    return sys.stdin.buffer


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvents(f"stdin is not UTF-8: {error.reason} at byte {error.start}") from error


def in_one_line(text: str) -> str:
    """Return a text as a terminal may show it: line ends and control characters escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def time_of(milliseconds: int) -> str:
    """Return a time, in milliseconds since 1970, as text in UTC."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # another gateway's
        return str(milliseconds)


def described(report: Report, kind: str, done: str) -> str:
    """Return a report in words. `kind` is what it counts, `done` what has happened to those in `sent`."""
    if not report.is_reported:
        return "done (this gateway does not report)"
    matched = f"{'at least ' if report.more else ''}{report.matched:,} {kind}{'' if report.matched == 1 else 's'}"
    parts = {done: report.sent, "gone": report.gone, "queued": report.queued}
    counts = [f"{count:,} {name}" for name, count in parts.items() if count]
    kept = f"; kept at {report.position}" if report.position else ""
    return (f"{matched}: {', '.join(counts)}" if counts else matched) + kept
