"""The edge's management API over HTTP."""

from __future__ import annotations

import http
from datetime import UTC, datetime

from aiohttp import web

from ..protocol.events import MAX_TEXT_BYTES
from .edge import Edge, ManagementError
from .http_server import read_body
from .websocket import text_frame


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
    """AWS does not document what it does with other bytes; a client would fail on them in a text message."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ManagementError(http.HTTPStatus.BAD_REQUEST, "BadRequestException", "the data is not UTF-8") from error
    return data


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
