"""Reads a response as a connection does, and returns what came of it as one comparable value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from slip_sockets.http.errors import BadResponse
from slip_sockets.http.reader import Response, ResponseReader

MAX_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Whole:
    status: int
    headers: dict[str, str]
    body: bytes
    keeps_alive: bool


@dataclass(frozen=True, slots=True)
class Bad:
    error: type[BadResponse]
    text: str


def read(parts: Iterable[bytes], *, max_bytes: int = MAX_BYTES, max_error_bytes: int | None = None) -> Whole | Bad:
    """Feed the parts, and the end of the connection if they are not a whole response."""
    reader = ResponseReader(max_bytes=max_bytes, max_error_bytes=max_error_bytes)
    try:
        for part in filter(None, parts):
            response = reader.feed(part)
            if response is not None:
                return _whole(reader, response)
        return _whole(reader, reader.end())
    except BadResponse as error:
        return Bad(type(error), str(error))


def _whole(reader: ResponseReader, response: Response) -> Whole:
    assert response.status == reader.status
    return Whole(response.status, dict(response.headers), response.body, reader.keeps_alive)


def splits(data: bytes) -> Iterable[list[bytes]]:
    """Return all ways to split `data` in two, and the one into single bytes."""
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]
