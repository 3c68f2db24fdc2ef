"""Claims and marks of channels in memory, in the place of the table `Channels` on AWS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..gateway.ports import CLAIM_LIFETIME_S, Claim, Claimed, Clock
from ..gateway.values import ChannelState

SWEEP_PAUSE_S = 60.0
"""Between searches for marks that have expired."""


@dataclass(slots=True)
class _Claimed:
    claimant: str
    first_claimant: str
    lease_until: float | None
    """None where it is confirmed."""
    expires_at: float
    position: str | None = None


class MemoryChannels:
    """The ports Claims and ChannelMarks, for one process. Nothing here suspends, so each method is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._claims: dict[tuple[str, str], _Claimed] = {}
        self._marks: dict[str, dict[str | None, float]] = {}
        self._last_ids: dict[str, tuple[str, float]] = {}  # each with its time of expiry
        self._filtered: dict[str, float] = {}  # until when each channel has content filters
        self._patterns_until = 0.0
        self._sweep_at = 0.0

    # Claims

    async def claim(self, channel: str, message_id: str, claimant: str, *, lease_s: float) -> Claimed:
        now = self._clock.now()
        self._drop_old_claims(now)
        claimed = self._claims.get((channel, message_id))
        first_claimant = claimant
        if claimed is not None and claimed.expires_at > now:
            if claimed.lease_until is None:
                return Claimed(Claim.PUBLISHED, position=claimed.position)
            if claimed.lease_until > now and claimed.claimant != claimant:
                return Claimed(Claim.PENDING)
            first_claimant = claimed.first_claimant
        expires_at = now + max(lease_s, CLAIM_LIFETIME_S)
        self._put_claim(channel, message_id, _Claimed(claimant, first_claimant, now + lease_s, expires_at))
        return Claimed(Claim.GRANTED, first_claimant)

    async def confirm(
        self,
        channel: str,
        message_id: str,
        claimant: str,
        *,
        position: str | None = None,
        for_s: float = CLAIM_LIFETIME_S,
    ) -> None:
        now = self._clock.now()
        claimed = self._claims.get((channel, message_id))
        if claimed is not None and claimed.claimant == claimant and claimed.expires_at > now:
            confirmed = _Claimed(claimant, claimed.first_claimant, None, now + for_s, position)
            self._put_claim(channel, message_id, confirmed)

    async def release(self, channel: str, message_id: str, claimant: str) -> None:
        claimed = self._claims.get((channel, message_id))
        if claimed is not None and claimed.claimant == claimant and claimed.lease_until is not None:
            claimed.lease_until = self._clock.now()

    def _put_claim(self, channel: str, message_id: str, claimed: _Claimed) -> None:
        """Put it last: the dict stays in the order of expiry, but for claims of different lifetimes."""
        self._claims.pop((channel, message_id), None)
        self._claims[channel, message_id] = claimed

    def _drop_old_claims(self, now: float) -> None:
        while self._claims:
            oldest = next(iter(self._claims))
            if self._claims[oldest].expires_at > now:
                return
            del self._claims[oldest]

    # Marks

    async def channel_state(self, channel: str) -> ChannelState:
        now = self._clock.now()
        marks = {id_ for id_, expires_at in self._marks.get(channel, {}).items() if expires_at > now}
        last_id, expires_at = self._last_ids.get(channel, (None, 0.0))
        slow = frozenset(id_ for id_ in marks if id_ is not None)
        is_filtered = self._filtered.get(channel, 0.0) > now
        return ChannelState(None in marks, slow, last_id if expires_at > now else None, is_filtered)

    async def mark_queued(self, channel: str, *, for_s: float) -> None:
        self._mark(channel, [None], for_s)

    async def mark_slow(self, channel: str, connection_ids: Sequence[str], *, for_s: float) -> None:
        self._mark(channel, connection_ids, for_s)

    async def set_last_id(self, channel: str, last_id: str | None, *, for_s: float) -> None:
        now = self._clock.now()
        self._sweep(now)
        if last_id is None:
            self._last_ids.pop(channel, None)
        else:
            self._last_ids[channel] = (last_id, now + for_s)

    async def mark_filtered(self, channel: str, *, for_s: float) -> None:
        now = self._clock.now()
        self._sweep(now)
        self._filtered[channel] = max(self._filtered.get(channel, 0.0), now + for_s)

    async def mark_patterns(self, *, for_s: float) -> None:
        self._patterns_until = max(self._patterns_until, self._clock.now() + for_s)

    async def has_patterns(self) -> bool:
        return self._patterns_until > self._clock.now()

    def _mark(self, channel: str, marked: Sequence[str | None], for_s: float) -> None:
        """`None` marks the channel as queued, an id a slow connection."""
        now = self._clock.now()
        self._sweep(now)
        if marked:
            marks = self._marks.setdefault(channel, {})
            for connection_id in marked:
                marks[connection_id] = max(marks.get(connection_id, 0.0), now + for_s)

    def _sweep(self, now: float) -> None:
        if now >= self._sweep_at:
            self._drop_old_marks(now)
            self._last_ids = {channel: last for channel, last in self._last_ids.items() if last[1] > now}
            self._filtered = {channel: until for channel, until in self._filtered.items() if until > now}
            self._sweep_at = now + SWEEP_PAUSE_S

    def _drop_old_marks(self, now: float) -> None:
        for channel, marks in list(self._marks.items()):
            live = {id_: expires_at for id_, expires_at in marks.items() if expires_at > now}
            if live:
                self._marks[channel] = live
            else:
                del self._marks[channel]
