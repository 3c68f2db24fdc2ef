"""Decodes a body of events, and says in the protocol's words what is wrong with it and where."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec

from .errors import InvalidEvents

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that decoding JSON may raise, whatever the bytes."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8. A reader may ignore it: https://www.rfc-editor.org/rfc/rfc8259#section-8.1"""

_Body = TypeVar("_Body")

_VALIDATION_ERROR = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_EVENT_PATH = re.compile(r"events\[(?P<index>\d+)\](?:\.(?P<field>\w+))?.*")
_EXPECTED = re.compile(r"Expected `(?P<expected>[^`]*)`(?:, got `(?P<got>[^`]*)`)?")
_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`")
_WORDS = {
    "str": "a string",
    "array": "an array",
    "object": "an object",
    "float": "a number",
    "int": "an integer",
    "bool": "true or false",
}


def without_mark(body: bytes) -> bytes:
    """Return a body without UTF-8's byte order mark."""
    return body.removeprefix(BYTE_ORDER_MARK)


def decode(decoder: msgspec.json.Decoder[_Body], body: bytes, types: Collection[str]) -> _Body:
    """Return a body's value. `types` are those of the protocol's events. Raises InvalidEvents."""
    text = without_mark(body)
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _explained(str(error), text, types) from error
    except RecursionError as error:
        raise InvalidEvents("the body is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(body, error, types) from error


def _not_json(body: bytes, error: Exception, types: Collection[str]) -> InvalidEvents:
    from .json_faults import json_fault, path_text  # few bodies need them, and a cold start waits for an import

    fault = json_fault(body, error)
    index: int | None
    field: str | None
    match fault.path:
        case None:
            return InvalidEvents(f"the body is not JSON: {fault.problem}")
        case ("events", int(index), *rest):
            subject = fault.type if fault.type in types else "an event"
            field = rest[0] if rest and isinstance(rest[0], str) and rest[0].isidentifier() else None
        case _:
            index, field, subject = None, None, "the body"
    return InvalidEvents(
        f"{path_text(fault.path) or 'body'}: {subject} needs {fault.problem}", index=index, field=field
    )


def _explained(message: str, body: bytes, types: Collection[str]) -> InvalidEvents:
    """Turn "Expected `str`, got `int` - at `$.events[2].data`" into "events[2].data: TEXT needs a string, got int"."""
    match = _VALIDATION_ERROR.fullmatch(message)
    problem, path = (match["problem"], match["path"] or "") if match else (message, "")
    missing = _MISSING.fullmatch(problem)
    if missing:
        path = f"{path}.{missing['field']}".lstrip(".")
    place = _EVENT_PATH.fullmatch(path)
    index = int(place["index"]) if place else None
    field = place["field"] if place else path or None
    if field == "type" and problem.startswith("Invalid value"):
        name = problem.removeprefix("Invalid value ")[1:-1]
        return InvalidEvents(f"{path}: unknown event type {name[:60]!r}", index=index, field=field)
    subject = "the body" if index is None else _type_of_event(body, index, types) if field else "an event"
    return InvalidEvents(f"{path or 'body'}: {subject} {_need(problem)}", index=index, field=field)


def _need(problem: str) -> str:
    if _MISSING.fullmatch(problem):
        return "needs this field, and it is missing"
    expected = _EXPECTED.fullmatch(problem)
    if expected:
        need = " or ".join(_WORDS.get(name, name) for name in expected["expected"].split(" | "))
        return f"needs {need}, got {expected['got']}" if expected["got"] else f"needs {need}"
    return f"is not valid: {problem[:200]}"


class _RawBody(msgspec.Struct):
    events: list[msgspec.Raw]


class _TypeOnly(msgspec.Struct):
    type: str = ""


def _type_of_event(body: bytes, index: int, types: Collection[str]) -> str:
    try:
        name = msgspec.json.decode(msgspec.json.decode(body, type=_RawBody).events[index], type=_TypeOnly).type
    except (*UNREADABLE, IndexError):
        return "an event"  # its type is wrong too, or the rest of the body, or the body has `events` twice
    return name if name in types else "an event"
