"""Broadcasts to all subscribers of a channel: to few at once, to many by the queue, in chunks.

A publish to a large channel is one FanOut message. Its handler reads the listeners by pages, and puts a FanOutChunk
for each shard of a page into the queue; the handler of a chunk sends. The groups of the queue keep the order: the
FanOut messages of a channel share one, and so do the chunks of each of its shards.

A text that is sent at once must not overtake a queued one. So the store remembers which channels may have messages in
the queue, and further publishes to them go the same way. A connection that takes no more has a group of its own, so
that it holds up no other, and the store remembers it for the channel in the same manner.

The chunks of all functions together keep to a rate, so that the sender has room for other callers.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import aclosing, contextmanager

import msgspec

from ..protocol.errors import SlipSocketsError
from ..protocol.events import Report
from .content_filters import FilteredDeliverer
from .deadlines import RESERVE_S
from .deferred import FanOut, FanOutChunk, Held, Source, plan_chunks
from .delivery import Close, Deliverer, Delivery, Send
from .delivery_rate import MIN_RESERVED_CALLS, UNLIMITED
from .errors import Incomplete, Unavailable
from .forms import text_of
from .listeners import Listeners
from .observer import NO_OBSERVER, Observer
from .plan_publish import QueueAll, SendNow, must_wait, plan_not_reached, plan_publish, plan_shard
from .ports import ChannelMarks, Checkpoint, Clock, DeliveryRate, History, Queue
from .recent import Recent
from .values import Broadcast, ChannelClose, ChannelState, Form, Origin, Publication
from .worker import MAX_RETRY_PAUSE_S

log = logging.getLogger("slip_sockets.gateway")

INLINE_LIMIT = 1_000
"""Subscribers that are sent to before the publisher has its response."""
INLINE_FOR_S = 5.0
"""How long the publisher waits for that where sending is slow; the subscribers not reached by then are queued."""
COUNT_FOR_S = 2.0
"""How long a large channel's subscribers are counted for the report."""
CHUNK_FOR_S = 10.0
"""The time that is left for sending a chunk of a thousand after the wait for its turn. Most take a second."""
MARKED_FOR_S = 5 * 60.0
"""How long a channel stays with the queue after a message of it was last put or handled. After a crash
of its worker a message comes again, two minutes later."""
FAILING_FOR_S = MARKED_FOR_S + MAX_RETRY_PAUSE_S
"""The same after a failure: the message pauses before it is handled again."""
HELD_FOR_S, HELD_PAUSE_S = 5.0, 1.0
"""How long a broadcast waits for the one before it, as Pushpin's message_wait, and how often that is looked up: a
queue's pauses may be whole seconds."""
LAST_ID_FOR_S = 2 * 60 * 60.0
"""How long a channel's last id counts: as long as a connection lives, which is a subscriber's memory of it."""


class Broadcaster(msgspec.Struct, frozen=True):
    """Performs broadcasts. The rows of a closed channel go with the disconnect of each of its connections."""

    listeners: Listeners
    marks: ChannelMarks
    history: History
    deliverer: Deliverer
    queue: Queue
    clock: Clock
    inline_limit: int = INLINE_LIMIT
    observer: Observer = NO_OBSERVER
    rate: DeliveryRate = UNLIMITED
    filtered: FilteredDeliverer | None = None

    async def broadcast(
        self, broadcast: Broadcast, recent: Recent, *, deadline: float, origin: Origin | None = None
    ) -> Report:
        """Send at once, or hand over to the queue; hold what comes before its forerunner. Raises Unavailable.

        What is to be kept has an `origin`, and is kept first: who subscribes from then on finds it.
        """
        state, sources = await self._state_and_sources(broadcast, recent)
        if isinstance(broadcast, Publication) and broadcast.keep is not None and origin is not None:
            position = await self.history.keep(broadcast, origin, state)
            broadcast = msgspec.structs.replace(broadcast, keep=None, position=str(position))
        if must_wait(broadcast.link, state.last_id):
            await self.queue.put([Held(broadcast, uuid.uuid4().hex, self.clock.now() + HELD_FOR_S)])
            return Report(0, 0, 0, 0)
        return await self._broadcast(broadcast, state, sources, recent, deadline)

    async def broadcast_held(self, held: Held, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a Held. Raises Incomplete."""
        broadcast = held.broadcast
        try:
            recent = Recent(self.listeners.subscriptions.index_lag_s)
            state, sources = await self._state_and_sources(broadcast, recent)
            if must_wait(broadcast.link, state.last_id) and self.clock.now() < held.until:
                raise Incomplete(held, "the one before it has not come", pause_s=HELD_PAUSE_S, is_exact=True)
            await self._broadcast(broadcast, state, sources, recent, deadline)
        except Unavailable as error:
            raise Incomplete(held, str(error)) from error

    async def _state_and_sources(self, broadcast: Broadcast, recent: Recent) -> tuple[ChannelState, Sequence[str]]:
        return await asyncio.gather(
            self.marks.channel_state(broadcast.channel), self.listeners.sources(broadcast, recent)
        )

    async def _broadcast(
        self, broadcast: Broadcast, state: ChannelState, sources: Sequence[str], recent: Recent, deadline: float
    ) -> Report:
        channel, broadcast = broadcast.channel, _with_filters(broadcast, state)
        found = await self.listeners.find(sources, recent, at_most=self.inline_limit)
        excluded = await self.listeners.excluded(broadcast)
        connection_ids = [id_ for id_ in found.connection_ids if id_ not in excluded]
        # Of those read, some may have left just now: the rest is not few because they are.
        plan = plan_publish(state, connection_ids, self.inline_limit, are_all=found.are_all)
        if isinstance(plan, QueueAll):
            await self._queue_all(broadcast, sources, recent)
            # A failure makes only the report less exact, since the broadcast is queued by now.
            until = min(deadline - RESERVE_S, self.clock.now() + COUNT_FOR_S)
            count = await self.listeners.count(found, len(connection_ids), until=until)
            report = Report(count.subscribers, 0, 0, count.subscribers, count.more, position=_position(broadcast))
        else:
            delivery = await self._send_now(broadcast, plan, found.framed, deadline)
            matched = len(connection_ids)
            queued = matched - delivery.sent - delivery.gone - delivery.dropped - len(delivery.refused)
            report = Report(matched, delivery.sent, delivery.gone, queued, position=_position(broadcast))
        self.observer.published(report)
        if broadcast.link is not None and broadcast.link.id != state.last_id:
            # Only now: a later one that names this id must not overtake it.
            with _logging_only(channel):
                await self.marks.set_last_id(channel, broadcast.link.id, for_s=LAST_ID_FOR_S)
        return report

    async def split(self, fan_out: FanOut, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a FanOut: put its chunks into the queue, page by page. Raises Incomplete."""
        channel = fan_out.broadcast.channel
        try:
            await self.marks.mark_queued(channel, for_s=MARKED_FOR_S)
            excluded = await self.listeners.excluded(fan_out.broadcast)
            async with aclosing(self.listeners.parts(fan_out)) as parts:
                async for part in parts:
                    connection_ids = [id_ for id_ in part.connection_ids if id_ not in excluded]
                    await self._queue_together(fan_out.broadcast, fan_out.publish_id, connection_ids, part.framed)
                    if part.remaining is None:
                        return
                    fan_out = part.remaining
                    if self.clock.now() > deadline - RESERVE_S:
                        raise Incomplete(fan_out, "no time is left", made_progress=True)
                    await checkpoint.save(fan_out)
        except Unavailable as error:
            await self._mark_failing(channel)
            raise Incomplete(fan_out, str(error)) from error

    async def deliver_chunk(self, chunk: FanOutChunk, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a FanOutChunk: send to its connections. Raises Incomplete with those that were not reached."""
        if chunk.shard is None:
            await self._deliver_single(chunk, deadline - RESERVE_S)
        else:
            await self._deliver_shard(chunk, deadline - RESERVE_S)

    async def _deliver_single(self, chunk: FanOutChunk, until: float) -> None:
        channel = chunk.broadcast.channel
        try:
            delivery = await self._deliver(chunk.broadcast, chunk.connection_ids, chunk.form, until)
        except Unavailable as error:
            raise Incomplete(chunk, str(error)) from error
        remaining = [*delivery.failed, *delivery.unsent]
        if remaining:
            with _logging_only(channel):
                await self.marks.mark_slow(channel, remaining, for_s=FAILING_FOR_S)
            raise Incomplete(chunk, plan_not_reached(delivery).reason)

    async def _deliver_shard(self, chunk: FanOutChunk, until: float) -> None:
        channel = chunk.broadcast.channel
        remaining: Sequence[str] = chunk.connection_ids
        try:
            state = await self.marks.channel_state(channel)
            await self.marks.mark_queued(channel, for_s=MARKED_FOR_S)
            plan = plan_shard(state, chunk.connection_ids)
            wait_s = await self._wait_for_turn(len(plan.connection_ids), until)
            if wait_s is not None:
                raise await self._incomplete(chunk, remaining, "other fan-outs come first", pause_s=wait_s)
            broadcast = _with_filters(chunk.broadcast, state)
            delivery = await self._deliver(broadcast, plan.connection_ids, chunk.form, until)
            remaining = [*plan.slow, *delivery.failed, *delivery.unsent]
            not_reached = plan_not_reached(delivery)
            await self._mark_slow(channel, not_reached.singly)
            framed = chunk.connection_ids if chunk.form is Form.SLIP_V1 else ()
            await self._queue_singly(broadcast, chunk.publish_id, [*plan.slow, *not_reached.singly], framed)
        except Unavailable as error:
            raise await self._incomplete(chunk, remaining, str(error)) from error
        together = not_reached.together
        if together:
            made_progress = len(together) < len(chunk.connection_ids) and not_reached.is_for_time
            raise await self._incomplete(chunk, together, not_reached.reason, made_progress=made_progress)

    async def _wait_for_turn(self, calls: int, until: float) -> float | None:
        """Wait until that many calls may be made. Return None then, else the seconds after which to ask again."""
        if calls < MIN_RESERVED_CALLS:
            return None
        wait_at_most_s = max(0.0, until - CHUNK_FOR_S - self.clock.now())
        try:
            wait_s = await self.rate.reserve(calls, wait_at_most_s=wait_at_most_s)
        except Unavailable as error:  # the sender slows down by itself where the account's quota is exceeded
            log.warning("a fan-out goes on without a reservation of its calls: %s", error)
            return None
        if wait_s > wait_at_most_s:
            return wait_s
        if wait_s > 0:
            await self.clock.sleep(wait_s)
        return None

    async def _incomplete(
        self,
        chunk: FanOutChunk,
        connection_ids: Sequence[str],
        reason: str,
        *,
        made_progress: bool = False,
        pause_s: float | None = None,
    ) -> Incomplete:
        await self._mark_failing(chunk.broadcast.channel)
        remaining = msgspec.structs.replace(chunk, connection_ids=list(connection_ids))
        problem = f"{len(connection_ids)} connections were not reached: {reason}"
        return Incomplete(remaining, problem, made_progress=made_progress, pause_s=pause_s)

    async def _send_now(self, broadcast: Broadcast, plan: SendNow, framed: Container[str], deadline: float) -> Delivery:
        """Send; queue the slow subscribers, and those not reached in time. Raises Unavailable."""
        channel, publish_id = broadcast.channel, uuid.uuid4().hex
        until = min(deadline - RESERVE_S, self.clock.now() + INLINE_FOR_S)
        delivery = await self._deliver_in_forms(broadcast, plan.connection_ids, framed, until)
        not_reached = plan_not_reached(delivery)
        if not_reached.together:
            total = len(plan.connection_ids) + len(plan.slow)
            log.info("channel %.60r: %d of %d subscribers are queued", channel, len(not_reached.together), total)
            with _logging_only(channel):  # others have it already: to fail now would have it sent to them again
                await self.marks.mark_queued(channel, for_s=MARKED_FOR_S)
            await self._queue_together(broadcast, publish_id, not_reached.together, framed)
        with _logging_only(channel):
            await self._mark_slow(channel, not_reached.singly)
        await self._queue_singly(broadcast, publish_id, [*plan.slow, *not_reached.singly], framed)
        return delivery

    async def _deliver_in_forms(
        self, broadcast: Broadcast, connection_ids: Sequence[str], framed: Container[str], until: float
    ) -> Delivery:
        """Send to each connection in its form, to those of one form beside those of the other."""
        raw = [id_ for id_ in connection_ids if id_ not in framed]
        if len(raw) == len(connection_ids):
            return await self._deliver(broadcast, raw, Form.RAW, until)
        in_frames = [id_ for id_ in connection_ids if id_ in framed]
        of_frames = self._deliver(broadcast, in_frames, Form.SLIP_V1, until)
        if not raw:
            return await of_frames
        delivery, other = await asyncio.gather(self._deliver(broadcast, raw, Form.RAW, until), of_frames)
        delivery.add(other)
        return delivery

    async def _deliver(self, broadcast: Broadcast, connection_ids: Sequence[str], form: Form, until: float) -> Delivery:
        if isinstance(broadcast, ChannelClose):
            delivery = await self.deliverer.deliver(Close(), connection_ids, until=until)
        elif self.filtered is not None and broadcast.is_filtered:
            delivery = await self.filtered.deliver(broadcast, connection_ids, form, until=until)
        elif (text := text_of(broadcast, form)) is not None:
            delivery = await self.deliverer.deliver(Send(text), connection_ids, until=until)
        else:
            reason = "the text does not fit into its frame"
            log.warning("channel %.60r: %s; skipped for %d connections", broadcast.channel, reason, len(connection_ids))
            delivery = Delivery(refused=dict.fromkeys(connection_ids, reason))
        self.observer.delivered(sent=delivery.sent, gone=delivery.gone)
        if delivery.refused:
            self.observer.failed(SlipSocketsError(f"refused for {len(delivery.refused)} connections"))
        return delivery

    async def _queue_all(self, broadcast: Broadcast, sources: Sequence[str], recent: Recent) -> None:
        await self.marks.mark_queued(broadcast.channel, for_s=MARKED_FOR_S)
        now = self.clock.now()
        channel, *patterns = (Source(name, recent.joined(name, now), recent.left(name, now)) for name in sources)
        joined = dict.fromkeys(id_ for source in (channel, *patterns) for id_ in source.joined)
        is_recent = any(source.joined or source.left for source in (channel, *patterns))
        in_frames = recent.framed
        fan_out = FanOut(
            broadcast,
            publish_id=uuid.uuid4().hex,
            joined=channel.joined,
            framed=[id_ for id_ in joined if id_ in in_frames],
            left=channel.left,
            recent_until=now + recent.lag_s if is_recent else 0,
            patterns=patterns,
            known_from=now - recent.lag_s if patterns else 0,
        )
        await self.queue.put([fan_out])

    async def _queue_together(
        self, broadcast: Broadcast, publish_id: str, connection_ids: Sequence[str], framed: Container[str]
    ) -> None:
        await self.queue.put(plan_chunks(broadcast, publish_id, connection_ids, framed, shards=self.queue.shards))

    async def _queue_singly(
        self, broadcast: Broadcast, publish_id: str, connection_ids: Sequence[str], framed: Container[str]
    ) -> None:
        await self.queue.put(
            [
                FanOutChunk(broadcast, publish_id, [id_], form=Form.SLIP_V1 if id_ in framed else Form.RAW)
                for id_ in connection_ids
            ]
        )

    async def _mark_slow(self, channel: str, connection_ids: Sequence[str]) -> None:
        if connection_ids:
            log.info("channel %.60r: %d connections take no more now; queued", channel, len(connection_ids))
            await self.marks.mark_slow(channel, connection_ids, for_s=FAILING_FOR_S)

    async def _mark_failing(self, channel: str) -> None:
        with _logging_only(channel):
            await self.marks.mark_queued(channel, for_s=FAILING_FOR_S)


def _with_filters(broadcast: Broadcast, state: ChannelState) -> Broadcast:
    if state.has_content_filters and isinstance(broadcast, Publication):
        return msgspec.structs.replace(broadcast, is_filtered=True)
    return broadcast


def _position(broadcast: Broadcast) -> str | None:
    return broadcast.position if isinstance(broadcast, Publication) else None


@contextmanager
def _logging_only(channel: str) -> Iterator[None]:
    """Log where a mark cannot be written: messages may be reordered then; none is lost."""
    try:
        yield
    except Unavailable as error:
        log.warning("channel %.60r: a later publish may overtake queued ones: %s", channel, error)
