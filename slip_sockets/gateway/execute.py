"""Performs events, one after another, through the ports."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ..errors import SlipSocketsError
from ..events import (
    Accept,
    Action,
    AnswerEvent,
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
from .plan import ACCEPT_WINDOW_S
from .ports import Clock, ConnectionStore, Continuation, Management, Outcome, Queue, Unavailable

log = logging.getLogger("slip_sockets.gateway")

RETRY_PAUSES_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Between attempts at a connection that is not open yet, or takes no more for the moment. Together they outlast the
accept window."""
POLL_PAUSE_S = 0.05

Call = Callable[[Sequence[str]], Awaitable[Outcome]]


class EventFailed(SlipSocketsError):
    """The event at `index` could not be done: the events before it took effect, it and those after it did not."""

    def __init__(self, index: int, event: Action, cause: Unavailable) -> None:
        super().__init__(f"events[{index}]: {event.__struct_config__.tag} failed: {cause}")
        self.index = index


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a call for several connections in the end; `failed` holds the reason of each that may yet be."""

    sent: int
    gone: int
    failed: dict[str, str]


@dataclass(frozen=True, slots=True)
class Executor:
    """Performs events. It decides nothing about who may ask."""

    store: ConnectionStore
    management: Management
    queue: Queue
    clock: Clock

    async def run(self, events: Sequence[Action]) -> list[Report | None]:
        """Perform `events` in order and return a report for each that has one. Raises EventFailed and stops there."""
        reports: list[Report | None] = []
        for index, event in enumerate(events):
            try:
                reports.append(await self._perform(event))
            except Unavailable as error:
                raise EventFailed(index, event, error) from error
        return reports

    async def _perform(self, event: Action) -> Report | None:
        match event:
            case PublishText():
                return await self._publish(event)
            case CloseChannel():
                # The rows go with each connection's disconnect event.
                return await self._fan_out(event.channel, self.management.delete, CloseConnection)
            case Accept():  # means something in the answer to OPEN alone
                return None
        if not is_connection_id(event.connection_id):
            self._skip(event, "is not a connection id")
            return None
        match event:
            case SendText():
                await self._send(event, lambda ids: self.management.post(ids, event.data))
            case CloseConnection():
                await self.store.unsubscribe_all(event.connection_id)
                await self._send(event, self.management.delete)
            case Subscribe():
                if not await self.store.subscribe(event.connection_id, event.channel):
                    self._skip(event, "is not connected")
            case Unsubscribe():
                await self.store.unsubscribe(event.connection_id, event.channel)
            case SetMetadata():
                if not await self.store.set_metadata(event.connection_id, encode_metadata(event.metadata)):
                    self._skip(event, "is not connected")
            case PollForConnection():
                await self._poll(event)
        return None

    async def _publish(self, event: PublishText) -> Report:
        async def post(connection_ids: Sequence[str]) -> Outcome:
            return await self.management.post(connection_ids, event.data)

        def later(connection_id: str) -> SendText:
            return SendText(connection_id, event.data)

        if event.message_id is None:
            return await self._fan_out(event.channel, post, later)
        if not await self.store.claim(event.channel, event.message_id):
            return Report(0, 0, 0, 0)
        try:
            return await self._fan_out(event.channel, post, later)
        except Unavailable:
            await self.store.release(event.channel, event.message_id)
            raise

    async def _fan_out(self, channel: str, call: Call, later: Callable[[str], AnswerEvent]) -> Report:
        """Call once for all subscribers, then patiently for the stragglers; what is left goes to the queue."""
        sent = gone = 0
        stragglers: list[str] = []
        async for page in self.store.subscribers(channel):
            if page:
                outcome = await call(page)
                sent += outcome.done
                gone += self._refused(outcome)
                stragglers += outcome.gone
                stragglers += outcome.failed
        delivery = await self._deliver(stragglers, call)
        queued = [Continuation(whose, [later(whose)]) for whose in delivery.failed]
        if queued:
            log.info("channel %.60r: %d connections take no more now; queued", channel, len(queued))
            await self.queue.put(queued)
        sent, gone = sent + delivery.sent, gone + delivery.gone
        return Report(sent + gone + len(queued), sent, gone, len(queued))

    async def _send(self, event: SendText | CloseConnection, call: Call) -> None:
        delivery = await self._deliver([event.connection_id], call)
        if delivery.failed:
            raise Unavailable(delivery.failed[event.connection_id])
        if delivery.gone:
            self._skip(event, "is not connected")

    async def _deliver(self, connection_ids: Sequence[str], call: Call) -> Delivery:
        """Call until each is done or gone for good, or patience ends."""
        sent = gone = 0
        failed: dict[str, str] = {}
        for pause_s in (*RETRY_PAUSES_S, None):
            if not connection_ids:
                break
            outcome = await call(connection_ids)
            sent += outcome.done
            gone += self._refused(outcome)
            failed = dict(outcome.failed)
            for whose in outcome.gone:
                if await self._is_young(whose):
                    failed[whose] = "the connection is accepted and not open yet"
                else:
                    gone += 1
                    await self.store.unsubscribe_all(whose)
            connection_ids = list(failed)
            if connection_ids and pause_s is not None:
                await self.clock.sleep(pause_s * random.uniform(1.0, 1.5))  # noqa: S311 - jitter, not cryptography
        return Delivery(sent, gone, failed)

    async def _is_young(self, connection_id: str) -> bool:
        stored = await self.store.get(connection_id)
        return stored is not None and self.clock.now() - stored.accepted_at < ACCEPT_WINDOW_S

    async def _poll(self, event: PollForConnection) -> None:
        deadline = self.clock.now() + event.timeout / 1000
        while not await self.management.is_open(event.connection_id):
            left_s = deadline - self.clock.now()
            if left_s <= 0:
                self._skip(event, "did not open in time")
                return
            await self.clock.sleep(min(POLL_PAUSE_S, left_s))

    def _refused(self, outcome: Outcome) -> int:
        for whose, reason in outcome.refused.items():
            log.warning("connection %s: the management API refuses: %s; skipped", whose, reason)
        return len(outcome.refused)

    def _skip(self, event: Action, why: str) -> None:
        whose = getattr(event, "connection_id", "")
        log.warning("%s skipped: connection %.40r %s", event.__struct_config__.tag, whose, why)
