"""The edge's management API, once as the gateway's port in this process and once as HTTP."""

from __future__ import annotations

import http
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from aiohttp import web

from ..events import MAX_TEXT_BYTES
from ..gateway.ports import Outcome
from .edge import Edge, ManagementError
from .websocket import text_frame


class EdgeManagement:
    """The gateway's Management port, straight into the edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def post(self, connection_ids: Sequence[str], data: str) -> Outcome:
        frame = text_frame(data)
        return _for_each(connection_ids, lambda whose: self._edge.post(whose, frame))

    async def delete(self, connection_ids: Sequence[str]) -> Outcome:
        return _for_each(connection_ids, self._edge.delete)

    async def is_open(self, connection_id: str) -> bool:
        try:
            self._edge.get(connection_id)
        except ManagementError:
            return False
        return True


def _for_each(connection_ids: Sequence[str], call: Callable[[str], None]) -> Outcome:
    outcome = Outcome()
    for whose in connection_ids:
        try:
            call(whose)
        except ManagementError as error:
            match error.status:
                case http.HTTPStatus.GONE:
                    outcome.gone.append(whose)
                case http.HTTPStatus.TOO_MANY_REQUESTS:
                    outcome.failed[whose] = str(error)
                case _:
                    outcome.refused[whose] = str(error)
        else:
            outcome.done += 1
    return outcome


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
            data = await request.read()
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
