"""Answers of HTTP/1.1, read from bytes as they come. No I/O.

https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 64 * 1024
"""The management API's answers have a few hundred bytes."""
_MAX_CHUNK_LINE_BYTES = 256

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
_LENGTH = re.compile(rb"[0-9]{1,12}")


class BadAnswer(Exception):
    """The bytes are no answer, or one that is too large. The connection must not be used again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` have lower-case names. After it the connection takes another request if `keeps_alive`."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    keeps_alive: bool


class AnswerReader:
    """Reads one answer to a POST, GET or DELETE. `has_begun` says whether a byte of it has come."""

    __slots__ = ("_at", "_headers", "_is_chunked", "_keeps_alive", "_length", "_parts", "_received", "_status")

    def __init__(self) -> None:
        self._received = b""
        self._status = 0  # until the head is whole
        self._headers: dict[bytes, bytes] = {}
        self._keeps_alive = False
        self._length: int | None = None  # None: to the end of the connection, unless it is chunked
        self._is_chunked = False
        self._at = 0  # where the body, or the next chunk, begins
        self._parts: list[bytes] = []

    @property
    def has_begun(self) -> bool:
        return bool(self._received)

    def feed(self, data: bytes) -> Answer | None:
        """Return the answer once it is whole. Raises BadAnswer."""
        self._received += data
        if not self._status and not self._read_head():
            return None
        if self._is_chunked:
            return self._read_chunks()
        received = len(self._received) - self._at
        if self._length is None:
            if received > MAX_BODY_BYTES:
                raise BadAnswer(f"the answer's body has more than {MAX_BODY_BYTES} bytes")
            return None
        if received < self._length:
            return None
        return self._answer(self._received[self._at : self._at + self._length], self._at + self._length)

    def end(self) -> Answer:
        """Return the answer that the end of the connection makes whole. Raises BadAnswer."""
        if not self.has_begun:
            raise BadAnswer("the connection was closed before the answer")
        if not self._status or self._is_chunked or self._length is not None:
            raise BadAnswer("the connection was closed within the answer")
        return Answer(self._status, self._headers, self._received[self._at :], keeps_alive=False)

    def _answer(self, body: bytes, end: int) -> Answer:
        # What follows an answer nobody asked for; whose would it be?
        return Answer(self._status, self._headers, body, self._keeps_alive and end == len(self._received))

    def _read_head(self) -> bool:
        while True:
            end = self._received.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
            if end < 0:
                if len(self._received) >= MAX_HEAD_BYTES:
                    raise BadAnswer(f"the answer's head has more than {MAX_HEAD_BYTES} bytes")
                if not self._received.startswith(b"HTTP/1."[: len(self._received)]):
                    raise BadAnswer("the answer is not HTTP/1.1")
                return False
            first, *lines = self._received[:end].split(b"\r\n")
            match = _STATUS_LINE.fullmatch(first)
            if match is None or match[2] == b"101":
                raise BadAnswer("the answer is not HTTP/1.1")
            if match[2][:1] != b"1":
                break
            self._received = self._received[end + 4 :]  # 100 or 103: the answer follows
            if not self._received:
                return False
        self._status = int(match[2])
        self._at = end + 4
        self._headers = headers = _parse_headers(lines)
        connection = headers.get(b"connection", b"").lower()
        self._keeps_alive = b"close" not in connection and (match[1] == b"1" or b"keep-alive" in connection)
        self._find_length()
        return True

    def _find_length(self) -> None:
        """https://www.rfc-editor.org/rfc/rfc9112#section-6.3, without what only proxies need."""
        length = self._headers.get(b"content-length")
        coding = self._headers.get(b"transfer-encoding")
        if self._status in (204, 304):
            self._length = 0
        elif coding is not None:
            if coding.lower() != b"chunked" or length is not None:
                raise BadAnswer("the answer's length is not clear")
            self._is_chunked = True
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise BadAnswer("the answer's length is not clear")
            self._length = int(length)
            if self._length > MAX_BODY_BYTES:
                raise BadAnswer(f"the answer's body has more than {MAX_BODY_BYTES} bytes")
        else:
            self._keeps_alive = False

    def _read_chunks(self) -> Answer | None:
        received = self._received
        # Whole chunks are taken at once; what is read is bounded, whatever the chunks add to it.
        if len(received) - self._at > 2 * MAX_BODY_BYTES:
            raise BadAnswer(f"the answer's body has more than {MAX_BODY_BYTES} bytes")
        while True:
            line_end = received.find(b"\r\n", self._at)
            if (line_end if line_end >= 0 else len(received)) - self._at > _MAX_CHUNK_LINE_BYTES:
                raise BadAnswer("the answer's chunks are malformed")
            if line_end < 0:
                return None
            match = _CHUNK_SIZE.fullmatch(received, self._at, line_end)
            if match is None:
                raise BadAnswer("the answer's chunks are malformed")
            size = int(match[1], 16)
            if size + sum(map(len, self._parts)) > MAX_BODY_BYTES:
                raise BadAnswer(f"the answer's body has more than {MAX_BODY_BYTES} bytes")
            if not size:
                return self._read_trailer(line_end)
            begin = line_end + 2
            end = begin + size
            if len(received) < end + 2:
                return None
            if received[end : end + 2] != b"\r\n":
                raise BadAnswer("the answer's chunks are malformed")
            self._parts.append(received[begin:end])
            self._at = end + 2

    def _read_trailer(self, line_end: int) -> Answer | None:
        end = self._received.find(b"\r\n\r\n", line_end)
        if end < 0:
            if len(self._received) - line_end > MAX_HEAD_BYTES:
                raise BadAnswer(f"the answer's head has more than {MAX_HEAD_BYTES} bytes")
            return None
        return self._answer(b"".join(self._parts), end + 4)


def _parse_headers(lines: list[bytes]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.split() != [name] or b"\n" in value or b"\r" in value:
            raise BadAnswer("the answer's headers are malformed")
        name = name.lower()
        value = value.strip(b" \t")
        if name in headers:
            if name in (b"content-length", b"transfer-encoding") and headers[name] != value:
                raise BadAnswer("the answer's length is not clear")
            if name == b"connection":
                value = headers[name] + b", " + value
        headers[name] = value
    return headers
