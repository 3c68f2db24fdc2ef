"""Reaches some connections through the sender, until each is done, gone for good, or has to wait."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

import msgspec

from .errors import Unavailable
from .ports import Clock, Sender, Subscriptions
from .values import Outcome

log = logging.getLogger("slip_sockets.gateway")

OPENING_PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Between attempts at a connection that is accepted and not open yet. Most open within the first few."""


class Send(msgspec.Struct, frozen=True):
    """A text message to a connection."""

    data: str


class Close(msgspec.Struct, frozen=True):
    """Closes a connection."""


class Delivery(msgspec.Struct):
    """What became of it for several connections in the end.

    `refused` will never be taken, and `failed` may succeed later, each with its reason; for `unsent` there was no time.
    `dropped` are left out by a filter.
    """

    sent: int = 0
    gone: int = 0
    dropped: int = 0
    refused: dict[str, str] = {}
    failed: dict[str, str] = {}
    unsent: list[str] = []

    def add(self, other: Delivery) -> None:
        """Count in what became of other connections."""
        self.sent += other.sent
        self.gone += other.gone
        self.dropped += other.dropped
        self.refused |= other.refused
        self.failed |= other.failed
        self.unsent += other.unsent


class Deliverer(msgspec.Struct, frozen=True):
    """Delivers to connections. Those that are gone lose their subscriptions."""

    subscriptions: Subscriptions
    sender: Sender
    clock: Clock

    async def deliver(self, what: Send | Close, connection_ids: Sequence[str], *, until: float) -> Delivery:
        """Reach each connection once, and those that are about to open again. It returns by `until` (Unix seconds)."""
        delivery = Delivery()
        for pause_s in (*OPENING_PAUSES_S, None) if connection_ids else ():
            outcome = await self._call(what, connection_ids, until)
            for connection_id, reason in outcome.refused.items():
                log.warning("connection %.60s: it is refused: %s; skipped", connection_id, reason)
            delivery.sent += outcome.done
            delivery.refused |= outcome.refused
            delivery.failed |= outcome.failed
            delivery.unsent += outcome.unsent
            try:
                connection_ids = await self._prune(outcome.gone)
            except Unavailable as error:  # they may be young: nothing is decided
                delivery.failed |= dict.fromkeys(outcome.gone, str(error))
                break
            delivery.gone += len(outcome.gone) - len(connection_ids)
            if not connection_ids:
                break
            if pause_s is None:
                reason = "the connection was accepted lately and is not open yet"
                delivery.failed |= dict.fromkeys(connection_ids, reason)
            elif self.clock.now() + pause_s > until:
                delivery.unsent += connection_ids
                break
            else:
                await self.clock.sleep(pause_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter, not cryptography
        return delivery

    async def _call(self, what: Send | Close, connection_ids: Sequence[str], until: float) -> Outcome:
        match what:
            case Send(data):
                return await self.sender.send(connection_ids, data, until=until)
            case Close():
                return await self.sender.close(connection_ids, until=until)

    async def _prune(self, gone: Sequence[str]) -> Sequence[str]:
        """Return those that may not be open yet; delete the subscriptions of the others."""
        if not gone:
            return gone
        accepted_before = self.clock.now() - self.sender.opening_window_s
        return await self.subscriptions.prune(gone, accepted_before=accepted_before)
