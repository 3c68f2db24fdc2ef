"""Whether connections of the deployment are subscribed to patterns: only then a publish looks for these."""

from __future__ import annotations

import asyncio

from ..protocol.patterns import patterns_of
from .ports import ChannelMarks, Clock
from .recent import Recent

MARKED_AGAIN_AFTER_S = 60 * 60.0
"""How often one process marks the deployment, at most."""
MARKED_FOR_S = 4 * MARKED_AGAIN_AFTER_S
"""How long a mark lasts. A subscription that comes just before the next one lives for 130 minutes."""
KNOWN_FOR_S = 60 * 60.0
"""How long a process that has found the mark looks no more. A mark that has expired meanwhile costs a few reads."""


class PatternUse:
    """What this process knows of the mark. A deployment without patterns costs it a read in `lag_s` seconds.

    For as long as that the first subscription to a pattern may not be heard: as long as an index may not show a
    subscription. Without `is_allowed` names that end in `:*` are those of channels.
    """

    def __init__(self, marks: ChannelMarks, clock: Clock, *, lag_s: float, is_allowed: bool = True) -> None:
        self._marks = marks
        self._clock = clock
        self._lag_s = lag_s
        self._is_allowed = is_allowed
        self._marked_until = self._used_until = self._unused_until = 0.0
        self._reading = asyncio.Lock()

    async def note(self) -> None:
        """Mark the deployment, before a subscription to a pattern is written. Raises Unavailable."""
        now = self._clock.now()
        if not self._is_allowed or now < self._marked_until:
            return
        await self._marks.mark_patterns(for_s=MARKED_FOR_S)
        self._marked_until = now + MARKED_AGAIN_AFTER_S
        self._used_until = now + KNOWN_FOR_S

    async def matching(self, channel: str, recent: Recent) -> tuple[str, ...]:
        """Return the patterns that match a channel, none where there are no subscriptions to any. Raises Unavailable.

        `recent` may have a subscription that another process has written.
        """
        patterns = patterns_of(channel) if self._is_allowed else ()
        if not patterns:
            return ()
        now = self._clock.now()
        is_used = await self._is_used() or any(recent.joined(pattern, now) for pattern in patterns)
        return patterns if is_used else ()

    async def _is_used(self) -> bool:
        if (known := self._known()) is not None:
            return known
        async with self._reading:
            if (known := self._known()) is not None:
                return known
            now = self._clock.now()
            if await self._marks.has_patterns():
                self._used_until = now + KNOWN_FOR_S
                return True
            self._unused_until = now + self._lag_s
            return now < self._used_until  # marked by this process meanwhile

    def _known(self) -> bool | None:
        now = self._clock.now()
        if now < self._used_until:
            return True
        return False if now < self._unused_until else None
