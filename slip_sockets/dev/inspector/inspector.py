"""The inspector of one development server: what it listens at, and what it serves."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ...gateway.ports import Deferred, HttpClient, Keep, Management
from ...gateway.proxy import ProxyEvent, ProxyResponse
from ..edge import Function
from .ports import RecordingClient, recording_management, recording_queue, recording_store, subject_of
from .recorder import Body, Kind, Recorder
from .routes import Serving, inspector_routes

if TYPE_CHECKING:
    from aiohttp import web

    from ...gateway.ports import ConnectionStore, Queue

_log = logging.getLogger("slip_sockets")

Handle = Callable[[Deferred, Keep], Awaitable[None]]

_KINDS: dict[str, Kind] = {"CONNECT": "OPEN", "MESSAGE": "TEXT", "DISCONNECT": "CLOSE"}
MAX_SUBJECT_LENGTH = 200


class Inspector:
    """Wraps a gateway's ports, and the functions that lead into it. `attach` has the log listened to as well."""

    def __init__(self) -> None:
        self.recorder = Recorder()

    def attach(self) -> None:
        _log.addHandler(self.recorder)

    def detach(self) -> None:
        _log.removeHandler(self.recorder)

    def end_streams(self) -> None:
        """Let those who look on go: a server that stops waits for its requests."""
        self.recorder.end_streams()

    def client(self, client: HttpClient) -> HttpClient:
        return RecordingClient(client, self.recorder)

    def store(self, store: ConnectionStore) -> ConnectionStore:
        return recording_store(store, self.recorder)

    def management(self, management: Management) -> Management:
        return recording_management(management, self.recorder)

    def queue(self, queue: Queue) -> Queue:
        return recording_queue(queue, self.recorder)

    def websocket_function(self, function: Function) -> Function:
        async def recorded(event: ProxyEvent) -> ProxyResponse:
            context = event["requestContext"]
            kind = _KINDS[context["eventType"]]
            subject, came = _of_socket(kind, event)
            with self.recorder.recording(kind, context["connectionId"], subject, came) as record:
                answer = await function(event)
                record.status = answer["statusCode"]
            return answer

        return recorded

    def control_function(self, function: Function) -> Function:
        async def recorded(event: ProxyEvent) -> ProxyResponse:
            body = event["body"].encode()
            with self.recorder.recording("CONTROL", None, _of_batch(body), body) as record:
                answer = await function(event)
                record.status = answer["statusCode"]
                record.answer = Body.of(answer["body"].encode())
            return answer

        return recorded

    def deferred(self, handle: Handle) -> Handle:
        async def recorded(message: Deferred, keep: Keep) -> None:
            whose = getattr(message, "connection_id", None)
            with self.recorder.recording("DEFERRED", whose, subject_of(message), b"") as record:
                await handle(message, keep)
                record.status = 200

        return recorded

    def routes(self, serving: Serving) -> list[web.RouteDef]:
        return inspector_routes(self.recorder, serving)


def _of_socket(kind: Kind, event: ProxyEvent) -> tuple[str, bytes]:
    """Return an event's subject, in a line, and what came."""
    match kind:
        case "OPEN":
            query = event.get("multiValueQueryStringParameters") or {}
            subject = "&".join(f"{name}={value}" for name, values in query.items() for value in values)
            came = {"headers": event["headers"], "query": query}
            return f"?{subject}"[:MAX_SUBJECT_LENGTH] if subject else "", json.dumps(came, ensure_ascii=False).encode()
        case "TEXT":
            text = event["body"]
            return text[:MAX_SUBJECT_LENGTH], text.encode()
        case _:
            context = event["requestContext"]
            return f"{context['disconnectStatusCode']} {context['disconnectReason']}".rstrip(), b""


def _of_batch(body: bytes) -> str:
    """Return what a control batch wants, in a line: whatever it is, it may be anything."""
    try:
        events = json.loads(body)["events"]
        told = [f"{event['type']} {event.get('channelId') or event.get('connectionId')}" for event in events[:3]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "not a batch"
    return (", ".join(told) + (f" and {len(events) - 3} more" if len(events) > 3 else ""))[:MAX_SUBJECT_LENGTH]
