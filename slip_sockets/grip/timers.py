"""The timers of a connection: `send-delayed`, `keep-alive` and the header Keep-Alive-Interval."""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable, Mapping

from .state import State, Timer

DELAYED, KEEP_ALIVE, INTERVAL = "send-delayed", "keep-alive", "Keep-Alive-Interval"

DEFAULT_DELAY_S = 1
DEFAULT_KEEP_ALIVE_S = 55
"""As Pushpin's."""
MIN_INTERVAL_S = 20
"""Least Keep-Alive-Interval, as Pushpin's."""
MAX_TIMER_S = 600
"""By then API Gateway closes an idle socket."""

Skip = Callable[[str, str], None]


def send_delayed(state: State, message: Mapping[str, object], skip: Skip) -> str | None:
    """Send a text later. Return an earlier one that still waits, which goes now."""
    text, after_s = _content(message, DELAYED, skip), _timeout_s(message, DEFAULT_DELAY_S)
    if text is None or after_s is None:
        return None
    earlier = flush_delayed(state)
    _start(state, DELAYED, after_s, text, skip)
    return earlier


def flush_delayed(state: State) -> str | None:
    """Return the text that waits; it does so no longer."""
    timer = state.timers.pop(DELAYED, None)
    return timer.text if timer else None


def keep_alive(state: State, message: Mapping[str, object], skip: Skip) -> None:
    """Send a text again and again, in the mode `idle` after silence alone; without a text, no more."""
    mode = message.get("mode", "idle")
    if mode not in ("idle", "interval"):
        return
    after_s = _timeout_s(message, DEFAULT_KEEP_ALIVE_S)
    if after_s is None:
        return
    text = _content(message, KEEP_ALIVE, skip)
    if text is None:
        state.timers.pop(KEEP_ALIVE, None)
    else:
        _start(state, KEEP_ALIVE, after_s, text, skip, if_idle=mode == "idle")


def set_interval(state: State, header: str, skip: Skip) -> None:
    """Call the backend again and again, as the header's value says; 0 and all that is no number end that."""
    try:
        after_s = int(header)
    except ValueError:
        after_s = 0
    if after_s > 0:
        _start(state, INTERVAL, max(after_s, MIN_INTERVAL_S), None, skip)
    else:
        state.timers.pop(INTERVAL, None)


def _start(state: State, name: str, after_s: int, text: str | None, skip: Skip, *, if_idle: bool = False) -> None:
    """One that runs already, with the same values, goes on."""
    if after_s > MAX_TIMER_S:
        skip(f"{name} timeout", f"{name} after more than {MAX_TIMER_S} s: it is after {MAX_TIMER_S} s")
        after_s = MAX_TIMER_S
    running = state.timers.get(name)
    if running is None or (running.after_s, running.text, running.if_idle) != (after_s, text, if_idle):
        state.timers[name] = Timer(uuid.uuid4().hex, after_s, text, if_idle)


def _timeout_s(message: Mapping[str, object], default_s: int) -> int | None:
    """Return whole seconds, at least 1; None where they are not valid. As for Pushpin, any other text is 0."""
    timeout_s = message.get("timeout", default_s)
    if isinstance(timeout_s, str):
        timeout_s = int(timeout_s) if re.fullmatch("[+-]?[0-9]{1,9}", timeout_s) else 0
    if not isinstance(timeout_s, int | float) or timeout_s < 0:
        return None
    return max(1, math.ceil(min(timeout_s, MAX_TIMER_S + 1)))


def _content(message: Mapping[str, object], name: str, skip: Skip) -> str | None:
    """Return the text of a control message; None where there is none, or no text."""
    if message.get("message-type", "text") != "text":
        skip(f"{name} type", f"{name} of another type: API Gateway sends texts only")
        return None
    match message:
        case {"content-bin": str(encoded)}:
            return _decoded(encoded).decode(errors="replace")
        case {"content": str(text)} if "content-bin" not in message:
            return text
    return None


def _decoded(encoded: str) -> bytes:
    """Decode base64 as Pushpin: other characters are skipped, and what is cut off at the end."""
    digits = re.sub(r"[^A-Za-z0-9+/]", "", encoded)
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + "=" * (-len(digits) % 4))
