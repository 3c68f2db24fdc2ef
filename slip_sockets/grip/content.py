"""Filters of content: each subscriber gets another text, made of the published one and what set-meta has stored.

`var-subst` puts the connection's meta in the place of `%(name)s`, `build-id` an id in the place of `%(id)I`; `%%` is a
percent sign. What cannot be replaced is an error: that subscriber does not get the message. The ids of Pushpin's
channels, which `%I` needs, are for HTTP streams alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..gateway.values import Publication
from .filters import CONTENT_FILTERS
from .state import State

_DIRECTIVE = re.compile(rb"%(?:(?P<percent>%)|\((?P<name>(?:[^\\)]|\\.)+)\)(?P<kind>[A-Za-z])|)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def filtered(state: State, publication: Publication) -> str | None:
    """Return what a subscriber gets of a publication, None where that is nothing."""
    filters = content_filters(state, publication.channel)
    if publication.content_filters is not None and publication.content_filters != filters:
        return None
    content = publication.data.encode()
    try:
        for name in filters:
            content = _FILTERS[name](content, state)
    except _Irreplaceable:
        return None
    return content.decode(errors="replace")


def filtered_channels(state: State) -> set[str]:
    """Return the channels of subscriptions with a filter of content."""
    return {channel for channel in state.channels if content_filters(state, channel)}


def content_filters(state: State, channel: str) -> tuple[str, ...]:
    return tuple(name for name in state.channels.get(channel, ()) if name in CONTENT_FILTERS)


class _Irreplaceable(Exception):
    """A directive that is malformed, or without a value."""


def _build_id(content: bytes, state: State) -> bytes:
    encoding = state.user_meta.get("id_encoding")
    if "id_format" not in state.user_meta or encoding not in (None, "hex"):
        raise _Irreplaceable
    return _replaced(content, b"I", lambda name: name.hex().encode() if encoding else name)


def _substitute(content: bytes, state: State) -> bytes:
    def value(name: bytes) -> bytes:
        found = state.user_meta.get(name.decode(errors="replace"))
        if found is None:
            raise _Irreplaceable
        return found.encode()

    return _replaced(content, b"s", value)


def _replaced(content: bytes, kind: bytes, value: Callable[[bytes], bytes]) -> bytes:
    """Replace each `%(name)` and `kind` by the value of the name."""

    def replace(found: re.Match[bytes]) -> bytes:
        if found["percent"]:
            return b"%"
        if found["kind"] != kind:
            raise _Irreplaceable
        return value(_ESCAPED.sub(rb"\1", found["name"]))

    return _DIRECTIVE.sub(replace, content)


_FILTERS = {"build-id": _build_id, "var-subst": _substitute}
