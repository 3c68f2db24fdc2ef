"""Items that are published, read with Pushpin's rules and its texts of errors."""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..gateway.dialects import Batch
from ..gateway.values import Broadcast, ChannelClose, Link, Publication
from ..protocol.decoding import without_mark
from ..protocol.errors import InvalidEvents
from ..protocol.events import MAX_MESSAGE_ID_BYTES, CloseChannel, PublishText, check
from .filters import excluded

_Object = Mapping[str, Any]
_Skip = Callable[[str], None]

_FORMATS = ("ws-message", "http-stream", "http-response")
_ITEM = "publish item object"
_NEEDED = {
    "http-stream": "'content' or 'content-bin'",
    "http-response": "'body', 'body-bin', or 'body-patch'",
}
_ENOUGH = {
    "http-stream": ("content", "content-bin", "action"),
    "http-response": ("body", "body-bin", "body-patch", "action"),
}
ID_FOR_S = 60.0
"""How long an item's id is remembered: Pushpin's id_cache_ttl."""
_NOT_TEXT = ("binary", "ping", "pong")


class RefusedRequest(InvalidEvents):
    """A request that is not done. Its response has this text and status; the log has `log_text`, if that is another."""

    def __init__(
        self,
        text: str,
        *,
        status: int = http.HTTPStatus.BAD_REQUEST,
        headers: Mapping[str, str] | None = None,
        log_text: str | None = None,
    ) -> None:
        super().__init__(text if log_text is None else log_text)
        self.text = text
        self.status = status
        self.headers = headers or {}


def decode_items(body: bytes) -> Batch:
    """Return what the body of a publish asks for. Raises RefusedRequest."""
    try:
        message = msgspec.json.decode(without_mark(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedRequest("Body is not valid JSON.") from error
    if not isinstance(message, dict):
        raise RefusedRequest("Invalid format.")
    skipped: dict[str, None] = {}
    try:
        items = _field(message, "object", "items", list, needed=True)
        read = [_read_item(item, skipped.setdefault) for item in items]
    except _Invalid as error:
        raise RefusedRequest(f"Invalid format: {error}", log_text=f"Invalid format: {error.log_text}") from error
    return Batch([event for event in read if event is not None], list(skipped))


class _Invalid(ValueError):
    """`log_text` is the text without what the publisher has written."""

    def __init__(self, text: str, log_text: str | None = None) -> None:
        super().__init__(text)
        self.log_text = text if log_text is None else log_text


def _read_item(item: object, skip: _Skip) -> Broadcast | None:
    """Return what an item asks of the sockets, None where it asks for nothing."""
    if not isinstance(item, dict):
        raise _Invalid(f"{_ITEM} is not an object")
    channel: str = _field(item, _ITEM, "channel", str, needed=True)
    item_id: str | None = _field(item, _ITEM, "id", str)
    previous_id: str | None = _field(item, _ITEM, "prev-id", str)
    formats: _Object | None = _field(item, _ITEM, "formats", dict)
    if formats is None:
        formats = {name: item[name] for name in _FORMATS if name in item}
    if not formats:
        raise _Invalid("no formats specified")
    for name in _FORMATS:
        if name in formats and not isinstance(formats[name], dict):
            raise _Invalid(f"'{name}' is not an object")
    event = _read_message(channel, item_id, formats["ws-message"], skip) if "ws-message" in formats else None
    filters = _content_filters(formats["ws-message"]) if isinstance(event, PublishText) else None
    for name, enough in _ENOUGH.items():
        if name in formats and not any(key in formats[name] for key in enough):
            raise _Invalid(f"'{name}' does not contain {_NEEDED[name]}")
    meta: _Object = _field(item, _ITEM, "meta", dict) or {}
    _check_meta(meta)
    has_no_place = _field(item, _ITEM, "no-seq", bool)
    link = None if has_no_place else Link(_bounded(item_id), _bounded(previous_id))
    if event is not None:
        try:
            check(event, with_patterns=False)
        except InvalidEvents as error:
            raise _Invalid(f"{_ITEM}: {error}") from error
    match event:
        case PublishText(channel, data, message_id):
            id_for_s = None if message_id is None else ID_FOR_S
            left_out = excluded(channel, meta)
            return Publication(channel, data, message_id, left_out, link, id_for_s, bool(filters), filters)
        case CloseChannel(channel):
            return ChannelClose(channel, excluded(channel, meta), link)
    return None


def _read_message(
    channel: str, item_id: str | None, message: _Object, skip: _Skip
) -> PublishText | CloseChannel | None:
    name = "'ws-message'"
    match _field(message, name, "action", str) or "send":
        case "send":
            return PublishText(channel, _text(message, name), _bounded(item_id))
        case "close":
            code = message.get("code")
            if isinstance(code, int) and code < 0:
                raise _Invalid(f"{name} contains 'code' with invalid value")
            _field(message, name, "reason", str)
            if isinstance(code, int) and code not in (0, 1000):
                skip("the code of a close: clients see 1000")
            return CloseChannel(channel)
        case "hint":
            return None
        case _:
            raise _Invalid("")


def _content_filters(message: _Object) -> tuple[str, ...] | None:
    """Return the filters that a subscription must have to get a ws-message, None where it may have any."""
    filters = _field(message, "'ws-message'", "content-filters", list)
    if filters is not None and not all(isinstance(each, str) for each in filters):
        raise _Invalid("content-filters contains element with wrong type")
    return None if filters is None else tuple(filters)


def _text(message: _Object, name: str) -> str:
    """Return what a ws-message sends. Raises _Invalid where it is not text."""
    kind: str | None = _field(message, name, "type", str)
    if kind not in (None, "text", *_NOT_TEXT):
        raise _Invalid(f"{name} contains 'type' with unknown value")
    encoded: str | None = _field(message, name, "content-bin", str)
    content: str | None = None
    if encoded is None:
        content = _field(message, name, "content", str)
        if content is None and kind not in ("ping", "pong"):
            raise _Invalid(f"{name} does not contain 'content' or 'content-bin'")
    if kind in _NOT_TEXT or (kind is None and encoded is not None):
        raise _Invalid(f"{name} is of type {kind or 'binary'}; API Gateway sends texts only")
    if encoded is None:
        return content or ""
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise _Invalid(f"{name} contains 'content-bin' that is not text in base64") from error


def _check_meta(meta: _Object) -> None:
    for name, value in meta.items():
        if not isinstance(value, str):
            raise _Invalid(f"'meta' contains '{name}' with wrong type", "'meta' contains a value with wrong type")


def _bounded(item_id: str | None) -> str | None:
    """Return an id that the gateway takes in the place of one of any length, None for an empty one."""
    if not item_id:
        return None
    if len(item_id.encode(errors="replace")) <= MAX_MESSAGE_ID_BYTES:
        return item_id
    return hashlib.sha256(item_id.encode(errors="replace")).hexdigest()


def _field(fields: _Object, owner: str, name: str, kind: type, *, needed: bool = False) -> Any:
    """Return a field of `owner`, None where it is not there. Raises _Invalid."""
    if name not in fields:
        if needed:
            raise _Invalid(f"{owner} does not contain '{name}'")
        return None
    if not isinstance(fields[name], kind):
        raise _Invalid(f"{owner} contains '{name}' with wrong type")
    return fields[name]
