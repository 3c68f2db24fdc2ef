"""The gateway: what happens on each event of a socket, each call of the control API, each message of the queue."""

from __future__ import annotations

import http
import logging
import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from ..errors import InvalidEvents, InvalidToken
from ..events import AnswerEvent, Close, Open, Text, decode_control
from ..tokens import bearer_token, verify
from .backend import Backend, BackendFailed
from .execute import EventFailed, Executor
from .fan_out import INLINE_LIMIT, Broadcaster
from .plan import OpenPlan, continuation_of, plan_open
from .ports import (
    Clock,
    CloseNotice,
    ConnectionStore,
    Continuation,
    Deferred,
    FanOut,
    FanOutChunk,
    Keep,
    Management,
    NotDone,
    Queue,
    Secrets,
    Unavailable,
)
from .proxy import (
    Connect,
    Disconnect,
    Message,
    ProxyEvent,
    ProxyResponse,
    parse_control_event,
    parse_websocket_event,
    response,
)
from .tally import NO_TALLY, Tally

log = logging.getLogger("slip_sockets.gateway")

_JSON = {"Content-Type": "application/json"}
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Gateway:
    """One deployment's logic, over its ports. `secrets` verify what reaches the control API.

    Channels with more subscribers than `inline_limit` are sent to by the queue. The methods stop in time before their
    `deadline` (Unix seconds). `failures` counts what went wrong since start, by event type; `tally` gets more.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        store: ConnectionStore,
        management: Management,
        queue: Queue,
        clock: Clock,
        secrets: Secrets,
        inline_limit: int = INLINE_LIMIT,
        tally: Tally = NO_TALLY,
    ) -> None:
        self.failures: Counter[str] = Counter()
        self._tally = tally
        self._backend = backend
        self._store = store
        self._queue = queue
        self._clock = clock
        self._secrets = secrets
        self._broadcaster = Broadcaster(store, management, queue, clock, inline_limit, tally=tally)
        self._executor = Executor(store, management, self._broadcaster, clock)

    async def on_websocket_event(self, event: ProxyEvent, *, deadline: float = math.inf) -> ProxyResponse:
        """Handle a proxy event of the WebSocket API and return the integration's response."""
        match parse_websocket_event(event):
            case Connect() as connect:
                return await self._on_connect(connect, deadline)
            case Message() as message:
                return await self._on_message(message, deadline)
            case Disconnect() as disconnect:
                return await self._on_disconnect(disconnect, deadline)

    async def on_control_event(self, event: ProxyEvent, *, deadline: float = math.inf) -> ProxyResponse:
        """Handle a proxy event of the HTTP API: check the token, then the whole batch, then do it."""
        call = parse_control_event(event)
        try:
            verify(bearer_token(call.authorization), "ControlEvent", self._secrets())
        except Unavailable as error:
            self._failed("CONTROL", "control API: %s; refused with 503, nothing was done", error)
            return _json(http.HTTPStatus.SERVICE_UNAVAILABLE, {"message": "not done", "index": 0, "error": str(error)})
        except InvalidToken as error:
            self._failed("CONTROL", "control API: %s; refused with 403", error)
            return response(http.HTTPStatus.FORBIDDEN, _TEXT, "Invalid token")
        try:
            events = decode_control(call.body())
        except InvalidEvents as error:
            self._failed("CONTROL", "control API: %s; refused with 400, nothing was done", error)
            refusal = {"message": "invalid commands", "error": str(error)}
            place = {"index": error.index, "field": error.field}
            return _json(http.HTTPStatus.BAD_REQUEST, refusal | {k: v for k, v in place.items() if v is not None})
        try:
            reports = await self._executor.run(events, deadline=deadline)
        except EventFailed as error:
            self._failed("CONTROL", "control API: %s; the batch stopped there", error)
            not_done = {"message": "not done", "index": error.index, "error": str(error)}
            return _json(http.HTTPStatus.SERVICE_UNAVAILABLE, not_done)
        told: list[object] = [{} if report is None else report for report in reports]
        return _json(http.HTTPStatus.OK, {"message": "processed successfully", "events": told})

    async def on_deferred(self, message: Deferred, keep: Keep, *, deadline: float = math.inf) -> None:
        """Do what had to wait. Raises NotDone where something of it must be tried again."""
        match message:
            case Continuation():
                await self._on_continuation(message, deadline)
            case CloseNotice():
                await self._on_close_notice(message, keep, deadline)
            case FanOut():
                await self._broadcaster.split(message, keep, deadline=deadline)
            case FanOutChunk():
                await self._broadcaster.deliver_chunk(message, deadline=deadline)

    async def _on_continuation(self, message: Continuation, deadline: float) -> None:
        try:
            recent = message.recent if self._clock.now() < message.recent_until else []
            await self._executor.run(message.events, deadline=deadline, recent=recent)
        except EventFailed as error:
            rest = msgspec.structs.replace(message, events=message.events[error.index :])
            raise NotDone(rest, str(error)) from error

    async def _on_connect(self, connect: Connect, deadline: float) -> ProxyResponse:
        whose = connect.connection_id
        default = {"headers": connect.headers, "ip": connect.ip, "query": connect.query}
        metadata = msgspec.json.encode(default)
        try:
            answer = await self._backend.tell(whose, metadata, Open(whose))
            plan = plan_open(whose, connect.subprotocols, answer, metadata)
        except BackendFailed as error:
            self._failed("OPEN", "OPEN of connection %s: %s; refused with %d", whose, error, error.status)
            return response(error.status)
        except InvalidEvents as error:
            self._failed("OPEN", "OPEN of connection %s: %s; refused with 400", whose, error)
            return response(http.HTTPStatus.BAD_REQUEST)
        try:
            await self._let_in(whose, plan, deadline)
        except (Unavailable, EventFailed) as error:
            self._failed("OPEN", "OPEN of connection %s: %s; refused with 500", whose, error)
            await self._forget(whose)
            return response(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        headers = {"Sec-WebSocket-Protocol": plan.subprotocol} if plan.subprotocol is not None else {}
        return response(http.HTTPStatus.OK, headers)

    async def _let_in(self, connection_id: str, plan: OpenPlan, deadline: float) -> None:
        await self._store.open(connection_id, plan.metadata, plan.channels)
        await self._executor.run(plan.others, deadline=deadline)
        if plan.deferred:
            await self._queue.put([continuation_of(connection_id, plan, self._clock.now())])

    async def _forget(self, connection_id: str) -> None:
        try:
            await self._store.remove(connection_id)
        except Unavailable as error:  # the rows expire
            log.warning("connection %s was refused and its rows remain until they expire: %s", connection_id, error)

    async def _on_message(self, message: Message, deadline: float) -> ProxyResponse:
        whose = message.connection_id
        try:
            stored = await self._store.get(whose)
            answer = await self._backend.tell(whose, stored.metadata if stored else None, Text(whose, message.text))
        except Unavailable as error:
            self._failed("TEXT", "TEXT of connection %s: %s; the backend was not told", whose, error)
            return response(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        except BackendFailed as error:
            self._failed("TEXT", "TEXT of connection %s: %s", whose, error)
            return response(error.status)
        return _done(await self._is_performed("TEXT", whose, answer, deadline))

    async def _on_disconnect(self, disconnect: Disconnect, deadline: float) -> ProxyResponse:
        whose = disconnect.connection_id
        try:
            stored = await self._store.remove(whose)
        except Unavailable as error:
            self._failed("CLOSE", "CLOSE of connection %s: %s", whose, error)
            return await self._tell_later(CloseNotice(whose, disconnect.code, disconnect.reason, None))
        metadata = stored.metadata if stored else b"null"
        notice = CloseNotice(whose, disconnect.code, disconnect.reason, metadata)
        try:
            answer = await self._tell_close(notice, metadata)
        except BackendFailed as error:
            self._failed("CLOSE", "CLOSE of connection %s: %s", whose, error)
            return await self._tell_later(notice) if error.retryable else response(error.status)
        return _done(await self._is_performed("CLOSE", whose, answer, deadline))

    async def _tell_later(self, notice: CloseNotice) -> ProxyResponse:
        try:
            await self._queue.put([notice])
        except Unavailable as error:
            self._failed("CLOSE", "CLOSE of connection %s is lost: %s", notice.connection_id, error)
            return response(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        log.info("CLOSE of connection %s is queued; the backend is told later", notice.connection_id)
        return response(http.HTTPStatus.OK)

    async def _on_close_notice(self, notice: CloseNotice, keep: Keep, deadline: float) -> None:
        whose, metadata = notice.connection_id, notice.metadata
        try:
            if metadata is None:
                stored = await self._store.get(whose)
                metadata = stored.metadata if stored else b"null"
                notice = msgspec.structs.replace(notice, metadata=metadata)
                await keep(notice)  # who crashes after the delete leaves the metadata to the next attempt
            await self._store.remove(whose)
            answer = await self._tell_close(notice, metadata)
        except Unavailable as error:
            raise NotDone(notice, str(error)) from error
        except BackendFailed as error:
            self._failed("CLOSE", "CLOSE of connection %s: %s", whose, error)
            if error.retryable:
                raise NotDone(notice, str(error)) from error
            return
        if not await self._is_performed("CLOSE", whose, answer, deadline):
            raise NotDone(notice, "its answer could be neither done nor queued")

    async def _tell_close(self, notice: CloseNotice, metadata: bytes) -> Sequence[AnswerEvent]:
        event = Close(notice.connection_id, notice.code, notice.reason)
        return await self._backend.tell(notice.connection_id, metadata, event)

    async def _is_performed(
        self, kind: str, connection_id: str, answer: Sequence[AnswerEvent], deadline: float
    ) -> bool:
        """What cannot be done now is queued: the backend has said what it wants done, and will not say it again."""
        try:
            await self._executor.run(answer, deadline=deadline)
        except EventFailed as error:
            return await self._is_queued(kind, connection_id, answer[error.index :], error)
        return True

    async def _is_queued(
        self, kind: str, connection_id: str, events: Sequence[AnswerEvent], cause: EventFailed
    ) -> bool:
        try:
            await self._queue.put([Continuation(connection_id, list(events))])
        except Unavailable as error:
            told = "%s of connection %s: in the answer, %s; it and what follows, %d in all, cannot be queued: %s"
            self._failed(kind, told, kind, connection_id, cause, len(events), error)
            return False
        told = "%s of connection %s: in the answer, %s; it and what follows, %d in all, are queued"
        if cause.lacked_time:
            log.info(told, kind, connection_id, cause, len(events))
        else:
            self._failed(kind, told, kind, connection_id, cause, len(events))
        return True

    def _failed(self, kind: str, message: str, *args: object) -> None:
        self.failures[kind] += 1
        self._tally.count("Failures")
        log.warning(message, *args)


def _done(is_done: bool) -> ProxyResponse:
    return response(http.HTTPStatus.OK if is_done else http.HTTPStatus.INTERNAL_SERVER_ERROR)


def _json(status: http.HTTPStatus, body: object) -> ProxyResponse:
    return response(status, _JSON, msgspec.json.encode(body).decode())
