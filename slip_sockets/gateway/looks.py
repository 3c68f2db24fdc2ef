"""Has somebody look who is in a channel, a little after a membership began or ended.

A change is announced before it is made, so that it is seen also where the function that makes it dies right behind it.
The changes of a second share one look: the queue drops what has the same deduplication id.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from .deferred_presence import Look
from .ports import Clock, Queue

GRACE_S = 10.0
"""How long a member who has left still counts, since most come back."""
TOGETHER_S = 1.0
"""Changes of that time are sent together."""
SETTLED_AFTER_S = 1.0
"""How long after that time the last of them are written, and one more announcement of it has reached the queue."""


class Looks(msgspec.Struct, frozen=True):
    """The port MemberChanges."""

    queue: Queue
    clock: Clock

    async def joining(self, channels: Sequence[str]) -> None:
        """A look soon, and one after the grace, which finds what was written late."""
        now = self.clock.now()
        looks = [_look(channel, now, is_after_grace) for is_after_grace in (False, True) for channel in channels]
        await self._put(looks, now)

    async def leaving(self, channels: Sequence[str]) -> None:
        now = self.clock.now()
        await self._put([_look(channel, now, is_after_grace=True) for channel in channels], now)

    async def _put(self, looks: Sequence[Look], began_at: float) -> None:
        """Put looks into the queue; again where that took so long that an earlier one of the same id may be over."""
        await self.queue.put(looks)
        if looks and self.clock.now() - began_at > SETTLED_AFTER_S:
            now = self.clock.now()
            await self.queue.put([_look(look.channel, now, look.is_after_grace) for look in looks])


def look_after_grace(channel: str, left_at: float) -> Look:
    """Return the look at which one that left at that time (Unix seconds) no longer counts."""
    return _look(channel, left_at, is_after_grace=True)


def _look(channel: str, now: float, is_after_grace: bool) -> Look:
    due_at = (math.floor(now / TOGETHER_S) + 1) * TOGETHER_S + SETTLED_AFTER_S
    return Look(channel, due_at + GRACE_S if is_after_grace else due_at, is_after_grace)
