"""Backends for the check: a good one, and ways to break it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from slip_sockets import Connection, InvalidEvents, InvalidToken, error_response, parse_request

SECRET = "a-secret-of-more-than-thirty-two-bytes"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def act(connection: Connection) -> None:
    if connection.is_opening:
        connection.accept()
        connection.set_metadata({"name": "Ada"})
        connection.subscribe("lobby")
    for data in connection.texts:
        connection.publish_text("lobby", data)


def taking(do: Callable[[Connection], Any] = act, *, is_checking: bool = True) -> Handler:
    """A backend on the library, which does `do`; without `is_checking` it believes any token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            connection = parse_request(request.headers, body, secrets=[SECRET])
        except InvalidToken as error:
            if is_checking:
                return response(error_response(error))
            request_body = json.loads(body)
            kind = request_body["events"][0]["type"]
            events = [{"type": "ACCEPT", "connectionId": request_body["connectionId"]}] if kind == "OPEN" else []
            return web.json_response({"events": events})
        except InvalidEvents as error:
            return response(error_response(error))
        done = do(connection)
        if isinstance(done, Awaitable):
            done = await done
        return done if isinstance(done, web.StreamResponse) else response(connection.response())

    return handle


def response(parts: tuple[bytes, int, dict[str, str]]) -> web.Response:
    body, status, headers = parts
    return web.Response(body=body, status=status, headers=headers)


def answering(kind: str, answer: Callable[[Connection], web.Response]) -> Handler:
    """A backend that is good but for its responses to events of one type."""

    def do(connection: Connection) -> web.Response | None:
        act(connection)
        is_meant = any(type(event).__name__.upper() == kind for event in connection.events)
        return answer(connection) if is_meant else None

    return taking(do)


def always(**options: Any) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(**options)

    return handle


def events(*replied: dict[str, Any]) -> web.Response:
    return web.json_response({"events": replied})


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Run a backend; yield its URL."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/slip", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slip"
    finally:
        await runner.cleanup()


async def never(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def break_off(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
