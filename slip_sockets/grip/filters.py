"""Filters that leave a subscriber out, by means of further subscriptions.

A connection that must not get some messages of a channel subscribes to a channel that stands for these. A publish names
the channels that its message stands for, and leaves out their subscribers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .state import State

CONTENT_FILTERS = ("build-id", "var-subst")
"""They change the content for each connection: see `content`."""
FILTERS = ("skip-self", "skip-users", "require-sub", *CONTENT_FILTERS)


def subscriptions(state: State) -> set[str]:
    """Return all that a connection subscribes to."""
    found = set(state.channels)
    user = state.user_meta.get("user")
    for channel, filters in state.channels.items():
        if user:
            found |= {_channel(name, user, channel) for name in filters if name in ("skip-self", "skip-users")}
        if "require-sub" in filters:
            found.add(_channel("require-sub", "", channel))
    return found


def excluded(channel: str, meta: Mapping[str, str]) -> tuple[str, ...]:
    """Return the channels of the subscribers that an item with this `meta` is not for."""
    found = []
    if sender := meta.get("sender"):
        found.append(_channel("skip-self", sender, channel))
    users = (user.strip() for user in meta.get("skip_users", "").split(","))
    found += [_channel("skip-users", user, channel) for user in dict.fromkeys(users) if user]
    if meta.get("require_sub"):
        # It would need the prev-ids of the connection's subscriptions: a socket has none, so nothing fulfils it.
        found.append(_channel("require-sub", "", channel))
    return tuple(found)


def _channel(name: str, user: str, channel: str) -> str:
    digest = hashlib.sha256(f"{name}\0{user}\0{channel}".encode(errors="replace")).hexdigest()
    return f"$filter:{digest}"
