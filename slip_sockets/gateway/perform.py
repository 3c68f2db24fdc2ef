"""Performs actions, one after another, through the ports."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import msgspec

from ..protocol.errors import InvalidEvents, SlipSocketsError
from ..protocol.events import (
    MAX_TEXT_BYTES,
    Accept,
    AnyReport,
    CloseChannel,
    CloseConnection,
    History,
    HistoryReport,
    KeptMessage,
    Members,
    PollForConnection,
    PresenceReport,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    encode_metadata,
)
from ..protocol.frames import TextFrame, encode_frame
from ..protocol.patterns import is_pattern
from .deadlines import RESERVE_S
from .deferred import Timer
from .delivery import Close, Deliverer, Send
from .effects import Effect, NoteContentFilters, NotePatterns, Recover, StartTimer
from .errors import ActionFailed, NoTimeLeft, Unavailable
from .fan_out import Broadcaster
from .idempotency import Once
from .members import fitted_members, members_report
from .observer import Observer
from .pattern_use import PatternUse
from .plan_open import membership_of
from .ports import ChannelMarks, Clock, Connections, Presence, Queue, Sender, Subscriptions
from .recent import Recent, Written
from .recovery import Recoverer
from .values import NOTHING_KNOWN, Broadcast, ChannelClose, Form, Known, Origin, Publication, known_of

log = logging.getLogger("slip_sockets.gateway")

POLL_PAUSE_S = 0.05
LONGEST_ESCAPE = 7
"""Bytes that a character may have in a frame, and a little for the frame itself."""
MAX_REPORTS_BYTES = 2 * 1024 * 1024
"""Of JSON that a batch's HISTORY and PRESENCE events return: a function's response may have 6 MB, in which
each quotation mark of a text is up to four bytes.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
FILTERED_FOR_S = 2 * 60 * 60.0
"""How long a channel has content filters after a subscription with one: as long as a connection lives."""

Performable = Effect | Broadcast


class Performer(msgspec.Struct, frozen=True):
    """Performs actions. It does not decide who may ask for them."""

    connections: Connections
    subscriptions: Subscriptions
    marks: ChannelMarks
    presence: Presence
    timers: Queue
    sender: Sender
    deliverer: Deliverer
    broadcaster: Broadcaster
    recoverer: Recoverer
    once: Once
    clock: Clock
    observer: Observer
    patterns: PatternUse

    async def check(self, actions: Sequence[Performable], known: Mapping[str, Known] = NOTHING_KNOWN) -> None:
        """Check what depends on the form of the connection that an action is for; few actions do.

        `known` are some of the connections. Raises InvalidEvents or Unavailable.
        """
        for index, action in enumerate(actions):
            if not isinstance(action, SendText | Subscribe) or (fault := fault_in_frames(action)) is None:
                continue
            found = known.get(action.connection_id) or known_of(await self.connections.get(action.connection_id))
            if found.form is Form.SLIP_V1:
                field, problem = fault
                where = f"events[{index}].{field}: {action.__struct_config__.tag}"
                raise InvalidEvents(f"{where} {problem}", index=index, field=field)

    async def run(
        self,
        actions: Sequence[Performable],
        *,
        deadline: float = math.inf,
        recent: Sequence[Written] = (),
        known: Mapping[str, Known] = NOTHING_KNOWN,
    ) -> list[AnyReport | None]:
        """Perform `actions` in order and return a report for each that has one. Raises ActionFailed and stops there.

        It stops in time before `deadline` (Unix seconds). The effects of `recent` were written just before. `known` are
        some of the connections.
        """
        written = Recent(self.subscriptions.index_lag_s, known)
        for earlier in recent:
            written.note(earlier, self.clock.now())
        reports: list[AnyReport | None] = []
        bytes_left = MAX_REPORTS_BYTES
        for index, action in enumerate(actions):
            try:
                if self.clock.now() > deadline - RESERVE_S:
                    raise NoTimeLeft("no time is left for it")
                report = await self._perform(action, written, deadline)
                if isinstance(report, HistoryReport):
                    report, bytes_left = fitted(report, bytes_left)
                elif isinstance(report, PresenceReport):
                    report, bytes_left = fitted_members(report, bytes_left)
                reports.append(report)
            except Unavailable as error:
                raise ActionFailed(index, action, error) from error
        return reports

    async def _perform(self, action: Performable, written: Recent, deadline: float) -> AnyReport | None:
        match action:
            case PublishText(channel, data, message_id, keep):
                return await self._publish(Publication(channel, data, message_id, keep=keep), written, deadline)
            case Publication():
                return await self._publish(action, written, deadline)
            case CloseChannel(channel, except_connection_id):
                close = ChannelClose(channel, except_connection_id=except_connection_id)
                return await self.broadcaster.broadcast(close, written, deadline=deadline)
            case ChannelClose():
                return await self.broadcaster.broadcast(action, written, deadline=deadline)
            case History():
                return await self._history(action)
            case Members(channel):
                connections, _ = await self.presence.read(channel)
                return members_report(connections)
            case NoteContentFilters(channel):
                await self.marks.mark_filtered(channel, for_s=FILTERED_FOR_S)
                return None
            case NotePatterns():
                await self.patterns.note()
                return None
            case Accept():  # has a meaning only in the reply to OPEN
                return None
        if not self.sender.is_connection_id(action.connection_id):
            # No connection has it; or the sender is wrong about that, and everything for the connection is lost.
            _log_skipped(action, "is not a connection id")
            self.observer.failed(SlipSocketsError("not a connection id"))
            return None
        match action:
            case SendText(connection_id, data):
                is_framed = await self._form(connection_id, written) is Form.SLIP_V1
                text = encode_frame(TextFrame(data)) if is_framed else data
                await self._deliver(action, Send(text), deadline)
            case CloseConnection():
                await self.subscriptions.unsubscribe_all(action.connection_id)
                written.note(action, self.clock.now())
                await self._deliver(action, Close(), deadline)
            case Subscribe():
                await self._subscribe(action, written, deadline)
            case Recover():
                form = await self._form(action.connection_id, written)
                await self.recoverer.on_subscribed(action, form, deadline=deadline)
            case Unsubscribe():
                await self.subscriptions.unsubscribe(action.connection_id, action.channel)
                written.note(action, self.clock.now())
            case SetMetadata():
                if not await self.connections.set_metadata(action.connection_id, encode_metadata(action.metadata)):
                    _log_skipped(action, "is not connected")
            case PollForConnection():
                await self._poll(action)
            case StartTimer(connection_id, timer_id, after_s):
                await self.timers.put([Timer(connection_id, timer_id, due_at=self.clock.now() + after_s)])
        return None

    async def _publish(self, publication: Publication, written: Recent, deadline: float) -> Report:
        async def publish(origin: Origin) -> Report:
            return await self.broadcaster.broadcast(publication, written, deadline=deadline, origin=origin)

        return await self.once.publish(publication, publish, deadline=deadline)

    async def _history(self, history: History) -> HistoryReport:
        if history.since is None:
            past = await self.recoverer.history.past(history.channel, None, limit=history.limit)
        else:
            past = await self.recoverer.past_since(history.channel, history.since, limit=history.limit)
        recovered = msgspec.UNSET if history.since is None else past.is_whole
        return HistoryReport(str(past.newest), list(past.messages), past.more, recovered)

    async def _subscribe(self, subscribe: Subscribe, written: Recent, deadline: float) -> None:
        connection_id, channel = subscribe.connection_id, subscribe.channel
        if is_pattern(channel):
            await self.patterns.note()
        membership = None
        if subscribe.presence is not None:
            if connection_id not in written.users and not await self._look_up(connection_id, written):
                _log_skipped(subscribe, "is not connected")
                return
            user = written.users[connection_id]
            membership = membership_of(connection_id, user, subscribe.presence)
        known_form = written.forms.get(connection_id)
        form = await self.subscriptions.subscribe(connection_id, channel, known_form, membership)
        if form is None:
            _log_skipped(subscribe, "is not connected")
            return
        written.forms[connection_id] = form
        written.note(subscribe, self.clock.now())
        if subscribe.recover or subscribe.since is not None:
            recover = Recover(connection_id, channel, subscribe.since)
            await self.recoverer.on_subscribed(recover, form, deadline=deadline)

    async def _form(self, connection_id: str, known: Recent) -> Form:
        if connection_id not in known.forms and not await self._look_up(connection_id, known):
            return Form.RAW
        return known.forms[connection_id]

    async def _look_up(self, connection_id: str, known: Recent) -> bool:
        """Return False where there is no such connection; it may come."""
        stored = await self.connections.get(connection_id)
        if stored is not None:
            known.forms[connection_id], known.users[connection_id] = stored.form, stored.user
        return stored is not None

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


def fault_in_frames(action: SendText | Subscribe) -> tuple[str, str] | None:
    """Return the field of an action that is wrong for a client of slip.v1, and what it needs."""
    match action:
        case SendText(_, data) if len(data) > MAX_TEXT_BYTES // LONGEST_ESCAPE:
            size = len(encode_frame(TextFrame(data)).encode())
            if size > MAX_TEXT_BYTES:
                return "data", f"needs at most {MAX_TEXT_BYTES} bytes in its frame, got {size}"
        case Subscribe(recover=False, since=str()):
            return "since", "of a client of slip.v1 needs recover"
    return None


def fitted(report: HistoryReport, limit: int) -> tuple[HistoryReport, int]:
    """Return a report with at most `limit` bytes of JSON, and what is left of these.

    Without `since` it has the newest messages that fit, with it the oldest.
    """
    is_newest = report.recovered is msgspec.UNSET
    messages: list[KeptMessage] = []
    for message in reversed(report.messages) if is_newest else report.messages:
        size = len(msgspec.json.encode(message))
        if size > limit:
            report = msgspec.structs.replace(report, more=True)
            break
        limit -= size
        messages.append(message)
    return msgspec.structs.replace(report, messages=messages[::-1] if is_newest else messages), limit


def _log_skipped(action: Effect, why: str) -> None:
    connection_id = getattr(action, "connection_id", "")
    log.warning("%s skipped: connection %.40r %s", action.__struct_config__.tag, connection_id, why)
