"""What is wrong with a body that is not JSON, and where. It is slow: it reads what the decoder has refused.

The decoder tells of half a character that the data was truncated, and of a page of HTML that byte 0 is not valid.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from .decoding import without_mark

Path = tuple[str | int, ...]

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_WIDE = (
    (re.compile(rb"[^\0]\0\0\0|\0\0\0[^\0]"), "UTF-32"),
    (re.compile(rb"[^\0]\0|\0[^\0]"), "UTF-16"),
)
"""How text of ASCII begins in them without a mark. https://www.rfc-editor.org/rfc/rfc4627#section-3"""
_GZIP_MAGIC = b"\x1f\x8b"
_HTML = re.compile(rb"(?i)<(?:!doctype\s+html|html|head|body|title|meta|script|div|form|h1|p|center)\b")
_LOGIN = re.compile(
    rb"""(?ix) type \s* = \s* ["']? password | name \s* = \s* ["']? SAMLRequest
    | <(title|h1|h2|button)\b [^>]* > [^<]* \b (log|sign) [\s-]? (in|on) \b"""
)
_SEARCHED_BYTES = 64 * 1024
"""Of a page, for what it is."""

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_HIGH = re.compile(rb"\\u[dD][89abAB]")
_CUT_OFF = re.compile(rb"(?:\\(?:u[0-9a-fA-F]{0,3})?)?")
"""Of a pair, what is there of its second half where the body ends."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_BYTES = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_CESU = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_FOREIGN_WORD = re.compile(rb"-?(?:NaN|nan|Infinity|inf|undefined|None|True|False)\b")
"""What other languages write."""
_SHORT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_BYTE_IN_MESSAGE = re.compile(r" \(byte (\d+)\)$")


class JsonFault(NamedTuple):
    """`problem` completes the sentence "the body is not JSON: ...", or, with a `path`, "what is there needs ...".

    `type` is that of the event on the path, empty where there is none.
    """

    problem: str
    path: Path | None = None
    type: str = ""


class _Pairs(list[tuple[str, Any]]):
    """An object's names and values, a repeated name too."""


def page_in(body: bytes) -> str | None:
    """Return what a body is that is for a browser; None where it does not look like it."""
    start = without_mark(body)[:_SEARCHED_BYTES].lstrip()
    if not start.startswith(b"<"):
        return None
    if _LOGIN.search(start):
        return "a page of a login"
    return "a page of HTML" if _HTML.search(start) else "XML"


def json_fault(body: bytes, error: Exception) -> JsonFault:
    """Return what is wrong with a body for which a decoder raised `error`."""
    other = _other_format(body)
    if other is not None:
        return JsonFault(f"it {other}")
    text = without_mark(body)
    skipped = len(body) - len(text)
    at, what = min(_not_text(text), default=(len(text), ""))
    if not what:
        return _syntax_fault(body, skipped, error)
    problem = what.format(place=f"at {_place(body, at + skipped)}")
    try:
        found = next(_surrogates(_read(text), ()))
    except json.JSONDecodeError as syntax:
        if at > len(syntax.doc[: syntax.pos].encode("utf-8", "surrogateescape")):
            return _syntax_fault(body, skipped, error)
    except (RecursionError, MemoryError, StopIteration):
        pass
    else:
        return JsonFault(f"text{' as a name' if found.is_name else ''}, got {problem}", found.path, found.type())
    return JsonFault(f"it has {problem}")


def path_text(path: Path) -> str:
    """Return a path as in `events[2].metadata.name`. It is ASCII, and short."""
    parts: list[str] = []
    for step in path[:8]:
        if isinstance(step, str) and _SHORT_NAME.fullmatch(step):
            parts.append(f".{step}")
        else:
            parts.append(f"[{json.dumps(step if isinstance(step, int) else step[:20])}]")
    return "".join(parts).removeprefix(".") + ("..." if len(path) > 8 else "")


def _other_format(body: bytes) -> str | None:
    if not without_mark(body).strip():
        return "is empty"
    for mark, name in _MARKS:
        if body.startswith(mark):
            return f"is {name}. Send UTF-8"
    for pattern, name in _WIDE:
        if pattern.match(body):
            return f"looks like {name}. Send UTF-8"
    if body.startswith(_GZIP_MAGIC):
        return "is compressed with gzip, and its Content-Encoding does not say so"
    page = page_in(body)
    return None if page is None else f"is {page}"


def _not_text(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the places of the first bytes and of the first escape that are not text, and what is there."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        at = error.start
        bytes_ = text[at : at + 3].hex(" ")
        if _CESU.match(text, at):
            yield at, f"surrogates as bytes ({bytes_} {{place}}), which CESU-8 has and UTF-8 has not"
        elif _SURROGATE_BYTES.match(text, at):
            yield at, f"an unpaired surrogate ({bytes_} {{place}}), which UTF-8 cannot say"
        elif error.reason != "unexpected end of data":
            yield at, f"bytes that are not UTF-8 (0x{text[at]:02x} {{place}})"
    unpaired = _unpaired_escape(text)
    if unpaired is not None and not (_HIGH.match(text, unpaired) and _CUT_OFF.fullmatch(text, unpaired + 6)):
        half = "half of a character, as of a text that was cut within an emoji"
        yield unpaired, f"an unpaired surrogate ({text[unpaired : unpaired + 6].decode()} {{place}}), {half}"


def _unpaired_escape(text: bytes) -> int | None:
    """Return where the first escape begins that is half of a character, without its other half."""
    high = None
    for escape in _ESCAPE.finditer(text):
        code = int(escape[1] or b"0", 16)
        is_low = 0xDC00 <= code <= 0xDFFF
        if high is not None:
            if not (is_low and escape.start() == high + 6):
                return high
            high = None
        elif is_low:
            return escape.start()
        elif 0xD800 <= code <= 0xDBFF:
            high = escape.start()
    return high


def _read(text: bytes) -> Any:
    """Raises JSONDecodeError, or RecursionError."""
    # Of numbers nothing is needed, and Python refuses to read long ones.
    return json.loads(
        text.decode("utf-8", "surrogateescape"),
        object_pairs_hook=_Pairs,
        parse_int=str,
        parse_float=str,
        parse_constant=str,
    )


class _Found(NamedTuple):
    """A text with an unpaired surrogate, and the object at its path's second step; of a name, its object's path."""

    path: Path
    is_name: bool
    event: _Pairs | None

    def type(self) -> str:
        kind = None if self.event is None else dict(self.event).get("type")
        return kind if isinstance(kind, str) else ""


def _surrogates(value: Any, path: Path, event: _Pairs | None = None) -> Iterator[_Found]:
    match value:
        case str():
            if _SURROGATE.search(value):
                yield _Found(path, False, event)
        case _Pairs():
            event = value if len(path) == 2 else event
            for name, each in value:
                if _SURROGATE.search(name):
                    yield _Found(path, True, event)
                yield from _surrogates(each, (*path, name), event)
        case list():
            for index, each in enumerate(value):
                yield from _surrogates(each, (*path, index), event)


def _syntax_fault(body: bytes, skipped: int, error: Exception) -> JsonFault:
    """Return the decoder's own finding, with its place in the whole body."""
    message = str(error)
    found = _BYTE_IN_MESSAGE.search(message)
    if found is None:
        return JsonFault(f"it breaks off ({_place(body, len(body))})")
    at = int(found[1]) + skipped
    word = _FOREIGN_WORD.match(body, max(0, at - 1)) or _FOREIGN_WORD.match(body, at)
    problem = message[: found.start()] if word is None else f"{word[0].decode()} is not a value of JSON"
    return JsonFault(f"{problem} ({_place(body, at)})")


def _place(body: bytes, at: int) -> str:
    lines = body[:at].split(b"\n")
    if len(lines) == 1:
        return f"byte {at}"
    column = len(lines[-1].decode(errors="replace")) + 1
    return f"byte {at}, line {len(lines)}, column {column}"
