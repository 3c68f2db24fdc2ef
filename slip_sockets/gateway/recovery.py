"""Sends a subscriber what was kept of a channel before it came, or while it was away.

A client of slip.v1 learns the newest position last: until then it holds what is published meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ..protocol.events import MAX_KEPT, KeptMessage
from ..protocol.frames import MessageFrame, ServerFrame, SubscribedFrame, encode_frame
from ..protocol.positions import read_position
from .deadlines import RESERVE_S
from .deferred import CatchUp, LateLook
from .delivery import Deliverer, Send
from .effects import Recover
from .errors import Incomplete, Unavailable
from .ports import Checkpoint, Clock, Connections, History, Queue, Subscriptions
from .values import Form, Past

log = logging.getLogger("slip_sockets.gateway")


class Recoverer(msgspec.Struct, frozen=True):
    """Recovers subscribers: all that was missed, in order, or none of it."""

    connections: Connections
    subscriptions: Subscriptions
    history: History
    deliverer: Deliverer
    queue: Queue
    clock: Clock

    async def on_subscribed(self, recover: Recover, form: Form, *, deadline: float) -> None:
        """Recover a connection that has just been subscribed. Raises Unavailable."""
        if form is Form.RAW and recover.since is None:
            return
        past, recovered = await self._missed(recover)
        if form is Form.SLIP_V1 and self.subscriptions.index_lag_s:
            # Before the client knows that it is subscribed: from then on it relies on it.
            due_at = self.clock.now() + self.subscriptions.index_lag_s
            await self.queue.put([LateLook(recover.connection_id, recover.channel, str(past.newest), due_at)])
        await self._send(recover, form, past, recovered, deadline)

    async def recover(self, recover: Recover, form: Form, *, deadline: float) -> None:
        """Send what was missed, and the newest position. What there is no time for is queued. Raises Unavailable."""
        past, recovered = await self._missed(recover)
        await self._send(recover, form, past, recovered, deadline)

    async def _send(self, recover: Recover, form: Form, past: Past, recovered: bool | None, deadline: float) -> None:
        channel = recover.channel
        if form is Form.RAW:
            if recovered:
                await self._send_all(recover, [message.data for message in past.messages], past.messages, deadline)
            return
        frames: list[ServerFrame] = []
        if recovered:
            frames += [MessageFrame(channel, message.data, message.position) for message in past.messages]
        since = recover.since if recover.since is not None and read_position(recover.since) else None
        frames.append(SubscribedFrame(channel, str(past.newest), recovered, since))
        await self._send_all(recover, [encode_frame(frame) for frame in frames], past.messages, deadline)

    async def _missed(self, recover: Recover) -> tuple[Past, bool | None]:
        """Return what was missed, and whether it is all; None where nothing was asked for."""
        channel = recover.channel
        if recover.since is None:
            return Past(await self.history.newest(channel)), None
        past = await self.past_since(channel, recover.since, limit=MAX_KEPT)
        return past, past.is_whole and not past.more

    async def past_since(self, channel: str, since: str, *, limit: int) -> Past:
        """Return the first `limit` messages after `since`. After what is no position nothing is whole."""
        position = read_position(since)
        if position is None:
            return Past(await self.history.newest(channel), is_whole=False)
        return await self.history.past(channel, position, limit=limit)

    async def _send_all(
        self, recover: Recover, texts: Sequence[str], messages: Sequence[KeptMessage], deadline: float
    ) -> None:
        """Send one after another, since nothing else keeps them in order."""
        connection_id, until = recover.connection_id, deadline - RESERVE_S
        for index, text in enumerate(texts):
            delivery = await self.deliverer.deliver(Send(text), [connection_id], until=until)
            if delivery.failed:
                raise Unavailable(delivery.failed[connection_id])
            if delivery.gone:
                log.info("connection %.60s has left before it was sent what it missed", connection_id)
                return
            if delivery.unsent:
                since = messages[index - 1].position if index else recover.since
                await self.queue.put([CatchUp(connection_id, recover.channel, since)])
                return

    # Deferred messages

    async def on_catch_up(self, message: CatchUp, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a CatchUp. Raises Incomplete."""
        connection_id, channel = message.connection_id, message.channel
        try:
            stored = await self.connections.get(connection_id)
            if stored is not None:
                await self.recover(Recover(connection_id, channel, message.since), stored.form, deadline=deadline)
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error

    async def on_late_look(self, message: LateLook, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a LateLook: send what was published before the index showed the subscriber. Raises Incomplete."""
        left_s = message.due_at - self.clock.now()
        if left_s > 0:
            raise Incomplete(message, "its time has not come", pause_s=left_s, is_exact=True)
        connection_id, channel = message.connection_id, message.channel
        try:
            past, is_all = await self._missed(Recover(connection_id, channel, message.since))
            if is_all and not past.messages:
                return
            if not await self.subscriptions.is_subscribed(connection_id, channel):
                return
            frames: list[ServerFrame]
            if is_all:
                frames = [MessageFrame(channel, missed.data, missed.position) for missed in past.messages]
            else:  # the client sees that it is behind, and asks for the rest itself
                frames = [SubscribedFrame(channel, str(past.newest))]
            texts = [encode_frame(frame) for frame in frames]
            await self._send_all(Recover(connection_id, channel, message.since), texts, past.messages, deadline)
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error
