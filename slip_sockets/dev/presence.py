"""The members of channels in memory, in the place of rows of the table `Channels` on AWS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import Clock
from ..gateway.values import NOT_NOTIFIED, Form, MemberConnection, Membership, Notified

LEFT_LIFETIME_S = 10 * 60.0
"""How long one that has left stays, unless it is forgotten before: far longer than its grace."""
NOTIFIED_LIFETIME_S = 2 * ROW_LIFETIME_S
SWEEP_PAUSE_S = 60.0
"""Between searches for what has expired."""


@dataclass(frozen=True, slots=True)
class _Row:
    connection: MemberConnection
    expires_at: float


class MemoryPresence:
    """The port Presence, for one process. Nothing here suspends, so each method is atomic.

    MemoryConnections says who joins and who leaves.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, dict[str, _Row]] = {}  # of each channel, by connection id
        self._notified: dict[str, tuple[Notified, float]] = {}  # each with its time of expiry
        self._sweep_at = 0.0

    async def read(self, channel: str) -> tuple[Sequence[MemberConnection], Notified]:
        now = self._clock.now()
        live = [row.connection for row in self._rows.get(channel, {}).values() if row.expires_at > now]
        live.sort(key=lambda member: (member.name.encode(), member.connection_id))
        return live, self._notified_of(channel)

    async def note(self, channel: str, notified: Notified) -> bool:
        self._sweep()
        if self._notified_of(channel).version != notified.version - 1:
            return False
        self._notified[channel] = notified, self._clock.now() + NOTIFIED_LIFETIME_S
        return True

    async def forget(self, channel: str, left: Sequence[MemberConnection]) -> None:
        for member in left:
            row = self._rows.get(channel, {}).get(member.connection_id)
            if row is not None and member.left_at is not None and row.connection.left_at == member.left_at:
                self._drop(channel, member.connection_id)

    # For MemoryConnections

    def join(self, channel: str, connection_id: str, membership: Membership, form: Form) -> None:
        """Begin a membership, anew where there is one."""
        self._sweep()
        now = self._clock.now()
        member = MemberConnection(membership.name, connection_id, now, membership.info, form)
        self._rows.setdefault(channel, {})[connection_id] = _Row(member, now + ROW_LIFETIME_S)

    def is_member(self, channel: str, connection_id: str) -> bool:
        row = self._rows.get(channel, {}).get(connection_id)
        return row is not None and row.connection.left_at is None and row.expires_at > self._clock.now()

    def leave(self, channel: str, connection_id: str, metadata: bytes | None) -> None:
        """End a membership, if there is one."""
        if self.is_member(channel, connection_id):
            now = self._clock.now()
            member = self._rows[channel][connection_id].connection
            left = msgspec.structs.replace(member, left_at=now, metadata=metadata)
            self._rows[channel][connection_id] = _Row(left, now + LEFT_LIFETIME_S)

    def _notified_of(self, channel: str) -> Notified:
        notified, expires_at = self._notified.get(channel, (NOT_NOTIFIED, 0.0))
        return notified if expires_at > self._clock.now() else NOT_NOTIFIED

    def _drop(self, channel: str, connection_id: str) -> None:
        del self._rows[channel][connection_id]
        if not self._rows[channel]:
            del self._rows[channel]

    def _sweep(self) -> None:
        now = self._clock.now()
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_PAUSE_S
        self._notified = {channel: notified for channel, notified in self._notified.items() if notified[1] > now}
        expired = [
            (channel, id_) for channel, rows in self._rows.items() for id_ in rows if rows[id_].expires_at <= now
        ]
        for channel, connection_id in expired:
            self._drop(channel, connection_id)
