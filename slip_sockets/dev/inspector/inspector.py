"""The inspector of one development server: its wrappers of ports and functions, and its routes."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from ...apigateway.requests import ProxyEvent, ProxyResponse
from ...apigateway.socket_events import read_socket_event
from ...gateway.deferred import Deferred, Disconnected, Texts
from ...gateway.gateway import Ports
from ...gateway.observer import EventType
from ...gateway.ports import Checkpoint
from ...gateway.values import Connect, Disconnect, Done, Message
from ...gateway.worker import DeadLetter, Retry, Worker
from ..edge import Function
from .ports import (
    RecordingClient,
    RecordingConnections,
    RecordingHistory,
    RecordingPresence,
    RecordingQueue,
    RecordingSender,
    RecordingSubscriptions,
)
from .recorder import Recorder
from .records import Body
from .routes import Serving, inspector_routes

if TYPE_CHECKING:
    from aiohttp import web

_log = logging.getLogger("slip_sockets")

MAX_SUBJECT_LENGTH = 200


class Inspector:
    """Wraps a gateway's ports, and the functions that lead into it. `attach` listens to the log as well."""

    def __init__(self) -> None:
        self.recorder = Recorder()

    def attach(self) -> None:
        _log.addHandler(self.recorder)

    def detach(self) -> None:
        _log.removeHandler(self.recorder)

    def end_streams(self) -> None:
        """End the streams of all viewers: a server that stops waits for its requests."""
        self.recorder.end_streams()

    def ports(self, ports: Ports) -> Ports:
        return msgspec.structs.replace(
            ports,
            connections=RecordingConnections(ports.connections, self.recorder),
            subscriptions=RecordingSubscriptions(ports.subscriptions, self.recorder),
            history=RecordingHistory(ports.history, self.recorder),
            presence=RecordingPresence(ports.presence, self.recorder),
            sender=RecordingSender(ports.sender, self.recorder),
            queue=RecordingQueue(ports.queue, self.recorder),
            inbound=None if ports.inbound is None else RecordingQueue(ports.inbound, self.recorder),
            http=RecordingClient(ports.http, self.recorder),
        )

    def websocket_function(self, function: Function) -> Function:
        async def recorded(event: ProxyEvent) -> ProxyResponse:
            kind, connection_id, subject, body = _of_socket(read_socket_event(event))
            with self.recorder.recording(kind, connection_id, subject, body) as record:
                response = await function(event)
                record.status = response["statusCode"]
            return response

        return recorded

    def control_function(self, function: Function) -> Function:
        async def recorded(event: ProxyEvent) -> ProxyResponse:
            body = event["body"].encode()
            with self.recorder.recording(EventType.CONTROL, None, _of_batch(body), body) as record:
                response = await function(event)
                record.status = response["statusCode"]
                record.response = Body.of(response["body"].encode())
            return response

        return recorded

    def worker(self, worker: Worker) -> Worker:
        return RecordingWorker(worker, self.recorder)

    def routes(self, serving: Serving) -> list[web.RouteDef]:
        return inspector_routes(self.recorder, serving)


class RecordingWorker:
    """A Worker with the recorder listening."""

    def __init__(self, worker: Worker, recorder: Recorder) -> None:
        self._worker = worker
        self._recorder = recorder

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        connection_id, (subject, body) = message.summary.connection_id, _of_deferred(message)
        with self._recorder.recording(message.event_type, connection_id, subject, body) as record:
            result = await self._worker.attempt(message, number, checkpoint, deadline=deadline)
            if isinstance(result, Done):
                record.status = 200
            return result


def _of_socket(event: Connect | Message | Disconnect) -> tuple[EventType, str, str, bytes]:
    """Return an event's kind, its connection, its subject in a line, and what came with it."""
    match event:
        case Connect(connection_id, headers, query):
            subject = "&".join(f"{name}={value}" for name, values in query.items() for value in values)
            subject = f"?{subject}"[:MAX_SUBJECT_LENGTH] if subject else ""
            body = json.dumps({"headers": dict(headers), "query": dict(query)}, ensure_ascii=False).encode()
            return EventType.OPEN, connection_id, subject, body
        case Message(connection_id, text):
            return EventType.TEXT, connection_id, text[:MAX_SUBJECT_LENGTH], text.encode()
        case Disconnect(connection_id, code, reason):
            return EventType.CLOSE, connection_id, f"{code} {reason}".rstrip(), b""


def _of_deferred(message: Deferred) -> tuple[str, bytes]:
    """Return a message's subject in a line, and what came with it."""
    match message:
        case Texts(texts=texts):
            body = b"\n".join(text.data for text in texts)
            subject = body.decode(errors="replace") if len(texts) == 1 else message.title
            return subject[:MAX_SUBJECT_LENGTH], body
        case Disconnected(code=code, reason=reason):
            return f"{code} {(reason or b'').decode(errors='replace')}".rstrip(), b""
    return message.title, b""


def _of_batch(body: bytes) -> str:
    """Return what a publisher asks for, in a line. The body may be anything."""
    try:
        batch = json.loads(body)
        parts = (
            [_of_item(item) for item in batch["items"]] if "items" in batch else list(map(_of_event, batch["events"]))
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "not a batch"
    return (", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else ""))[:MAX_SUBJECT_LENGTH]


def _of_event(event: Any) -> str:
    return f"{event['type']} {event.get('channelId') or event.get('connectionId')}"


def _of_item(item: Any) -> str:
    """Return what an item of GRIP asks for."""
    message = item.get("formats", item).get("ws-message", {})
    return f"{message.get('action', 'send')} {item['channel']}"
