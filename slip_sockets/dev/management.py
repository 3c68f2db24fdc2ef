"""The edge's management API, once as the gateway's port in this process and once as HTTP."""

from __future__ import annotations

import asyncio
import http
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from aiohttp import web

from ..events import MAX_TEXT_BYTES
from ..gateway.ports import Clock, Outcome
from .edge import Edge, ManagementError
from .http_server import read_body
from .websocket import text_frame

RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Between attempts at a connection whose client takes no more at the moment; each is up to a tenth shorter or longer.
"""
CALLS_AT_ONCE = 100
"""Between two looks at what else this process has to do."""


class EdgeManagement:
    """The gateway's Management port, straight into the edge."""

    def __init__(self, edge: Edge, clock: Clock) -> None:
        self._edge = edge
        self._clock = clock

    async def post(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        frame = text_frame(data)
        return await self._for_each(connection_ids, lambda whose: self._edge.post(whose, frame), until)

    async def delete(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return await self._for_each(connection_ids, self._edge.delete, until)

    async def is_open(self, connection_id: str) -> bool:
        try:
            self._edge.get(connection_id)
        except ManagementError:
            return False
        return True

    async def _for_each(self, connection_ids: Sequence[str], call: Callable[[str], None], until: float) -> Outcome:
        """Call for all, then again for those that failed: nobody waits for a slow client but itself."""
        outcome = Outcome()
        await self._attempt(connection_ids, call, until, outcome)
        for pause_s in RETRY_PAUSES_S:
            pause_s *= random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not cryptography
            if not outcome.failed:
                break
            if self._clock.now() + pause_s > until:
                outcome.unsent += outcome.failed
                outcome.failed = {}
                break
            await self._clock.sleep(pause_s)
            again, outcome.failed = list(outcome.failed), {}
            await self._attempt(again, call, until, outcome)
        return outcome

    async def _attempt(
        self, connection_ids: Sequence[str], call: Callable[[str], None], until: float, outcome: Outcome
    ) -> None:
        for start in range(0, len(connection_ids), CALLS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            if self._clock.now() >= until:
                outcome.unsent += connection_ids[start:]
                return
            for whose in connection_ids[start : start + CALLS_AT_ONCE]:
                _record(outcome, whose, call)


def _record(outcome: Outcome, connection_id: str, call: Callable[[str], None]) -> None:
    try:
        call(connection_id)
    except ManagementError as error:
        match error.status:
            case http.HTTPStatus.GONE:
                outcome.gone.append(connection_id)
            case http.HTTPStatus.TOO_MANY_REQUESTS:
                outcome.failed[connection_id] = str(error)
            case _:
                outcome.refused[connection_id] = str(error)
    else:
        outcome.done += 1


def management_routes(edge: Edge) -> list[web.RouteDef]:
    """Return the HTTP routes `POST|GET|DELETE /@connections/{id}`. Calls must be signed; the key is not checked."""

    async def handle(request: web.Request) -> web.Response:
        return await answer_management_call(edge, request.match_info["connection_id"], request)

    return [web.route(method, "/@connections/{connection_id}", handle) for method in ("POST", "GET", "DELETE")]


async def answer_management_call(edge: Edge, connection_id: str, request: web.Request) -> web.Response:
    try:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256"):
            raise ManagementError(
                http.HTTPStatus.FORBIDDEN, "MissingAuthenticationTokenException", "Missing Authentication Token"
            )
        return await _call(edge, connection_id, request)
    except ManagementError as error:
        return web.json_response({"message": str(error)}, status=error.status, headers={"x-amzn-ErrorType": error.name})


async def _call(edge: Edge, connection_id: str, request: web.Request) -> web.Response:
    match request.method:
        case "POST":
            data = await read_body(request)
            if len(data) > MAX_TEXT_BYTES:
                raise ManagementError(
                    http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PayloadTooLargeException", "Message too long"
                )
            edge.post(connection_id, text_frame(_utf8(data)))
            return web.Response()
        case "DELETE":
            edge.delete(connection_id)
            return web.Response(status=http.HTTPStatus.NO_CONTENT)
        case _:
            state = edge.get(connection_id)
            identity = {"sourceIp": state.source_ip, "userAgent": state.user_agent or ""}
            times = {"connectedAt": _iso(state.connected_at), "lastActiveAt": _iso(state.last_active_at)}
            return web.json_response({**times, "identity": identity})


def _utf8(data: bytes) -> bytes:
    """What AWS does with other bytes is not documented; a client would fail on such a text frame."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ManagementError(http.HTTPStatus.BAD_REQUEST, "BadRequestException", "the data is not UTF-8") from error
    return data


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
