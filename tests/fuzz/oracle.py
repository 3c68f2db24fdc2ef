"""The rules of docs/protocol.md about bodies, written a second time, and the effects of valid events."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from slip_sockets.protocol.events import (
    MAX_KEPT,
    MAX_KEPT_S,
    MAX_METADATA_BYTES,
    MAX_METADATA_DEPTH,
    MAX_TEXT_BYTES,
)
from slip_sockets.protocol.patterns import MAX_CHANNEL_BYTES

_POSITION = re.compile("[a-zA-Z0-9]{1,32}:(?:0|[1-9][0-9]{0,14})")
Event = dict[str, Any]
Frame = dict[str, Any]

COMMON = {
    "TEXT": ("connectionId", "data"),
    "CLOSE": ("connectionId",),
    "SUBSCRIBE": ("connectionId", "channel"),
    "UNSUBSCRIBE": ("connectionId", "channel"),
    "SET_METADATA": ("connectionId", "metadata"),
    "PUBLISH_TEXT": ("channelId", "data"),
    "CLOSE_CHANNEL": ("channelId",),
}
CONTROL = COMMON | {"POLL_FOR_CONNECTION": ("connectionId", "timeout"), "HISTORY": ("channelId",)}
REPLY = COMMON | {"ACCEPT": ("connectionId",)}
OPTIONAL_TEXTS = {
    "PUBLISH_TEXT": ("id",),
    "ACCEPT": ("subprotocol", "user"),
    "SUBSCRIBE": ("since",),
    "HISTORY": ("since",),
    "CLOSE_CHANNEL": ("exceptConnectionId",),
}
"""Fields that may be missing or null."""


class Unsure(Exception):
    """JSON's specification leaves the case open, and so does ours."""


class _Refused(Exception):
    pass


def events_of(body: bytes, kinds: dict[str, tuple[str, ...]]) -> list[Event] | None:
    """Return a body's events, None where it must be refused. Raises Unsure."""
    try:
        parsed = json.loads(body.decode().removeprefix("\ufeff"), parse_constant=_refuse, object_pairs_hook=_object)
        return _events(parsed, kinds)
    except RecursionError:
        raise Unsure from None
    except (ValueError, _Refused):
        if _is_lenient_about(body):
            raise Unsure from None
        return None


def _is_lenient_about(body: bytes) -> bool:
    """Names of unknown fields need not be UTF-8: they are not read."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return False


def _refuse(constant: str) -> None:
    raise _Refused(constant)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs) and made.keys() & {"type", "events"}:
        raise Unsure
    return made


def _events(parsed: Any, kinds: dict[str, tuple[str, ...]]) -> list[Event]:
    _utf8(parsed)
    events = parsed.get("events") if isinstance(parsed, dict) else None
    if not isinstance(events, list):
        raise _Refused
    for event in events:
        _check(event, kinds)
    return events


def _utf8(value: Any) -> None:
    json.dumps(value, ensure_ascii=False).encode()


def _check(event: Any, kinds: dict[str, tuple[str, ...]]) -> None:
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise _Refused
    for name in kinds[kind]:
        if name not in event:
            raise _Refused
        if name == "timeout":
            if type(event[name]) not in (int, float) or not 0 <= event[name] <= 25_000:
                raise _Refused
        elif name == "metadata":
            _check_metadata(event[name])
        elif not isinstance(event[name], str):
            raise _Refused
    for name in ("channel", "channelId"):
        if name in kinds[kind]:
            channel = event[name]
            if not 1 <= len(channel.encode()) <= MAX_CHANNEL_BYTES or channel.startswith("$connection:"):
                raise _Refused
            if name == "channel" and channel.startswith("$user:"):
                raise _Refused
            if channel.endswith(":*"):
                _check_pattern(event, channel)
    if "data" in kinds[kind] and len(event["data"].encode()) > MAX_TEXT_BYTES:
        raise _Refused
    for name in OPTIONAL_TEXTS.get(kind, ()):
        if not isinstance(event.get(name), str | None):
            raise _Refused
    if kind == "PUBLISH_TEXT":
        _check_publish(event)
    elif kind == "ACCEPT":
        _check_user(event.get("user"))
    elif kind == "SUBSCRIBE" and not isinstance(event.get("recover", False), bool):
        raise _Refused
    elif kind == "HISTORY":
        _check_number(event.get("limit", 100), MAX_KEPT)


def _check_pattern(event: Event, name: str) -> None:
    if event["type"] not in ("SUBSCRIBE", "UNSUBSCRIBE") or len(name.split(":")) > 5:
        raise _Refused
    if event["type"] == "SUBSCRIBE" and (event.get("recover", False) or event.get("since") is not None):
        raise _Refused


def _check_user(user: str | None) -> None:
    if user is not None and (not 1 <= len(user.encode()) <= 128 or user == "*" or user.endswith(":*")):
        raise _Refused


def _check_publish(event: Event) -> None:
    name, keep = event.get("id"), event.get("keep")
    if name is not None and not 1 <= len(name.encode()) <= 128:
        raise _Refused
    if keep is None:
        return
    if not isinstance(keep, dict):
        raise _Refused
    _check_number(keep.get("count"), MAX_KEPT)
    _check_number(keep.get("seconds"), MAX_KEPT_S)
    if not _fits(_message(event, "A" * 8 + ":" + "9" * 15)):
        raise _Refused


def _message(event: Event, position: str | None) -> Frame:
    frame = {"slip": "message", "channel": event["channelId"], "data": event["data"]}
    return frame if position is None else frame | {"position": position}


def _fits(frame: Frame) -> bool:
    return len(json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()) <= MAX_TEXT_BYTES


def fit_frames(events: list[Event], framed: set[str]) -> bool:
    """Whether a batch is valid for the clients of slip.v1 among its connections."""
    for event in events:
        if event["type"] in ("TEXT", "SUBSCRIBE") and event["connectionId"] in framed:
            if event["type"] == "TEXT" and not _fits({"slip": "text", "data": event["data"]}):
                return False
            if event["type"] == "SUBSCRIBE" and event.get("since") is not None and not event.get("recover"):
                return False
    return True


def in_frame(text: str) -> Frame:
    """Return a frame, of its position the offset alone: the model does not know the epoch."""
    frame: Frame = json.loads(text)
    if "position" in frame:
        frame["position"] = int(frame["position"].partition(":")[2])
    return frame


def _check_number(number: Any, most: int) -> None:
    if type(number) is not int or not 1 <= number <= most:
        raise _Refused


def _check_metadata(metadata: Any) -> None:
    try:
        text = json.dumps(metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:  # a number beyond the range of a float; in a field that is not read it may stand
        raise _Refused from error
    size = len(text.encode())
    if abs(size - MAX_METADATA_BYTES) < 1024:
        raise Unsure  # numbers may be written in more or fewer digits
    if size > MAX_METADATA_BYTES or _depth(metadata) > MAX_METADATA_DEPTH:
        raise _Refused


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def is_connection_id(text: str) -> bool:
    return 1 <= len(text.encode()) <= 1_000 and text.isprintable()


@dataclass
class Model:
    """What is stored, and what clients saw, by connection: those that are open at the start."""

    metadata: dict[str, Any]
    channels: dict[str, set[str]]
    framed: set[str] = field(default_factory=set)
    """Connections of slip.v1: their texts are frames."""
    texts: dict[str, list[str | Frame]] = field(default_factory=lambda: defaultdict(list))
    closed: list[str] = field(default_factory=list)
    closing: set[str] = field(default_factory=set)
    """Connections that this batch closes: its later publishes do not reach them, whatever they subscribe to."""
    published: set[tuple[str, str]] = field(default_factory=set)
    kept: dict[str, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    """By channel: each message and its `count`, at offset 1 the first. Time stands still."""

    def take(self, event: Event) -> None:
        kind, connection_id = event["type"], event.get("connectionId", "")
        if kind == "PUBLISH_TEXT":
            name = event.get("id")
            if name is not None and (event["channelId"], name) in self.published:
                return
            if name is not None:
                self.published.add((event["channelId"], name))
            self._publish(event)
        elif kind == "CLOSE_CHANNEL":
            spared = event.get("exceptConnectionId")
            self.closed += [id_ for id_ in self._listeners(event["channelId"], []) if id_ != spared]
        elif kind in ("ACCEPT", "HISTORY") or not is_connection_id(connection_id):
            pass
        elif kind == "TEXT":
            framed: Frame = {"slip": "text", "data": event["data"]}
            self.texts[connection_id].append(framed if connection_id in self.framed else event["data"])
        elif kind == "CLOSE":
            self.closed.append(connection_id)
            self.closing.add(connection_id)
            self.channels.get(connection_id, set()).clear()
        elif kind == "SUBSCRIBE" and connection_id in self.metadata:
            self.channels[connection_id].add(event["channel"])
            if event.get("recover") and connection_id in self.framed:
                since = event.get("since")
                lost = {} if since is None else {"recovered": False}
                asked = {"since": since} if since is not None and _POSITION.fullmatch(since) else {}
                newest = len(self.kept[event["channel"]])
                frame = {"slip": "subscribed", "channel": event["channel"], "position": newest}
                self.texts[connection_id].append(frame | lost | asked)
        elif kind == "UNSUBSCRIBE" and connection_id in self.metadata:
            self.channels[connection_id].discard(event["channel"])
        elif kind == "SET_METADATA" and connection_id in self.metadata:
            self.metadata[connection_id] = event["metadata"]

    def _publish(self, event: Event) -> None:
        channel, offset = event["channelId"], None
        if event.get("keep") is not None:
            self.kept[channel].append((event["data"], event["keep"]["count"]))
            offset = len(self.kept[channel])
        ends = [at + 1 for at, letter in enumerate(channel) if letter == ":"]
        for listener in self._listeners(channel, [f"{channel[:end]}*" for end in ends]):
            if listener not in self.framed:
                self.texts[listener].append(event["data"])
            elif _fits(_message(event, None)):
                frame = _message(event, None)
                self.texts[listener].append(frame if offset is None else frame | {"position": offset})

    def history(self, event: Event) -> tuple[int, list[tuple[int, str]], bool | None]:
        """Return the newest offset, all that is kept with its offsets, and `recovered`. No `since` is a position of the
        gateway's, so that nothing can be recovered."""
        messages = self.kept[event["channelId"]]
        if event.get("since") is not None:
            return len(messages), [], False
        numbered = enumerate(messages, start=1)
        return len(messages), [(at, data) for at, (data, count) in numbered if len(messages) - at < count], None

    def _listeners(self, channel: str, patterns: list[str]) -> list[str]:
        names = {channel, *patterns}
        return [id_ for id_, channels in self.channels.items() if names & channels and id_ not in self.closing]

    def end_batch(self) -> None:
        self.texts.clear()
        self.closed.clear()
        self.closing.clear()
