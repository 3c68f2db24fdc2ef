"""Performs events, one after another, through the ports."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import SlipSocketsError
from ..events import (
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
    is_connection_id,
)
from .delivery import Call, deliver
from .fan_out import RESERVE_S, Broadcaster
from .plan import Recent
from .ports import Claim, Clock, ConnectionStore, Management, Unavailable

log = logging.getLogger("slip_sockets.gateway")

POLL_PAUSE_S = 0.05
CLAIM_LEASE_S = 60.0
"""How long a message id is kept for who publishes it, where his function has no deadline: no function lives longer."""
CLAIM_WAIT_S = 5.0
"""How long a publish waits for another one that is under way with the same id."""
CLAIM_PAUSE_S = 0.1


class EventFailed(SlipSocketsError):
    """The event at `index` could not be done: the events before it took effect, it and those after it did not.

    `lacked_time` says that nothing else was wrong.
    """

    def __init__(self, index: int, event: Action, cause: Unavailable) -> None:
        super().__init__(f"events[{index}]: {event.__struct_config__.tag} failed: {cause}")
        self.index = index
        self.lacked_time = isinstance(cause, _NoTimeLeft)


class _NoTimeLeft(Unavailable):
    """The function's time is nearly up."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Performs events. It decides nothing about who may ask."""

    store: ConnectionStore
    management: Management
    broadcaster: Broadcaster
    clock: Clock

    async def run(
        self, events: Sequence[Action], *, deadline: float = math.inf, recent: Sequence[Action] = ()
    ) -> list[Report | None]:
        """Perform `events` in order and return a report for each that has one. Raises EventFailed and stops there.

        It stops in time before `deadline` (Unix seconds). `recent` has been written just before.
        """
        written = Recent()
        for event in recent:
            written.note(event, self.clock.now())
        reports: list[Report | None] = []
        for index, event in enumerate(events):
            try:
                if self.clock.now() > deadline - RESERVE_S:
                    raise _NoTimeLeft("no time is left for it")
                reports.append(await self._perform(event, written, deadline))
            except Unavailable as error:
                raise EventFailed(index, event, error) from error
        return reports

    async def _perform(self, event: Action, written: Recent, deadline: float) -> Report | None:
        match event:
            case PublishText():
                return await self._publish(event, written, deadline)
            case CloseChannel():
                return await self.broadcaster.broadcast(event, written, deadline=deadline)
            case Accept():  # means something in the answer to OPEN alone
                return None
        if not is_connection_id(event.connection_id):
            self._skip(event, "is not a connection id")
            return None
        match event:
            case SendText():
                await self._send(event, lambda ids, until: self.management.post(ids, event.data, until=until), deadline)
            case CloseConnection():
                await self.store.unsubscribe_all(event.connection_id)
                written.note(event, self.clock.now())
                await self._send(event, lambda ids, until: self.management.delete(ids, until=until), deadline)
            case Subscribe():
                if await self.store.subscribe(event.connection_id, event.channel):
                    written.note(event, self.clock.now())
                else:
                    self._skip(event, "is not connected")
            case Unsubscribe():
                await self.store.unsubscribe(event.connection_id, event.channel)
                written.note(event, self.clock.now())
            case SetMetadata():
                if not await self.store.set_metadata(event.connection_id, encode_metadata(event.metadata)):
                    self._skip(event, "is not connected")
            case PollForConnection():
                await self._poll(event)
        return None

    async def _publish(self, event: PublishText, written: Recent, deadline: float) -> Report:
        if event.message_id is None:
            return await self.broadcaster.broadcast(event, written, deadline=deadline)
        claimant = uuid.uuid4().hex
        if not await self._claim(event.channel, event.message_id, claimant, deadline):
            return Report(0, 0, 0, 0)
        try:
            report = await self.broadcaster.broadcast(event, written, deadline=deadline)
        except Unavailable:
            await self.store.release(event.channel, event.message_id, claimant)
            raise
        try:
            await self.store.confirm(event.channel, event.message_id, claimant)
        except Unavailable as error:  # it is sent: to say otherwise would have it sent again for sure
            log.warning("channel %.60r: a repetition within five minutes may be sent again: %s", event.channel, error)
        return report

    async def _claim(self, channel: str, message_id: str, claimant: str, deadline: float) -> bool:
        """Return False where the message has been published. Who is at it may fail yet: that is waited for."""
        give_up_at = min(deadline - RESERVE_S, self.clock.now() + CLAIM_WAIT_S)
        while True:
            lease_s = min(CLAIM_LEASE_S, deadline - self.clock.now())
            match await self.store.claim(channel, message_id, claimant, lease_s=lease_s):
                case Claim.MINE:
                    return True
                case Claim.DONE:
                    return False
            if self.clock.now() >= give_up_at:
                raise Unavailable(f"another publish with the id {message_id[:40]!r} is under way, or broke off lately")
            await self.clock.sleep(CLAIM_PAUSE_S)

    async def _send(self, event: SendText | CloseConnection, call: Call, deadline: float) -> None:
        delivery = await deliver(self.store, self.clock, [event.connection_id], call, until=deadline - RESERVE_S)
        if delivery.failed:
            raise Unavailable(delivery.failed[event.connection_id])
        if delivery.unsent:
            raise _NoTimeLeft("no time was left to send it")
        if delivery.gone:
            self._skip(event, "is not connected")

    async def _poll(self, event: PollForConnection) -> None:
        deadline = self.clock.now() + event.timeout / 1000
        while not await self.management.is_open(event.connection_id):
            left_s = deadline - self.clock.now()
            if left_s <= 0:
                self._skip(event, "did not open in time")
                return
            await self.clock.sleep(min(POLL_PAUSE_S, left_s))

    def _skip(self, event: Action, why: str) -> None:
        whose = getattr(event, "connection_id", "")
        log.warning("%s skipped: connection %.40r %s", event.__struct_config__.tag, whose, why)
