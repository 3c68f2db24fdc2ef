"""What was written so recently that the index may not show it: a publish reads what its own batch wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..protocol.events import CloseConnection, Subscribe, Unsubscribe
from .values import NOTHING_KNOWN, Form, Known

Written = Subscribe | Unsubscribe | CloseConnection


class Recent:
    """The subscriptions and closes of the last `lag_s` seconds, and what is known of connections.

    `forms` are known of more connections than `users`.
    """

    def __init__(self, lag_s: float, known: Mapping[str, Known] = NOTHING_KNOWN) -> None:
        self.lag_s = lag_s
        self.forms = {id_: each.form for id_, each in known.items()}
        self.users = {id_: each.user for id_, each in known.items()}
        self._written: dict[str, dict[str, tuple[bool, float]]] = {}  # by channel, then by connection id
        self._closed: dict[str, float] = {}

    def note(self, action: Written, now: float) -> None:
        """Remember an action that took effect at `now` (Unix seconds)."""
        match action:
            case Subscribe() | Unsubscribe():
                is_subscribed = isinstance(action, Subscribe)
                self._written.setdefault(action.channel, {})[action.connection_id] = (is_subscribed, now)
            case CloseConnection():
                self._closed[action.connection_id] = now

    @property
    def framed(self) -> frozenset[str]:
        """Those of the connections that take frames of slip.v1."""
        return frozenset(id_ for id_, form in self.forms.items() if form is Form.SLIP_V1)

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
