"""What the inspector serves: its page, a stream of events, whole records, metrics, and a route to send and publish.

It is for the person at this machine. It refuses requests of other sites' pages (by Origin) and of names that lead to
this machine (by Host, against DNS rebinding). Its own page loads nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import http
import ipaddress
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ...grip.framing import CONTENT_TYPE
from ..http_server import read_body
from .frames import frames
from .recorder import Recorder, Stream
from .records import Body, Exchange, Record

PREFIX = "/_inspector"
FLUSH_S = 0.1
"""Pause between two messages of a stream, so that a page draws ten times a second at most."""
HEARTBEAT_S = 15.0
CONNECTIONS_A_MESSAGE = 250
"""Connections in one message of a stream: building it blocks the event loop."""

_STATIC = Path(__file__).with_name("static")
_TYPES = {"inspector.css": "text/css", "inspector.js": "text/javascript", "inspector.html": "text/html"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Serving:
    """What the server provides. `channel` returns who is in one, as PRESENCE reports it. `control` performs a batch for
    the control API and returns status and body."""

    urls: Callable[[], Json]
    connection_ids: Callable[[], Sequence[str]]
    connection: Callable[[str], Json | None]
    channel: Callable[[str], Awaitable[Json]]
    metrics: Callable[[], Json]
    control: Callable[[bytes], Awaitable[tuple[int, str]]]


def inspector_routes(recorder: Recorder, serving: Serving) -> list[web.RouteDef]:
    async def page(request: web.Request) -> web.StreamResponse:
        _guard(request)
        return _file("inspector.html")

    async def static(request: web.Request) -> web.StreamResponse:
        _guard(request)
        name = request.match_info["name"]
        if name not in _TYPES:
            raise web.HTTPNotFound
        return _file(name)

    async def stream(request: web.Request) -> web.StreamResponse:
        _guard(request)
        return await _stream(request, recorder, serving)

    async def record(request: web.Request) -> web.StreamResponse:
        _guard(request)
        number = int(request.match_info["number"])
        found = next((one for one in recorder.records if one.number == number), None)
        return web.json_response(None if found is None else _whole(found), headers=_HEADERS)

    async def connection(request: web.Request) -> web.StreamResponse:
        _guard(request)
        return web.json_response(serving.connection(request.match_info["connection_id"]), headers=_HEADERS)

    async def channel(request: web.Request) -> web.StreamResponse:
        _guard(request)
        return web.json_response(await serving.channel(request.query.get("name", "")), headers=_HEADERS)

    async def metrics(request: web.Request) -> web.StreamResponse:
        _guard(request)
        return web.json_response(serving.metrics(), headers=_HEADERS)

    async def control(request: web.Request) -> web.StreamResponse:
        _guard(request)
        if request.content_type != "application/json":  # a form of another site cannot send it
            raise web.HTTPUnsupportedMediaType
        status, body = await serving.control(await read_body(request))
        return web.Response(status=status, text=body, content_type="application/json", headers=_HEADERS)

    async def clear(request: web.Request) -> web.StreamResponse:
        _guard(request)
        recorder.clear()
        return web.Response(status=http.HTTPStatus.NO_CONTENT)

    return [
        web.get(PREFIX, page),
        web.get(f"{PREFIX}/stream", stream),
        web.get(PREFIX + r"/records/{number:\d{1,15}}", record),
        web.get(f"{PREFIX}/connections/{{connection_id}}", connection),
        web.get(f"{PREFIX}/channel", channel),
        web.delete(f"{PREFIX}/records", clear),
        web.post(f"{PREFIX}/control", control),
        web.get(f"{PREFIX}/metrics", metrics),
        web.get(f"{PREFIX}/{{name}}", static),
    ]


def _guard(request: web.Request) -> None:
    """Raises HTTPForbidden for requests of other sites."""
    origin = request.headers.get("Origin")
    if not _is_here(request.host) or (origin is not None and origin != f"http://{request.host}"):
        raise web.HTTPForbidden(text="The inspector serves only its own page, at an address of this machine.\n")


def _is_here(host: str) -> bool:
    """Return whether a Host header is an address or localhost, not a name that another site's owner can redirect."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # not a host
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def _file(name: str) -> web.Response:
    return web.Response(text=(_STATIC / name).read_text(), content_type=_TYPES[name], headers=_HEADERS)


async def _stream(request: web.Request, recorder: Recorder, serving: Serving) -> web.StreamResponse:
    """Server-sent events: the whole state first, then changes, every FLUSH_S at most."""
    headers = {**_HEADERS, "Content-Type": "text/event-stream"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    changed = asyncio.Event()
    stream = recorder.open_stream()
    stream.wake = changed.set
    known = set(serving.connection_ids())
    try:
        records = [_summary(record) for record in recorder.records]
        state = {
            "urls": serving.urls(),
            "metrics": serving.metrics(),
            "records": records,
            "failing": _failing(recorder),
        }
        await _send(response, state)
        await _send_connections(response, sorted(known), serving)
        while not stream.is_ended:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await changed.wait()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            await asyncio.sleep(FLUSH_S)
            changed.clear()
            known = await _flush(response, stream, recorder, serving, known)
    except ConnectionError:  # the viewer has left
        pass
    finally:
        recorder.close_stream(stream)
    return response


async def _flush(
    response: web.StreamResponse, stream: Stream, recorder: Recorder, serving: Serving, known: set[str]
) -> set[str]:
    """Send what has changed, and return the ids of the open connections."""
    records, touched = stream.take()
    open_now = set(serving.connection_ids())
    changes: Json = {
        "metrics": serving.metrics(),
        "records": [_summary(record) for record in records],
        "failing": _failing(recorder),
    }
    if gone := known - open_now:
        changes["gone"] = sorted(gone)
    await _send(response, changes)
    await _send_connections(response, sorted((open_now - known) | (touched & open_now)), serving)
    return open_now


async def _send_connections(response: web.StreamResponse, connection_ids: Sequence[str], serving: Serving) -> None:
    for start in range(0, len(connection_ids), CONNECTIONS_A_MESSAGE):
        found = map(serving.connection, connection_ids[start : start + CONNECTIONS_A_MESSAGE])
        await _send(response, {"connections": [one for one in found if one is not None]})


async def _send(response: web.StreamResponse, message: Json) -> None:
    await response.write(f"data: {json.dumps(message)}\n\n".encode())


def _failing(recorder: Recorder) -> Json | None:
    record = recorder.failing
    if record is None or record.advice is None:
        return None
    return {"number": record.number, "problem": record.advice.problem, "fix": record.advice.fix}


def _summary(record: Record) -> Json:
    exchanged_s = sum(exchange.duration_s for exchange in record.exchanges)
    return {
        "number": record.number,
        "kind": record.kind,
        "connectionId": record.connection_id,
        "subject": record.subject,
        "at": record.at,
        "status": record.status,
        "ms": _ms(record.duration_s),
        "backendMs": _ms(exchanged_s) if record.exchanges else None,
        "backendStatus": record.exchanges[-1].status if record.exchanges else None,
        "isFailed": record.advice is not None or (record.status or 0) >= 500 or _is_broken_off(record),
        "steps": len(record.steps),
    }


def _is_broken_off(record: Record) -> bool:
    return record.duration_s is not None and record.status is None


def _whole(record: Record) -> Json:
    return _summary(record) | {
        "request": _body(record.request),
        "response": _body(record.response),
        "exchanges": [_exchange(exchange) for exchange in record.exchanges],
        "steps": [
            {
                "text": step.text,
                "data": _body(step.data),
                "error": step.error,
                "atMs": _ms(step.at_s),
                "ms": _ms(step.duration_s),
            }
            for step in record.steps
        ],
        "lines": [{"level": level, "text": text} for level, text in record.lines],
        "advice": None if record.advice is None else {"problem": record.advice.problem, "fix": record.advice.fix},
    }


def _exchange(exchange: Exchange) -> Json:
    body, response = _body(exchange.body), _body(exchange.response)
    if exchange.is_grip:
        body = frames(exchange.body)
        if exchange.response is not None and exchange.response_headers.get("content-type") == CONTENT_TYPE:
            response = frames(exchange.response)
    return {
        "url": exchange.url,
        "headers": dict(exchange.headers),
        "body": body,
        "status": exchange.status,
        "responseHeaders": dict(exchange.response_headers) if exchange.is_grip else {},
        "response": response,
        "error": exchange.error,
        "atMs": _ms(exchange.at_s),
        "ms": _ms(exchange.duration_s),
    }


def _body(body: Body | None) -> Json | None:
    return None if body is None else {"text": body.kept.decode(errors="replace"), "bytes": body.size}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
