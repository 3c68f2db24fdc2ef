"""Names of channels, and patterns of them: `orders:*` stands for each channel that begins with `orders:`."""

from __future__ import annotations

MAX_CHANNEL_BYTES = 1024
"""Largest DynamoDB sort key.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""
MAX_PATTERN_SEGMENTS = 5
"""With the `*`. A publish asks for the subscribers of each pattern that may match: this number less one."""
USER_CHANNEL_PREFIX = "$user:"
"""Channels of users; no pattern matches them."""

_END = ":*"


def is_pattern(name: str) -> bool:
    """Whether `name` is a pattern and not a channel. A `*` has a meaning only as the last of several segments."""
    return name.endswith(_END)


def segments_of(name: str) -> int:
    return name.count(":") + 1


def patterns_of(channel: str) -> tuple[str, ...]:
    """Return the patterns that match a channel and that a connection can be subscribed to, the shortest first.

    `orders:eu:1` has `orders:*` and `orders:eu:*`.
    """
    if channel.startswith(USER_CHANNEL_PREFIX):
        return ()
    found: list[str] = []
    end = channel.find(":")
    while end >= 0 and len(found) < MAX_PATTERN_SEGMENTS - 1:
        found.append(f"{channel[: end + 1]}*")
        end = channel.find(":", end + 1)
    if found and len(found[-1].encode()) > MAX_CHANNEL_BYTES:  # of the longest channel, where it ends with a colon
        found.pop()
    return tuple(found)
