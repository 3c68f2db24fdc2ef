"""Events for all subscribers of a channel: few are sent to at once, many by the queue, in chunks.

A publish to a large channel is one FanOut message. Who handles it reads the subscribers by pages and puts a
FanOutChunk for each shard of a page into the queue; who handles a chunk sends. The groups of the queue keep the order:
the FanOut messages of a channel share one, and so do the chunks of each of its shards.

What is sent at once must not overtake what waits. So the store remembers which channels may have messages in the queue:
further publishes to these go the same way. A client that takes no more has a group of its own, so that it holds up
nobody, and the store remembers it for the channel in the same manner.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from ..events import CloseChannel, PublishText, Report
from .delivery import Delivery, deliver
from .plan import MAX_RETRY_PAUSE_S, RECENT_S, Recent, plan_chunks
from .ports import (
    PAGE_SIZE,
    Clock,
    ConnectionStore,
    Count,
    FanOut,
    FanOutChunk,
    Keep,
    Management,
    NotDone,
    Outcome,
    Queue,
    Unavailable,
)
from .tally import NO_TALLY, Tally

log = logging.getLogger("slip_sockets.gateway")

INLINE_LIMIT = 1_000
"""Subscribers that are sent to before the publisher has its answer."""
INLINE_FOR_S = 5.0
"""How long the publisher waits for that, where the management API is slow; the rest goes to the queue."""
COUNT_FOR_S = 2.0
"""How long a large channel's subscribers are counted for the report."""
RESERVE_S = 3.0
"""Kept of a function's time for handing over what is left, and for the answer."""
MAX_SLOW = 20
"""So many connections that fail are each on their own; more have a common cause, and wait together."""
MARKED_FOR_S = 5 * 60.0
"""How long a channel stays with the queue after a message of it was last put or handled. A message whose worker crashed
rests two minutes."""
FAILING_FOR_S = MARKED_FOR_S + MAX_RETRY_PAUSE_S
"""The same after a failure: the message rests before it is handled again."""

Broadcast = PublishText | CloseChannel


@dataclass(frozen=True, slots=True)
class Broadcaster:
    """Performs PUBLISH_TEXT and CLOSE_CHANNEL. A closed channel's rows go with each connection's disconnect event."""

    store: ConnectionStore
    management: Management
    queue: Queue
    clock: Clock
    inline_limit: int = INLINE_LIMIT
    page_size: int = PAGE_SIZE
    tally: Tally = NO_TALLY

    async def broadcast(self, event: Broadcast, recent: Recent, *, deadline: float) -> Report:
        """Send at once, or hand over to the queue. Raises Unavailable."""
        state = await self.store.channel_state(event.channel)
        found: list[str] = []
        cursor = None
        async for page in self.store.subscribers(event.channel, page_size=self.inline_limit + 1):
            found += page.connection_ids
            cursor = page.cursor
            if len(found) > self.inline_limit:
                break
        connection_ids = recent.applied_to(event.channel, found, self.clock.now())
        if state.is_queued or len(connection_ids) > self.inline_limit:
            await self._queue_whole(event, recent)
            count = await self._count(event.channel, len(connection_ids), cursor, deadline)
            return self._counted(Report(count.subscribers, 0, 0, count.subscribers, count.more))
        delivery = await self._send_now(event, connection_ids, state.slow, deadline)
        queued = len(connection_ids) - delivery.sent - delivery.gone
        return self._counted(Report(len(connection_ids), delivery.sent, delivery.gone, queued))

    def _counted(self, report: Report) -> Report:
        """Who was sent to, or gone, is counted where that is found out."""
        self.tally.sample("Matched", report.matched)
        self.tally.count("Queued", report.queued)
        return report

    async def split(self, fan_out: FanOut, keep: Keep, *, deadline: float) -> None:
        """Put a FanOut's chunks into the queue, page by page. Raises NotDone."""
        channel = fan_out.event.channel
        if fan_out.after is None and self.clock.now() > fan_out.recent_until:  # by now the index knows better
            fan_out = msgspec.structs.replace(fan_out, joined=[], left=[])
        joined, known = fan_out.joined, {*fan_out.joined, *fan_out.left}
        try:
            await self.store.mark_queued(channel, for_s=MARKED_FOR_S)
            async for page in self.store.subscribers(channel, after=fan_out.after, page_size=self.page_size):
                # Who has just joined comes with the first page, and is left out wherever the index shows it.
                connection_ids = [whose for whose in page.connection_ids if whose not in known]
                if fan_out.after is None:
                    connection_ids += joined
                await self.queue.put(plan_chunks(fan_out.event, fan_out.publish_id, connection_ids))
                if page.cursor is None:
                    return
                fan_out = msgspec.structs.replace(fan_out, after=page.cursor)
                if self.clock.now() > deadline - RESERVE_S:
                    raise NotDone(fan_out, "no time is left", has_advanced=True)
                await keep(fan_out)
        except Unavailable as error:
            await self._mark_failing(channel)
            raise NotDone(fan_out, str(error)) from error

    async def deliver_chunk(self, chunk: FanOutChunk, *, deadline: float) -> None:
        """Send to the connections of a chunk. Raises NotDone with those that are left."""
        if chunk.shard is None:
            await self._deliver_single(chunk, deadline - RESERVE_S)
        else:
            await self._deliver_shard(chunk, deadline - RESERVE_S)

    async def _deliver_single(self, chunk: FanOutChunk, until: float) -> None:
        delivery = await self._deliver(chunk.event, chunk.connection_ids, until)
        left = [*delivery.failed, *delivery.unsent]
        if left:
            with _only_said(chunk.event.channel):
                await self.store.mark_slow(chunk.event.channel, left, for_s=FAILING_FOR_S)
            raise NotDone(chunk, _why_left(delivery))

    async def _deliver_shard(self, chunk: FanOutChunk, until: float) -> None:
        channel = chunk.event.channel
        left = chunk.connection_ids
        try:
            state = await self.store.channel_state(channel)
            await self.store.mark_queued(channel, for_s=MARKED_FOR_S)
            slow = [whose for whose in chunk.connection_ids if whose in state.slow]
            delivery = await self._deliver(chunk.event, [whose for whose in left if whose not in state.slow], until)
            left = [*slow, *delivery.failed, *delivery.unsent]
            together, singly = _by_cause(delivery)
            await self._mark_slow(channel, singly)
            await self._queue_singly(chunk.event, chunk.publish_id, [*slow, *singly])
        except Unavailable as error:
            raise await self._not_done(chunk, left, str(error)) from error
        if together:
            has_advanced = len(together) < len(chunk.connection_ids) and not delivery.failed
            raise await self._not_done(chunk, together, _why_left(delivery), has_advanced=has_advanced)

    async def _not_done(
        self, chunk: FanOutChunk, left: Sequence[str], reason: str, *, has_advanced: bool = False
    ) -> NotDone:
        await self._mark_failing(chunk.event.channel)
        rest = msgspec.structs.replace(chunk, connection_ids=list(left))
        return NotDone(rest, f"{len(left)} connections are left: {reason}", has_advanced=has_advanced)

    async def _send_now(
        self, event: Broadcast, connection_ids: Sequence[str], slow: frozenset[str], deadline: float
    ) -> Delivery:
        """Send; hand over to the queue who is slow, and who is left when the time is up. Raises Unavailable."""
        publish_id = uuid.uuid4().hex
        until = min(deadline - RESERVE_S, self.clock.now() + INLINE_FOR_S)
        delivery = await self._deliver(event, [whose for whose in connection_ids if whose not in slow], until)
        together, singly = _by_cause(delivery)
        if together:
            log.info(
                "channel %.60r: %d of %d subscribers are queued", event.channel, len(together), len(connection_ids)
            )
            with _only_said(event.channel):  # it is sent to others: to fail now would have it sent to them again
                await self.store.mark_queued(event.channel, for_s=MARKED_FOR_S)
            await self.queue.put(plan_chunks(event, publish_id, together))
        with _only_said(event.channel):
            await self._mark_slow(event.channel, singly)
        slow_before = [whose for whose in connection_ids if whose in slow]
        await self._queue_singly(event, publish_id, [*slow_before, *singly])
        return delivery

    async def _deliver(self, event: Broadcast, connection_ids: Sequence[str], until: float) -> Delivery:
        async def call(whose: Sequence[str], until: float) -> Outcome:
            if isinstance(event, CloseChannel):
                return await self.management.delete(whose, until=until)
            return await self.management.post(whose, event.data, until=until)

        delivery = await deliver(self.store, self.clock, connection_ids, call, until=until)
        self.tally.count("Sent", delivery.sent)
        self.tally.count("Gone", delivery.gone)
        return delivery

    async def _mark_slow(self, channel: str, connection_ids: Sequence[str]) -> None:
        if connection_ids:
            log.info("channel %.60r: %d connections take no more now; queued", channel, len(connection_ids))
            await self.store.mark_slow(channel, connection_ids, for_s=FAILING_FOR_S)

    async def _queue_singly(self, event: Broadcast, publish_id: str, connection_ids: Sequence[str]) -> None:
        await self.queue.put([FanOutChunk(event, publish_id, [whose]) for whose in connection_ids])

    async def _queue_whole(self, event: Broadcast, recent: Recent) -> None:
        await self.store.mark_queued(event.channel, for_s=MARKED_FOR_S)
        now = self.clock.now()
        joined, left = recent.joined(event.channel, now), recent.left(event.channel, now)
        recent_until = now + RECENT_S if joined or left else 0
        await self.queue.put([FanOut(event, uuid.uuid4().hex, joined=joined, left=left, recent_until=recent_until)])

    async def _count(self, channel: str, found: int, cursor: str | None, deadline: float) -> Count:
        """Count what was not read yet. The event is in the queue by now: failing only makes the report say less."""
        if cursor is None:
            return Count(found, more=False)
        try:
            until = min(deadline - RESERVE_S, self.clock.now() + COUNT_FOR_S)
            rest = await self.store.count(channel, after=cursor, until=until)
        except Unavailable as error:
            log.info("channel %.60r: its subscribers could not be counted: %s", channel, error)
            return Count(found, more=True)
        return Count(found + rest.subscribers, rest.more)

    async def _mark_failing(self, channel: str) -> None:
        with _only_said(channel):
            await self.store.mark_queued(channel, for_s=FAILING_FOR_S)


def _by_cause(delivery: Delivery) -> tuple[list[str], list[str]]:
    """Return who waits together, and who on its own."""
    if len(delivery.failed) > MAX_SLOW:
        return [*delivery.unsent, *delivery.failed], []
    return delivery.unsent, list(delivery.failed)


def _why_left(delivery: Delivery) -> str:
    return next(iter(delivery.failed.values()), "no time was left")


@contextmanager
def _only_said(channel: str) -> Iterator[None]:
    """A mark that cannot be made costs the order, not a message."""
    try:
        yield
    except Unavailable as error:
        log.warning("channel %.60r: a later publish may overtake what waits: %s", channel, error)
