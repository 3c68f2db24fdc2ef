"""Lets a message with an id through once: a publisher claims the id, publishes, and confirms the claim."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable

import msgspec

from ..protocol.events import Report
from .deadlines import RESERVE_S
from .errors import Unavailable
from .ports import CLAIM_LIFETIME_S, Claim, Claimed, Claims, Clock
from .values import Origin, Publication

log = logging.getLogger("slip_sockets.gateway")

CLAIM_LEASE_S = 60.0
"""The lease of a claim where the caller has no deadline; longer than any function's timeout."""
CLAIM_WAIT_S = 5.0
"""How long a publish waits for another one with the same id that is in progress."""
CLAIM_PAUSE_S = 0.1
NAME_BYTES = 12
"""Of randomness in the name of a claimant, which is 16 characters."""


class Once(msgspec.Struct, frozen=True):
    """Publishes a message unless one with its id has been published lately."""

    claims: Claims
    clock: Clock

    async def publish(
        self, publication: Publication, publish: Callable[[Origin], Awaitable[Report]], *, deadline: float
    ) -> Report:
        """Call `publish`, or return an empty report where that was done before. Raises Unavailable."""
        claimant = secrets.token_urlsafe(NAME_BYTES)
        if publication.id is None:
            return await publish(Origin(claimant))
        channel, message_id = publication.channel, publication.id
        claimed = await self._claim(channel, message_id, claimant, deadline)
        if claimed.claim is Claim.PUBLISHED:
            return Report(0, 0, 0, 0, position=claimed.position)
        name = claimed.first_claimant or claimant
        try:
            report = await publish(Origin(name, is_repeated=name != claimant))
        except Unavailable:
            await self.claims.release(channel, message_id, claimant)
            raise
        try:
            for_s = CLAIM_LIFETIME_S if publication.id_for_s is None else publication.id_for_s
            await self.claims.confirm(channel, message_id, claimant, position=report.position, for_s=for_s)
        except Unavailable as error:  # it is sent: to report a failure would have it sent again for certain
            log.warning("channel %.60r: a repetition within five minutes may be sent again: %s", channel, error)
        return report

    async def _claim(self, channel: str, message_id: str, claimant: str, deadline: float) -> Claimed:
        """Wait while another publisher holds the id: it may fail."""
        give_up_at = min(deadline - RESERVE_S, self.clock.now() + CLAIM_WAIT_S)
        while True:
            lease_s = min(CLAIM_LEASE_S, deadline - self.clock.now())
            claimed = await self.claims.claim(channel, message_id, claimant, lease_s=lease_s)
            if claimed.claim is not Claim.PENDING:
                return claimed
            if self.clock.now() >= give_up_at:
                raise Unavailable(f"another publish with the id {message_id[:40]!r} is in progress, or was broken off")
            await self.clock.sleep(CLAIM_PAUSE_S)
