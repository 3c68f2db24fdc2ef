"""Puts faults into valid JSON values, their text and bytes. All randomness comes from one seed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

CHARACTERS = (
    "\0", "\x07", "\n", "\r\n", "\t", "\x1b[2J", "\x7f", "\x85", "\xa0", "\u200b", "\u2028", "\u202e", "\ufdd0",
    "\ufeff", "\uffff", "\U0001f600", "\U0010ffff", "\ud800", "\udfff", "\udc00\ud800", "e\u0301", "\u0130", "\u00df",
    '"', "\\", "\\u0000", "'", "<", "&", "]]>", "%00", "%s", "{}", "${x}", "../", ",", ";", ":", "=", "#", "*", "/",
)  # fmt: skip
"""What a layer on the way refuses, or takes for its own: XML and so SQS, UTF-8, terminals, JSON, URLs, format."""

WORDS = (
    "", "type", "events", "connectionId", "connection_id", "channel", "channelId", "data", "metadata", "id", "ttl",
    "connectedAt", "claimant", "leaseUntil", "remaining", "S", "N", "M", "NULL", "#ttl", ":now", "$connection:",
    "claim", "mark:queued", "checkpoint", "$connection:AAAAAAAAAAAAAAA=", "$connect", "$default", "headers", "ip",
    "query", "Authorization", "requestContext", "eventType", "constructor", "__proto__", "__class__", "toString",
    "continuation", "fan_out", "zlib:", "zlib:eJwDAAAAAAE=", "null", "NaN", "OPEN", "ACCEPT", "TEXT", "CLOSE",
    "PUBLISH_TEXT", "HISTORY", "keep", "count", "seconds", "recover", "since", "limit", "position",
    "user", "$user:", "$user:ann", "exceptConnectionId",
)  # fmt: skip
"""Names that are ours, DynamoDB's, API Gateway's or a language's own."""

NUMBERS = (
    0, -0.0, -1, 1, 0.5, 1.0, 1_000, 1_001, 604_801, 24_999.5, 25_000, 25_000.1, 65_535, 2**31, 2**53 + 1, 2**63, 2**64,
    -(2**63) - 1, 10**30, 1e22, 1.7e308, 5e-324, math.nan, math.inf, -math.inf,
)  # fmt: skip
SIZES = (1, 16, 127, 128, 129, 1_023, 1_024, 1_025)
DEPTHS = (2, 30, 99, 100, 101, 200, 960, 1_000, 5_000)
ATOMS: tuple[Any, ...] = (None, True, False, "", [], {}, 0)


class Mutator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.chance = self.random.random

    def one_of(self, values: Sequence[T]) -> T:
        return values[int(self.chance() * len(values))]

    # New values

    def text(self) -> str:
        """Mostly plain, at times hostile; without surrogates."""
        kind = self.chance()
        if kind < 0.6:
            return f"text {self.random.getrandbits(16)}"
        if kind < 0.8:
            return "".join(self.one_of(CHARACTERS) for _ in range(3)).encode(errors="ignore").decode()
        if kind < 0.95:
            return self.one_of(WORDS)
        return self.one_of("ab\u00e9\u20ac\U0001f600") * self.one_of(SIZES)

    def json(self, depth: int = 3) -> Any:
        """A JSON value that UTF-8 can represent."""
        kind = self.chance()
        if kind < 0.35 or depth == 0:
            return self.text()
        if kind < 0.5:
            return self.one_of(ATOMS)
        if kind < 0.6:
            return self.one_of(NUMBERS[:-3])
        if kind < 0.75:
            return [self.json(depth - 1) for _ in range(int(self.chance() * 3))]
        return {self.text(): self.json(depth - 1) for _ in range(int(self.chance() * 4))}

    def deep(self) -> Any:
        value: Any = self.one_of(ATOMS)
        for _ in range(self.one_of(DEPTHS[:-3])):
            value = [value] if self.chance() < 0.5 else {"a": value}
        return value

    # Spoilt values

    def spoilt(self, value: Any) -> Any:
        """Return a copy of a JSON value with one fault in it somewhere."""
        if isinstance(value, dict) and value and self.chance() < 0.85:
            key = self.one_of(list(value))
            if self.chance() < 0.75:
                return value | {key: self.spoilt(value[key])}
            return self._spoilt_keys(value, key)
        if isinstance(value, list) and value and self.chance() < 0.9:
            at = int(self.chance() * len(value))
            if self.chance() < 0.85:
                return [*value[:at], self.spoilt(value[at]), *value[at + 1 :]]
            return self._spoilt_items(value, at)
        if isinstance(value, str) and self.chance() < 0.7:
            return self.spoilt_text(value)
        return self._another(value)

    def _spoilt_keys(self, value: dict[str, Any], key: str) -> dict[str, Any]:
        kind = self.chance()
        if kind < 0.3:
            return {name: each for name, each in value.items() if name != key}
        if kind < 0.5:
            return {self.spoilt_text(name) if name == key else name: each for name, each in value.items()}
        return value | {self.one_of(WORDS): self.json(2)}

    def _spoilt_items(self, value: list[Any], at: int) -> list[Any]:
        kind = self.chance()
        if kind < 0.3:
            return value[:at] + value[at + 1 :]
        if kind < 0.6:
            return [*value, value[at]]
        if kind < 0.8:
            return [*value[:at], self.json(2), *value[at:]]
        return value[::-1]

    def spoilt_text(self, text: str) -> str:
        kind = self.chance()
        at = int(self.chance() * (len(text) + 1))
        if kind < 0.45:
            return text[:at] + self.one_of(CHARACTERS) + text[at:]
        if kind < 0.6:
            return text[:at] + text[at + 1 :]
        if kind < 0.7:
            return text.swapcase()
        if kind < 0.8:
            return self.one_of(WORDS) + text
        if kind < 0.9:
            return self.one_of(WORDS)
        if kind < 0.98:
            return (text[:64] or "x") * self.one_of(SIZES)
        return "x" * self.one_of((65_530, 131_072, 131_073))

    def _another(self, value: Any) -> Any:
        kind = self.chance()
        if kind < 0.3:
            return self.one_of(ATOMS)
        if kind < 0.55:
            return self.one_of(NUMBERS)
        if kind < 0.65:
            return [value]
        if kind < 0.7:
            return str(value)
        if kind < 0.73:
            return self.deep()
        return self.json()

    def json_bytes(self, value: Any) -> bytes:
        """Write JSON one way or the other; surrogates as escapes, or as bytes that are not UTF-8."""
        is_ascii = self.chance() < 0.5
        separators = (",", ":") if self.chance() < 0.7 else (" ,\n", "\t: ")
        try:
            written = json.dumps(value, ensure_ascii=is_ascii, separators=separators)
        except RecursionError:
            written = "[" * 5_000 + "]" * 5_000
        return written.encode(errors="surrogatepass")

    def spoilt_bytes(self, body: bytes) -> bytes:
        """Break JSON's text."""
        kind = self.chance()
        at = int(self.chance() * (len(body) + 1))
        if kind < 0.2:
            return body[:at]
        if kind < 0.4:
            return body[:at] + bytes([self.random.getrandbits(8)]) + body[at + 1 :]
        if kind < 0.6:
            return body[:at] + self.one_of(TOKENS) + body[at:]
        if kind < 0.7:
            return body + self.one_of(TOKENS)
        if kind < 0.8:
            return self.one_of(TOKENS) + body
        if kind < 0.86:
            return body.replace(b'"type"', b'"type":"CLOSE","type"', 1)
        if kind < 0.9:
            return body.removesuffix(b"}") + b',"events":[]}'
        if kind < 0.95:
            return body.replace(b'"text', b'"\\u0074ext', 1)
        opening, closing = self.one_of(((b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")))
        depth = self.one_of(DEPTHS)
        return body.replace(b'"metadata":', b'"metadata":' + opening * depth + b"1" + closing * depth + b',"x":', 1)


TOKENS = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"\\", b'"', b",", b":",
    b"}", b"]", b"[", b"{", b"NaN", b"-Infinity", b"1e999", b"01", b"9" * 400, b"null", b" ", b"\n", b"//", b"'",
    b"[" * 99_999,
)  # fmt: skip
