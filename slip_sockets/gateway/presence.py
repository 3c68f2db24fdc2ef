"""Looks who is in a channel, and tells those who are there.

Everything is sent before it is noted, so that a crash repeats frames and loses none. What a function may have sent that
died before it noted it, its successor does not know: it sends all members anew to everybody.
"""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Sequence

import msgspec

from .deadlines import RESERVE_S
from .deferred import FanOutChunk, plan_chunks
from .deferred_presence import Look
from .delivery import Deliverer, Send
from .errors import Incomplete, Unavailable
from .fan_out import INLINE_LIMIT, MARKED_FOR_S
from .looks import look_after_grace
from .observer import NO_OBSERVER, Observer
from .plan_presence import LookPlan, Sending, plan_look
from .plan_publish import MAX_SLOW
from .ports import ChannelMarks, Checkpoint, Clock, Occupancy, Presence, Queue, Sweeps
from .values import Notified, Publication

log = logging.getLogger("slip_sockets.gateway")

OWED_PAUSE_S = 10.0
"""After which a connection that a frame did not reach is sent all members."""
EXPIRES_AFTER_S = 135 * 60.0
"""By then the row of a membership has expired: a little longer than a connection lives."""


class Looker(msgspec.Struct, frozen=True):
    """Looks at channels. More recipients than `inline_limit` are sent to by the queue.

    Without `occupancy` the backend hears nothing; without `sweeps` nobody looks when rows expire.
    """

    presence: Presence
    marks: ChannelMarks
    deliverer: Deliverer
    queue: Queue
    clock: Clock
    inline_limit: int = INLINE_LIMIT
    observer: Observer = NO_OBSERVER
    occupancy: Occupancy | None = None
    sweeps: Sweeps | None = None

    async def on_look(self, look: Look, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a Look. Raises Incomplete."""
        left_s = look.due_at - self.clock.now()
        if left_s > 0:
            raise Incomplete(look, "its time has not come", pause_s=left_s, is_exact=True)
        try:
            if look.is_aside:
                # In the channel's group it is one after another with the others. One of them that is due at the same
                # time has the same id.
                await self.queue.put([Look(look.channel, look.due_at)])
                return
            now = self.clock.now()
            connections, notified = await self.presence.read(look.channel)
            notified = await self._resumed(look, notified)
            plan = plan_look(
                look.channel,
                connections,
                notified,
                now,
                has_occupancy=self.occupancy is not None,
                expires_after_s=None if self.sweeps is None else EXPIRES_AFTER_S,
                is_repeated=look.is_repeated,
            )
            look = await self._begun(look, plan, checkpoint)
            await self._follow(look.channel, plan, deadline - RESERVE_S)
        except _Overtaken as error:
            repeated = msgspec.structs.replace(look, is_repeated=True)
            raise Incomplete(repeated, str(error), made_progress=True) from error
        except Unavailable as error:
            raise Incomplete(look, str(error)) from error

    async def _resumed(self, look: Look, notified: Notified) -> Notified:
        """Finish what an earlier attempt has announced, or was about to: what the backend hears alternates."""
        announced = look.announced
        if announced is None or announced.version != notified.version + 1 or self.occupancy is None:
            return notified
        await self.occupancy.changed(look.channel, announced.is_occupied, announced.who, announced.version)
        notified = msgspec.structs.replace(notified, version=announced.version, is_occupied=announced.is_occupied)
        await self._note(look.channel, notified)
        return notified

    async def _begun(self, look: Look, plan: LookPlan, checkpoint: Checkpoint) -> Look:
        """Save what a later attempt must know, if this one is the last that is heard of this function."""
        is_repeated = look.is_repeated or plan.is_risky
        begun = msgspec.structs.replace(look, is_repeated=is_repeated, announced=plan.announced)
        if begun != look and (plan.is_risky or plan.announced is not None):
            await checkpoint.save(begun)
            return begun
        return look

    async def _follow(self, channel: str, plan: LookPlan, until: float) -> None:
        again: list[Look] = []
        if plan.grace_until is not None:
            again.append(look_after_grace(channel, plan.grace_until))
        if plan.count_due_at is not None:
            again.append(Look(channel, float(math.ceil(plan.count_due_at)), is_later=True))
        if again:
            await self.queue.put(again)
        if plan.announced is not None and self.occupancy is not None:
            announced = plan.announced
            await self.occupancy.changed(channel, announced.is_occupied, announced.who, announced.version)
        if plan.sweep_due_at is not None and self.sweeps is not None:
            await self.sweeps.look_at(channel, plan.sweep_due_at)
        if plan.notified is not None:
            notified = await self._send(channel, plan.sendings, plan.notified, until)
            if notified.owed:
                due_at = float(math.ceil(self.clock.now() + OWED_PAUSE_S))
                await self.queue.put([Look(channel, due_at, is_later=True)])
            await self._note(channel, notified)
        if plan.forgotten:
            await self.presence.forget(channel, plan.forgotten)

    async def _note(self, channel: str, notified: Notified) -> None:
        if not await self.presence.note(channel, notified):
            raise _Overtaken("another look came in between")

    # Sending

    async def _send(self, channel: str, sendings: Sequence[Sending], notified: Notified, until: float) -> Notified:
        """Send, and return what they are notified of then. Raises Unavailable."""
        is_queued, slow = False, frozenset[str]()
        if notified.queued_until:  # a frame must not overtake an earlier one
            state = await self.marks.channel_state(channel)
            is_queued, slow = state.is_queued or self.clock.now() < notified.queued_until, state.slow
        if is_queued or slow or sum(len(sending.connection_ids) for sending in sendings) > self.inline_limit:
            for sending in sendings:
                await self._queue(channel, sending, slow)
            return msgspec.structs.replace(notified, queued_until=self.clock.now() + MARKED_FOR_S)
        missed = await asyncio.gather(*(self._send_now(sending, until) for sending in sendings))
        owed = tuple(connection_id for each in missed for connection_id in each)
        return msgspec.structs.replace(notified, owed=owed, queued_until=0.0)

    async def _send_now(self, sending: Sending, until: float) -> list[str]:
        """Return the connections that a frame did not reach. Raises Unavailable where they have a common cause."""
        connection_ids, missed = list(sending.connection_ids), list[str]()
        for frame in sending.frames:
            delivery = await self.deliverer.deliver(Send(frame), connection_ids, until=until)
            self.observer.delivered(sent=delivery.sent, gone=delivery.gone)
            if delivery.unsent or len(delivery.failed) > MAX_SLOW:
                raise Unavailable(next(iter(delivery.failed.values()), "no time was left to send it"))
            missed += delivery.failed
            connection_ids = [id_ for id_ in connection_ids if id_ not in delivery.failed]
        return missed

    async def _queue(self, channel: str, sending: Sending, slow: frozenset[str]) -> None:
        await self.marks.mark_queued(channel, for_s=MARKED_FOR_S)
        together = [id_ for id_ in sending.connection_ids if id_ not in slow]
        for frame in sending.frames:
            publication, publish_id = Publication(channel, frame), uuid.uuid4().hex
            chunks = plan_chunks(publication, publish_id, together, shards=self.queue.shards)
            singles = [FanOutChunk(publication, publish_id, [id_]) for id_ in sending.connection_ids if id_ in slow]
            await self.queue.put([*chunks, *singles])


class _Overtaken(Unavailable):
    """Two looks at a channel were made at a time."""
