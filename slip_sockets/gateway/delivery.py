"""Calls the management API for some connections until each is done, gone for good, or has to wait."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from .plan import ACCEPT_WINDOW_S
from .ports import Clock, ConnectionStore, Outcome, Unavailable

log = logging.getLogger("slip_sockets.gateway")

OPENING_PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Between attempts at a connection that is accepted and not open yet. Most are within the first few."""

Call = Callable[[Sequence[str], float], Awaitable[Outcome]]
"""A method of the management API for connection ids, until a time."""


@dataclass(slots=True)
class Delivery:
    """What became of a call for several connections in the end.

    `failed` may succeed later, each has its reason; for `unsent` there was no time.
    """

    sent: int = 0
    gone: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    unsent: list[str] = field(default_factory=list)


async def deliver(
    store: ConnectionStore, clock: Clock, connection_ids: Sequence[str], call: Call, *, until: float
) -> Delivery:
    """Call once for all, and again for those that are about to open. Who is gone is forgotten."""
    delivery = Delivery()
    for pause_s in (*OPENING_PAUSES_S, None) if connection_ids else ():
        outcome = await call(connection_ids, until)
        for whose, reason in outcome.refused.items():
            log.warning("connection %s: the management API refuses: %s; skipped", whose, reason)
        delivery.sent += outcome.done
        delivery.gone += len(outcome.refused)
        delivery.failed |= outcome.failed
        delivery.unsent += outcome.unsent
        try:
            connection_ids = await _forget(store, clock, outcome.gone)
        except Unavailable as error:  # they may be young: nothing is decided
            delivery.failed |= dict.fromkeys(outcome.gone, str(error))
            break
        delivery.gone += len(outcome.gone) - len(connection_ids)
        if not connection_ids:
            break
        if pause_s is None:
            delivery.failed |= dict.fromkeys(connection_ids, "the connection was accepted lately and is not open yet")
        elif clock.now() + pause_s > until:
            delivery.unsent += connection_ids
            break
        else:
            await clock.sleep(pause_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter, not cryptography
    return delivery


async def _forget(store: ConnectionStore, clock: Clock, gone: Sequence[str]) -> Sequence[str]:
    """Return those that the management API does not know yet; forget the others."""
    return await store.forget(gone, accepted_before=clock.now() - ACCEPT_WINDOW_S) if gone else gone
