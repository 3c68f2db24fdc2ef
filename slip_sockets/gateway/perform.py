"""Performs actions, one after another, through the ports."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import msgspec

from ..protocol.errors import SlipSocketsError
from ..protocol.events import (
    Accept,
    Action,
    CloseChannel,
    CloseConnection,
    PollForConnection,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    encode_metadata,
)
from .deadlines import RESERVE_S
from .delivery import Close, Deliverer, Send
from .errors import ActionFailed, NoTimeLeft, Unavailable
from .fan_out import Broadcaster
from .idempotency import Once
from .observer import Observer
from .ports import Clock, Connections, Sender, Subscriptions
from .recent import Recent
from .values import Broadcast, ChannelClose, Publication

log = logging.getLogger("slip_sockets.gateway")

POLL_PAUSE_S = 0.05


Performable = Action | Broadcast


class Performer(msgspec.Struct, frozen=True):
    """Performs actions. It does not decide who may ask for them."""

    connections: Connections
    subscriptions: Subscriptions
    sender: Sender
    deliverer: Deliverer
    broadcaster: Broadcaster
    once: Once
    clock: Clock
    observer: Observer

    async def run(
        self, actions: Sequence[Performable], *, deadline: float = math.inf, recent: Sequence[Action] = ()
    ) -> list[Report | None]:
        """Perform `actions` in order and return a report for each that has one. Raises ActionFailed and stops there.

        It stops in time before `deadline` (Unix seconds). The effects of `recent` were written just before.
        """
        written = Recent(self.subscriptions.index_lag_s)
        for earlier in recent:
            written.note(earlier, self.clock.now())
        reports: list[Report | None] = []
        for index, action in enumerate(actions):
            try:
                if self.clock.now() > deadline - RESERVE_S:
                    raise NoTimeLeft("no time is left for it")
                reports.append(await self._perform(action, written, deadline))
            except Unavailable as error:
                raise ActionFailed(index, action, error) from error
        return reports

    async def _perform(self, action: Performable, written: Recent, deadline: float) -> Report | None:
        match action:
            case PublishText(channel, data, message_id):
                return await self._publish(Publication(channel, data, message_id), written, deadline)
            case Publication():
                return await self._publish(action, written, deadline)
            case CloseChannel(channel):
                return await self.broadcaster.broadcast(ChannelClose(channel), written, deadline=deadline)
            case ChannelClose():
                return await self.broadcaster.broadcast(action, written, deadline=deadline)
            case Accept():  # has a meaning only in the reply to OPEN
                return None
        if not self.sender.is_connection_id(action.connection_id):
            # No connection has it; or the sender is wrong about that, and everything for the connection is lost.
            _log_skipped(action, "is not a connection id")
            self.observer.failed(SlipSocketsError("not a connection id"))
            return None
        match action:
            case SendText():
                await self._deliver(action, Send(action.data), deadline)
            case CloseConnection():
                await self.subscriptions.unsubscribe_all(action.connection_id)
                written.note(action, self.clock.now())
                await self._deliver(action, Close(), deadline)
            case Subscribe():
                if await self.subscriptions.subscribe(action.connection_id, action.channel):
                    written.note(action, self.clock.now())
                else:
                    _log_skipped(action, "is not connected")
            case Unsubscribe():
                await self.subscriptions.unsubscribe(action.connection_id, action.channel)
                written.note(action, self.clock.now())
            case SetMetadata():
                if not await self.connections.set_metadata(action.connection_id, encode_metadata(action.metadata)):
                    _log_skipped(action, "is not connected")
            case PollForConnection():
                await self._poll(action)
        return None

    async def _publish(self, publication: Publication, written: Recent, deadline: float) -> Report:
        async def publish() -> Report:
            return await self.broadcaster.broadcast(publication, written, deadline=deadline)

        return await self.once.publish(publication, publish, deadline=deadline)

    async def _deliver(self, action: SendText | CloseConnection, what: Send | Close, deadline: float) -> None:
        delivery = await self.deliverer.deliver(what, [action.connection_id], until=deadline - RESERVE_S)
        if delivery.failed:
            raise Unavailable(delivery.failed[action.connection_id])
        if delivery.unsent:
            raise NoTimeLeft("no time was left to send it")
        if delivery.refused:  # the log has the reason
            self.observer.failed(SlipSocketsError("refused"))
        if delivery.gone:
            _log_skipped(action, "is not connected")

    async def _poll(self, action: PollForConnection) -> None:
        give_up_at = self.clock.now() + action.timeout / 1000
        while not await self.sender.is_open(action.connection_id):
            left_s = give_up_at - self.clock.now()
            if left_s <= 0:
                _log_skipped(action, "did not open in time")
                return
            await self.clock.sleep(min(POLL_PAUSE_S, left_s))


def _log_skipped(action: Action, why: str) -> None:
    connection_id = getattr(action, "connection_id", "")
    log.warning("%s skipped: connection %.40r %s", action.__struct_config__.tag, connection_id, why)
