"""What was written so recently that the index may not show it: a publish reads what its own batch wrote."""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.events import Action, CloseConnection, Subscribe, Unsubscribe


class Recent:
    """The subscriptions and closes of the last `lag_s` seconds."""

    def __init__(self, lag_s: float) -> None:
        self.lag_s = lag_s
        self._written: dict[str, dict[str, tuple[bool, float]]] = {}  # by channel, then by connection id
        self._closed: dict[str, float] = {}

    def note(self, action: Action, now: float) -> None:
        """Remember an action that took effect at `now` (Unix seconds)."""
        match action:
            case Subscribe() | Unsubscribe():
                is_subscribed = isinstance(action, Subscribe)
                self._written.setdefault(action.channel, {})[action.connection_id] = (is_subscribed, now)
            case CloseConnection():
                self._closed[action.connection_id] = now
            case _:
                pass

    def joined(self, channel: str, now: float) -> list[str]:
        """Return the connections that have just subscribed."""
        return [id_ for id_, is_subscribed in self._lately(channel, now).items() if is_subscribed]

    def left(self, channel: str, now: float) -> list[str]:
        """Return the connections that have just left."""
        return [id_ for id_, is_subscribed in self._lately(channel, now).items() if not is_subscribed]

    def applied_to(self, channel: str, found: Sequence[str], now: float) -> list[str]:
        """Return the subscribers, given those that the index shows."""
        lately = self._lately(channel, now)
        return [id_ for id_ in dict.fromkeys([*found, *lately]) if lately.get(id_, True)]

    def _lately(self, channel: str, now: float) -> dict[str, bool]:
        since = now - self.lag_s
        written = self._written.get(channel, {})
        lately = {id_: is_subscribed for id_, (is_subscribed, at) in written.items() if at > since}
        return lately | {id_: False for id_, at in self._closed.items() if at > since}
