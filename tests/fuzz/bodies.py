"""Valid events, and the bodies that they are written in."""

from __future__ import annotations

from typing import Any

from ..gateway.doubles import ME, YOU
from .mutator import Mutator

ABSENT = "CCCCCCCCCCCCCCC="
THEY = "DDDDDDDDDDDDDDD="
"""A client of slip.v1."""
IDS = (ME, YOU, THEY, ME, YOU, THEY, ABSENT, "not-an-id")
POSITIONS = (None, "k3J9:12", "k3J9:0", "", "no position")
"""None of them is one of the gateway's."""
USERS = ("ann", "\U0001f600", "a" * 128)
CHANNELS = ("hall", "room", "r\u00e4ume/\U0001f600", "connection:", "mark:queued", "a" * 1024)
PATTERNS = ("mark:*", "connection:*", ":*")


def an_event(mutator: Mutator, kinds: tuple[str, ...]) -> dict[str, Any]:
    kind = mutator.one_of(kinds)
    event: dict[str, Any] = {"type": kind}
    if kind in ("PUBLISH_TEXT", "CLOSE_CHANNEL", "HISTORY"):
        event["channelId"] = mutator.one_of(CHANNELS if mutator.chance() < 0.8 else [f"$user:{each}" for each in USERS])
    else:
        event["connectionId"] = mutator.one_of(IDS)
    if kind in ("SUBSCRIBE", "UNSUBSCRIBE"):
        event["channel"] = mutator.one_of((*CHANNELS, *PATTERNS))
    if kind in ("TEXT", "PUBLISH_TEXT"):
        event["data"] = mutator.text()
    if kind == "PUBLISH_TEXT" and mutator.chance() < 0.4:
        event["id"] = mutator.one_of((None, "1", "\U0001f600" * 32, f"m{mutator.random.getrandbits(6)}"))
    if kind == "PUBLISH_TEXT" and mutator.chance() < 0.3:
        event["keep"] = mutator.one_of((None, {"count": 1, "seconds": 604_800}, {"count": 1_000, "seconds": 1}))
    may_recover = event.get("channel") not in PATTERNS
    if kind == "SUBSCRIBE" and may_recover and mutator.chance() < 0.3:
        event["recover"] = mutator.chance() < 0.5
    if kind in ("SUBSCRIBE", "HISTORY") and may_recover and mutator.chance() < 0.3:
        event["since"] = mutator.one_of(POSITIONS)
    if kind == "CLOSE_CHANNEL" and mutator.chance() < 0.3:
        event["exceptConnectionId"] = mutator.one_of((None, *IDS))
    if kind == "HISTORY" and mutator.chance() < 0.5:
        event["limit"] = mutator.one_of((1, 2, 1_000))
    if kind == "SET_METADATA":
        event["metadata"] = mutator.json()
    if kind == "POLL_FOR_CONNECTION":
        event["timeout"] = mutator.one_of((0, 0.5, 100, 25_000))
    return event


def a_body(mutator: Mutator, events: list[dict[str, Any]], faults: int) -> bytes:
    """Write the events with that number of faults: in the values, and at times the last of several in the text."""
    body: Any = {"events": events}
    of_text = 1 if faults > 1 and mutator.chance() < 0.5 else 0
    for _ in range(faults - of_text):
        body = mutator.spoilt(body)
    written = mutator.json_bytes(body)
    return mutator.spoilt_bytes(written) if of_text else written
