"""The control messages in a reply: texts that begin with `c:`, and what each changes of a connection's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..protocol.decoding import without_mark
from ..protocol.errors import InvalidEvents
from ..protocol.events import Subscribe, check
from .filters import FILTERS
from .state import State
from .timers import flush_delayed, keep_alive, send_delayed

CONTROL_PREFIX = b"c:"
MAX_CONTROL_BYTES = 16_384
"""Pushpin ignores a larger control message."""
MAX_CHANNELS = 20
"""Subscriptions of a connection: Pushpin's connection_subscription_max, unless set otherwise."""

Skip = Callable[[str, str], None]
"""Notes what cannot be done: its kind, and a few words for the log. Each kind is logged once for a connection."""


def decode_control(content: bytes) -> Mapping[str, Any] | None:
    """Return the control message `c:content`; None where it is one that Pushpin ignores."""
    try:
        message = msgspec.json.decode(without_mark(content), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    match message:
        case {"type": "subscribe" | "unsubscribe", "channel": str(name)} | {"type": "set-meta", "name": str(name)}:
            return message if name else None
        case {"type": "detach" | "session" | "keep-alive" | "send-delayed" | "flush-delayed"}:
            return message
    return None


def apply_control(content: bytes, state: State, skip: Skip) -> str | None:
    """Do what the control message `c:content` says. What is malformed is ignored, as by Pushpin.

    Return a text that is to be sent now, None for most.
    """
    if len(content) + len(CONTROL_PREFIX) > MAX_CONTROL_BYTES:
        skip("control-size", f"a control message of more than {MAX_CONTROL_BYTES} bytes")
        return None
    message = decode_control(content)
    if message is None:
        return None
    match message:
        case {"type": "subscribe", "channel": channel}:
            _subscribe(channel, message.get("filters", []), state, skip)
        case {"type": "unsubscribe", "channel": channel}:
            state.channels.pop(channel, None)
        case {"type": "detach"}:
            state.is_detached = True
        case {"type": "set-meta", "name": name, "value": str(value)}:
            state.user_meta[name] = value
        case {"type": "set-meta", "name": name} if "value" not in message:
            state.user_meta.pop(name, None)
        case {"type": "keep-alive"}:
            keep_alive(state, message, skip)
        case {"type": "send-delayed"}:
            return send_delayed(state, message, skip)
        case {"type": "flush-delayed"}:
            return flush_delayed(state)
    return None


def _subscribe(channel: str, filters: object, state: State, skip: Skip) -> None:
    if not isinstance(filters, list) or not all(isinstance(name, str) for name in filters):
        return
    try:
        check(Subscribe("", channel), with_patterns=False)
    except InvalidEvents as error:
        skip("channel", f"a subscription: {error}")
        return
    if len({*state.channels, channel}) > MAX_CHANNELS:
        skip("channels", f"a subscription to more than {MAX_CHANNELS} channels")
        return
    if not set(filters) <= set(FILTERS):
        skip("filter", "a filter of another name: messages are sent as they are")
    state.channels[channel] = list(filters)
