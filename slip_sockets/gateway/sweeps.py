"""Looks at a channel again when the rows of its last members have expired, since no event announces that."""

from __future__ import annotations

import msgspec

from .deferred_presence import Look, Sweep
from .errors import Incomplete, Unavailable
from .ports import Checkpoint, Clock, Queue


class Sweeps(msgspec.Struct, frozen=True):
    """`timers` is the queue in which a Sweep waits until its time, or at least for some minutes of it."""

    timers: Queue
    queue: Queue
    clock: Clock

    async def look_at(self, channel: str, due_at: float) -> None:
        """Have somebody look at `due_at` (Unix seconds) who is in a channel. Raises Unavailable."""
        await self.timers.put([Sweep(channel, due_at)])

    async def on_sweep(self, message: Sweep, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a Sweep. Raises Incomplete."""
        try:
            if message.due_at > self.clock.now():  # the queue does not delay messages for so long
                await self.timers.put([message])
            else:
                await self.queue.put([Look(message.channel, message.due_at)])
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error
