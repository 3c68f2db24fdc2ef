"""Handles a client that connects, sends a text, or leaves, and the deferred part of that."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import msgspec

from ..protocol.errors import SlipSocketsError
from ..protocol.events import Close, CloseConnection, SocketEvent, Text
from ..protocol.frames import SUBPROTOCOL
from .deferred import CloseNotice, Continuation, Disconnected, Texts, Timer, TimerDue
from .effects import Effect
from .errors import ActionFailed, BackendFailed, Incomplete, NotAccepted, Unavailable
from .framed import FrameAnswers, read_texts, unframed
from .numbered import NumberedText, in_order, is_early, number_after
from .observer import EventType, HandledEvent, handling
from .perform import Performer
from .plan_open import OpenPlan, check_user, continuation_of, plan_open
from .ports import Checkpoint, Clock, Connections, Queue
from .replies import Replies
from .values import (
    Accepted,
    Connect,
    Disconnect,
    Done,
    Failed,
    Form,
    Known,
    Message,
    Refused,
    StoredConnection,
    known_of,
)

log = logging.getLogger("slip_sockets.gateway")

WAIT_S, MAX_WAITS = 0.1, 10
"""How long, and how often, a text that came before its forerunner is put behind what has come meanwhile."""
IDLE_TOLERANCE_S = 1.0
"""A connection that was active less than this later than its timer began counts as idle: timers tick in seconds."""
_LOST = Failed(500)


class Sockets(msgspec.Struct, frozen=True):
    """Handles the events of connections. The methods return in time before their `deadline` (Unix seconds).

    Where texts come by a queue, `inbound` is that one: what OPEN's reply deferred goes there, before all texts.
    """

    connections: Connections
    queue: Queue
    inbound: Queue
    performer: Performer
    replies: Replies
    frames: FrameAnswers
    clock: Clock

    async def connect(self, connect: Connect, *, deadline: float = math.inf) -> Accepted | Refused:
        with handling(HandledEvent(EventType.OPEN, connect.connection_id)):
            return await self._connect(connect, deadline)

    async def message(self, message: Message, *, deadline: float = math.inf) -> Done | Failed:
        with handling(HandledEvent(EventType.TEXT, message.connection_id)):
            return await self._message(message, deadline)

    async def disconnect(self, disconnect: Disconnect, *, deadline: float = math.inf) -> Done | Failed:
        with handling(HandledEvent(EventType.CLOSE, disconnect.connection_id)):
            return await self._disconnect(disconnect, deadline)

    # Connect

    async def _connect(self, connect: Connect, deadline: float) -> Accepted | Refused:
        connection_id = connect.connection_id
        metadata = self.replies.backend.protocol.initial_metadata(connect)
        try:
            opening = await self.replies.backend.open(connect, metadata)
            form = Form.SLIP_V1 if opening.subprotocol == SUBPROTOCOL else Form.RAW
            known = Known(form, opening.user)
            await self.replies.check(connection_id, opening.actions, known)
            check_user(opening.user, self.performer.sender.looks_like_connection_id)
            plan = plan_open(connection_id, opening.actions, metadata, opening.user)
        except BackendFailed as error:
            return self._refuse(connection_id, error, error.client_status)
        except NotAccepted as error:
            return self._refuse(connection_id, error, error.client_status)
        try:
            await self._let_in(connection_id, plan, known, deadline)
        except (Unavailable, ActionFailed) as error:
            refused = self._refuse(connection_id, error, 500)
            await self._forget(connection_id)
            return refused
        return Accepted(opening.subprotocol)

    def _refuse(self, connection_id: str, error: SlipSocketsError, status: int) -> Refused:
        self.replies.failed(error, "OPEN of connection %s: %s; refused with %d", connection_id, error, status)
        return Refused(status)

    async def _let_in(self, connection_id: str, plan: OpenPlan, known: Known, deadline: float) -> None:
        form, user = known.form, known.user
        await self.performer.run(plan.notes, deadline=deadline)
        await self.connections.open(connection_id, plan.metadata, plan.channels, form, user, plan.memberships)
        await self.performer.run(plan.others, deadline=deadline)
        if plan.deferred:
            lag_s = self.performer.subscriptions.index_lag_s
            await self.inbound.put([continuation_of(connection_id, plan, known, now=self.clock.now(), lag_s=lag_s)])

    async def _forget(self, connection_id: str) -> None:
        try:
            await self.connections.remove(connection_id)
        except Unavailable as error:  # the rows expire
            log.warning("connection %s was refused and its rows remain until they expire: %s", connection_id, error)

    # Message

    async def _message(self, message: Message, deadline: float) -> Done | Failed:
        connection_id = message.connection_id
        try:
            stored = await self.connections.get(connection_id)
            known = known_of(stored)
            content = unframed(message.text, known.form)
            if not isinstance(content, str):
                if content is not None:
                    await self.frames.answer(connection_id, content, deadline=deadline)
                return Done()
            actions = await self._call(connection_id, stored, [Text(connection_id, content)])
        except Unavailable as error:
            self.replies.failed(error, "TEXT of connection %s: %s; the backend was not called", connection_id, error)
            return _LOST
        except BackendFailed as error:
            self.replies.failed(error, "TEXT of connection %s: %s", connection_id, error)
            if error.ends_connection:
                return await self._end(connection_id, deadline)
            return Failed(error.client_status)
        return _result(await self.replies.perform_or_queue("TEXT", connection_id, actions, deadline, known=known))

    async def _call(
        self, connection_id: str, stored: StoredConnection | None, events: Sequence[SocketEvent]
    ) -> Sequence[Effect]:
        """Raises BackendFailed."""
        metadata = stored.metadata if stored else None
        return await self.replies.call(connection_id, metadata, events, known=known_of(stored))

    async def _end(self, connection_id: str, deadline: float) -> Done | Failed:
        """Close a connection of which the backend hears nothing more."""
        try:
            await self.connections.remove(connection_id)
        except Unavailable as error:
            self.replies.failed(error, "connection %s: its end: %s", connection_id, error)
        return _result(
            await self.replies.perform_or_queue("The end", connection_id, [CloseConnection(connection_id)], deadline)
        )

    # Disconnect

    async def _disconnect(self, disconnect: Disconnect, deadline: float) -> Done | Failed:
        connection_id = disconnect.connection_id
        try:
            stored = await self.connections.remove(connection_id)
        except Unavailable as error:
            self.replies.failed(error, "CLOSE of connection %s: %s", connection_id, error)
            return await self._queue_close(CloseNotice(connection_id, disconnect.code, disconnect.reason, None))
        notice = _notice(connection_id, disconnect.code, disconnect.reason, stored)
        try:
            actions = await self._send_close(notice)
        except BackendFailed as error:
            self.replies.failed(error, "CLOSE of connection %s: %s", connection_id, error)
            return await self._queue_close(notice) if error.is_retryable else Failed(error.client_status)
        return _result(await self.replies.perform_or_queue("CLOSE", connection_id, actions, deadline))

    async def _queue_close(self, notice: CloseNotice) -> Done | Failed:
        try:
            await self.queue.put([notice])
        except Unavailable as error:
            self.replies.failed(error, "CLOSE of connection %s is lost: %s", notice.connection_id, error)
            return _LOST
        log.info("CLOSE of connection %s is queued; the backend is called again later", notice.connection_id)
        return Done()

    async def _send_close(self, notice: CloseNotice) -> Sequence[Effect]:
        event = Close(notice.connection_id, notice.code, notice.reason)
        return await self.replies.call(notice.connection_id, notice.metadata, [event], known=Known(user=notice.user))

    # Deferred messages

    async def on_continuation(self, message: Continuation, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a Continuation. Raises Incomplete."""
        try:
            recent = message.recent if self.clock.now() < message.recent_until else []
            known = {message.connection_id: Known(message.form, message.user)}
            await self.performer.run(message.actions, deadline=deadline, recent=recent, known=known)
        except ActionFailed as error:
            remaining = msgspec.structs.replace(message, actions=message.actions[error.index :])
            raise Incomplete(remaining, str(error)) from error

    async def on_texts(self, message: Texts, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of Texts. Raises Incomplete."""
        connection_id = message.connection_id
        try:
            stored = await self.connections.get(connection_id)
            next_number = stored.next_number if stored else 1
            received = read_texts(message.texts, known_of(stored).form)
            texts = in_order(received.numbered)
            if is_early(texts, next_number=next_number) and message.waits < MAX_WAITS:
                await self.clock.sleep(WAIT_S)
                await self.inbound.put([msgspec.structs.replace(message, waits=message.waits + 1)])
                return
            for asked in received.asked:
                await self.frames.answer(connection_id, asked, deadline=deadline)
        except Unavailable as error:
            raise Incomplete(message, f"{error}; the backend was not called") from error
        if not texts:
            return
        message = msgspec.structs.replace(message, texts=received.texts)  # what is answered is not answered again
        await self._tell(message, stored, texts, deadline)
        await self._count(connection_id, number_after(texts, next_number=next_number), next_number)

    async def _tell(
        self, message: Texts, stored: StoredConnection | None, texts: Sequence[NumberedText], deadline: float
    ) -> None:
        connection_id = message.connection_id
        events = [Text(connection_id, text.data, text.id) for text in texts]
        try:
            actions = await self._call(connection_id, stored, events)
        except BackendFailed as error:
            self.replies.failed(error, "TEXT of connection %s, %d in all: %s", connection_id, len(events), error)
            if error.is_retryable:
                raise Incomplete(message, str(error)) from error
            if error.ends_connection:
                await self._end(connection_id, deadline)
            return
        if not await self.replies.perform_or_queue("TEXT", connection_id, actions, deadline, known=known_of(stored)):
            raise Incomplete(message, "what the backend asked for could be neither done nor queued")

    async def _count(self, connection_id: str, next_number: int, before: int) -> None:
        """Store the number that comes next. Without it, later texts wait a second for those that came before."""
        if next_number == before:
            return
        try:
            await self.connections.set_next_number(connection_id, next_number)
        except Unavailable as error:
            log.warning("TEXT of connection %s: later ones are delayed: %s", connection_id, error)

    async def on_timer(self, message: Timer, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a Timer. Raises Incomplete."""
        left_s = message.due_at - self.clock.now()
        if left_s > 0:
            raise Incomplete(message, "its time has not come", pause_s=left_s, is_exact=True)
        try:
            await self.inbound.put([TimerDue(message.connection_id, message.timer_id, message.number)])
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error

    async def on_timer_due(self, message: TimerDue, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a TimerDue. Raises Incomplete."""
        connection_id, timer_id = message.connection_id, message.timer_id
        try:
            stored = await self.connections.get(connection_id)
            if stored is None:
                return
            tick = self.replies.backend.protocol.tick(connection_id, stored.metadata, timer_id)
            if tick is None:
                return
            early_s = 0.0 if tick.if_idle_s is None else await self._until_idle(connection_id, tick.if_idle_s)
            again_after_s = early_s or tick.again_after_s
            if again_after_s is not None:  # first: a timer survives what goes wrong in one tick
                due_at = self.clock.now() + again_after_s
                await self.performer.timers.put([Timer(connection_id, timer_id, message.number + 1, due_at=due_at)])
            if early_s:
                return
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error
        actions: Sequence[Effect] = tick.actions
        if tick.calls_backend:
            try:
                actions = await self._call(connection_id, stored, [])
            except BackendFailed as error:
                self.replies.failed(error, "a timer of connection %s: %s", connection_id, error)
                if error.ends_connection:
                    await self._end(connection_id, deadline)
                return
        if not await self.replies.perform_or_queue("A timer", connection_id, actions, deadline, known=known_of(stored)):
            raise Incomplete(message, "what it asked for could be neither done nor queued")

    async def _until_idle(self, connection_id: str, idle_s: float) -> float:
        """Return the seconds after which a connection may have been idle for `idle_s`; 0 where it has, or may have."""
        try:
            last_active_at = await self.performer.sender.last_active_at(connection_id)
        except Unavailable as error:
            log.warning("a timer of connection %s: it may not be idle: %s", connection_id, error)
            return 0.0
        left_s = 0.0 if last_active_at is None else last_active_at + idle_s - self.clock.now()
        return left_s if left_s > IDLE_TOLERANCE_S else 0.0

    async def on_disconnected(self, message: Disconnected, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of Disconnected. Raises Incomplete.

        The rows go last: until the backend has its CLOSE, or the queue has it, they hold the metadata.
        """
        connection_id = message.connection_id
        # Beside a code, no reason is an empty one.
        is_known = message.code is not None or message.reason is not None
        reason = (message.reason or b"").decode(errors="replace") if is_known else None
        try:
            stored = await self.connections.get(connection_id)
            await self._close_or_queue(_notice(connection_id, message.code, reason, stored), deadline)
            await self.connections.remove(connection_id)
        except Unavailable as error:
            raise Incomplete(message, str(error)) from error

    async def _close_or_queue(self, notice: CloseNotice, deadline: float) -> None:
        """Raises Unavailable where neither is possible."""
        connection_id = notice.connection_id
        try:
            actions = await self._send_close(notice)
        except BackendFailed as error:
            self.replies.failed(error, "CLOSE of connection %s: %s", connection_id, error)
            if error.is_retryable:
                await self.queue.put([notice])
                log.info("CLOSE of connection %s is queued; the backend is called again later", connection_id)
            return
        left = [CloseConnection(connection_id)]
        if not await self.replies.perform_or_queue("CLOSE", connection_id, actions, deadline, recent=left):
            raise Unavailable("what the backend asked for could be neither done nor queued")

    async def on_close_notice(self, notice: CloseNotice, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of a CloseNotice. Raises Incomplete."""
        connection_id = notice.connection_id
        try:
            if notice.metadata is None:
                stored = await self.connections.get(connection_id)
                notice = _notice(connection_id, notice.code, notice.reason, stored)
                await checkpoint.save(notice)  # first: after a crash the next attempt still has the metadata
            await self.connections.remove(connection_id)
            actions = await self._send_close(notice)
        except Unavailable as error:
            raise Incomplete(notice, str(error)) from error
        except BackendFailed as error:
            self.replies.failed(error, "CLOSE of connection %s: %s", connection_id, error)
            if error.is_retryable:
                raise Incomplete(notice, str(error)) from error
            return
        if not await self.replies.perform_or_queue("CLOSE", connection_id, actions, deadline):
            raise Incomplete(notice, "what the backend asked for could be neither done nor queued")


def _notice(connection_id: str, code: int | None, reason: str | None, stored: StoredConnection | None) -> CloseNotice:
    metadata, user = (stored.metadata, stored.user) if stored else (b"null", None)
    return CloseNotice(connection_id, code, reason, metadata, user)


def _result(is_done: bool) -> Done | Failed:
    return Done() if is_done else _LOST
