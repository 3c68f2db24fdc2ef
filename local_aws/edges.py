"""API Gateway in front of what was deployed. Each event finds its route, integration and function as they are then.

WebSocket APIs run on the development server's edge; HTTP APIs are here.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html
"""

from __future__ import annotations

import asyncio
import base64
import http
import json
import logging
import re
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from urllib.parse import urlsplit

from aiohttp import web
from websockets.http11 import Request

from slip_sockets.dev.edge import Edge, IntegrationError, Limits
from slip_sockets.dev.management import answer_management_call
from slip_sockets.dev.proxy_events import ApiIdentity, http_event
from slip_sockets.dev.websocket import WebSocket
from slip_sockets.gateway.proxy import ProxyEvent, ProxyResponse

from .apis import AwsApis
from .deployed import Deployed, Function, Integration, Stage
from .permissions import Permissions, matches
from .runtime import FunctionFailed, Lambda
from .wire import ApiRequest, error_answer

log = logging.getLogger("local_aws.edge")

STOP_PATIENCE_S = 5.0
DEFAULT_STAGE = "$default"
_CONNECTIONS = re.compile(r"/(?P<api>[a-z0-9]+)/(?P<stage>[^/]+)/@connections/(?P<connection>[^/]+)")

ManagementFault = Callable[[str, str], http.HTTPStatus | Literal["reset"] | None]
"""Says for a call of the management API, by method and connection id, with which status it fails, or that its
connection is reset without an answer; None for neither."""


class Edges:
    """The edges of all APIs, by API and stage. `host` is this server's address with its port."""

    def __init__(
        self,
        apis: AwsApis,
        deployed: Deployed,
        functions: Lambda,
        permissions: Permissions,
        *,
        account_id: str,
        host: str,
        limits: Limits,
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._functions = functions
        self._permissions = permissions
        self._account_id = account_id
        self._host = host
        self._limits = limits
        self.management_fault: ManagementFault = lambda method, connection_id: None
        self._edges: dict[tuple[str, str], Edge] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(edge.aclose(STOP_PATIENCE_S) for edge in self._edges.values()))

    # WebSocket APIs: ws://host/<api>/<stage>

    def new_socket(self) -> WebSocket:
        limits = self._limits
        return WebSocket(self, max_message_bytes=limits.max_message_bytes, max_frame_bytes=limits.max_frame_bytes)

    def on_handshake(self, socket: WebSocket, request: Request) -> None:
        """From here on the socket is its edge's."""
        self._start(self._hand_over(socket, request))

    def on_text(self, socket: WebSocket, text: str) -> None:
        raise AssertionError("the socket is not open yet")

    def on_closed(self, socket: WebSocket, code: int, reason: str) -> None:
        raise AssertionError("the socket is not open yet")

    def on_lost(self, socket: WebSocket) -> None:
        """Handing over goes on: its answer goes nowhere."""

    async def _hand_over(self, socket: WebSocket, request: Request) -> None:
        api_id, _, stage = request.path.partition("?")[0][1:].partition("/")
        edge = await self._edge(api_id, stage)
        if edge is None:
            log.warning("no WebSocket API %s with a stage %r: a client was refused", api_id, stage)
            socket.reject(
                http.HTTPStatus.FORBIDDEN, {"Content-Type": "application/json"}, json.dumps({"message": "Forbidden"})
            )
            return
        socket.listener = edge
        edge.on_handshake(socket, request)

    async def _edge(self, api_id: str, stage_name: str) -> Edge | None:
        stage = await self._apis.run(self._deployed.stage, api_id, stage_name)
        if stage is None or stage.protocol != "WEBSOCKET":
            return None
        edge = self._edges.get((api_id, stage_name))
        if edge is None:

            async def function(event: ProxyEvent) -> ProxyResponse:
                return await self._on_event(api_id, stage_name, event)

            identity = ApiIdentity(api_id, stage_name, self._host)
            edge = Edge(function, identity, self._limits, path=f"/{api_id}/{stage_name}")
            self._edges[api_id, stage_name] = edge
        return edge

    async def _on_event(self, api_id: str, stage_name: str, event: ProxyEvent) -> ProxyResponse:
        stage = await self._apis.run(self._deployed.stage, api_id, stage_name)
        if stage is None:
            raise IntegrationError(http.HTTPStatus.FORBIDDEN, "Forbidden")
        if stage.is_throttled:
            raise IntegrationError(http.HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests")
        context = event["requestContext"]
        route_key = _selected_route(stage, event)
        if route_key not in stage.routes:
            if route_key in ("$connect", "$disconnect"):
                return {"statusCode": 200}  # nobody wants to know
            raise IntegrationError(http.HTTPStatus.FORBIDDEN, "Forbidden")
        context["routeKey"] = route_key
        function, integration = await self._function(stage, route_key, route_key)
        try:
            answer = await self._invoke(function, integration, event)
        except TimeoutError:
            raise IntegrationError(http.HTTPStatus.GATEWAY_TIMEOUT, "Endpoint request timed out") from None
        except FunctionFailed as error:
            raise IntegrationError(http.HTTPStatus.BAD_GATEWAY, "Internal server error") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("statusCode"), int):
            log.error("%s: its answer to %s has no statusCode: %s", function.name, route_key, type(answer).__name__)
            raise IntegrationError(http.HTTPStatus.BAD_GATEWAY, "Internal server error")
        return answer

    # The management API: http://host/<api>/<stage>/@connections/<connection>

    async def answer_management(self, request: web.Request, signed: ApiRequest) -> web.Response | None:
        """Return None where the path is none of the management API."""
        match = _CONNECTIONS.fullmatch(request.path)
        if match is None:
            return None
        stage = await self._apis.run(self._deployed.stage, match["api"], match["stage"])
        edge = await self._edge(match["api"], match["stage"])
        if stage is None or edge is None:
            return web.json_response({"message": "Forbidden"}, status=http.HTTPStatus.FORBIDDEN)
        denied = await self._apis.run(
            self._permissions.check_connections_call, signed, stage.region, stage.api_id, stage.name
        )
        if denied is not None:
            error = error_answer(signed, denied.status, "AccessDeniedException", denied.message)
            return web.Response(status=error.status, body=error.body, headers=error.headers)
        fault = self.management_fault(request.method, match["connection"])
        if fault == "reset":
            return _reset(request)
        if fault is not None:
            return _message(fault, "a fault of the local AWS")
        return await answer_management_call(edge, match["connection"], request)

    # HTTP APIs: http://host/<api>/<path>, and http://host/<api>/<stage>/<path> of a named stage

    async def answer_http(self, request: web.Request, signed: ApiRequest) -> web.Response:
        answer = await self.answer_management(request, signed)
        return answer or await self._answer_http(request, signed.body)

    async def _answer_http(self, request: web.Request, body: bytes) -> web.Response:
        api_id, _, rest = request.path[1:].partition("/")
        named = rest.partition("/")[0]
        stage = await self._apis.run(self._deployed.stage, api_id, named)
        path = f"/{rest}"
        if stage is None:
            stage = await self._apis.run(self._deployed.stage, api_id, DEFAULT_STAGE)
            route_path = path
        else:
            route_path = path.removeprefix(f"/{named}") or "/"
        if stage is None or stage.protocol != "HTTP":
            return _message(http.HTTPStatus.NOT_FOUND, "Not Found")
        if stage.is_throttled:
            return _message(http.HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests")
        found = _http_route(stage, request.method, route_path)
        if found is None:
            return _message(http.HTTPStatus.NOT_FOUND, "Not Found")
        route_key, parameters = found
        event = http_event(
            ApiIdentity(api_id, stage.name, self._host),
            method=request.method,
            path=path,
            query=urlsplit(request.raw_path).query,
            headers=request.headers.items(),
            source_ip=request.remote or "",
            body=body,
        )
        event["routeKey"] = event["requestContext"]["routeKey"] = route_key
        event["requestContext"] |= {"stage": stage.name, "accountId": self._account_id}
        if parameters:
            event["pathParameters"] = parameters
        method, _, template = route_key.partition(" ")
        source = f"{request.method if method == 'ANY' else method}{template}" if template else "$default"
        try:
            function, integration = await self._function(stage, route_key, source)
            return _http_response(await self._invoke(function, integration, event))
        except TimeoutError:
            return _message(http.HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable")
        except (IntegrationError, FunctionFailed) as error:
            log.warning("HTTP API %s, %s: %s", api_id, route_key, error)
            return _message(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")

    # Both

    async def _function(self, stage: Stage, route_key: str, source: str) -> tuple[Function, Integration]:
        """Return what a route leads to. Raises IntegrationError where it leads nowhere, or may not."""
        integration = stage.routes[route_key]
        why_not = "has no integration"
        if integration is not None:
            why_not = "its integration is no AWS_PROXY of a Lambda function"
            if integration.function_arn is not None:
                function = await self._apis.run(self._deployed.function, integration.function_arn)
                source_arn = (
                    f"arn:aws:execute-api:{stage.region}:{self._account_id}:{stage.api_id}/{stage.name}/{source}"
                )
                why_not = f"there is no function {integration.function_arn}"
                if function is not None:
                    if _may_invoke(function, source_arn):
                        return function, integration
                    why_not = f"the policy of {function.name} does not let API Gateway invoke it from {source_arn}"
        log.error("API %s, route %s: %s", stage.api_id, route_key, why_not)
        raise IntegrationError(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error")

    async def _invoke(self, function: Function, integration: Integration, event: ProxyEvent) -> Any:
        """Raises TimeoutError or FunctionFailed."""
        async with asyncio.timeout(integration.timeout_s):
            outcome = await self._functions.invoke(function, json.dumps(event).encode())
        outcome.raise_for_error()
        return json.loads(outcome.payload)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _selected_route(stage: Stage, event: ProxyEvent) -> str:
    """Return the key that the route selection expression finds in a frame, `$default` where it finds no route's."""
    key = str(event["requestContext"]["routeKey"])
    name = stage.route_selection.removeprefix("$request.body.")
    if key != "$default" or name == stage.route_selection:
        return key
    try:
        found = json.loads(event["body"])
        for part in name.split("."):
            found = found[part]
    except (ValueError, TypeError, LookupError):
        return key
    return found if isinstance(found, str) and found in stage.routes else key


def _http_route(stage: Stage, method: str, path: str) -> tuple[str, dict[str, str]] | None:
    """Return the most specific route's key and its path's parameters: whole paths, then `{name+}`, then $default."""
    found: list[tuple[bool, int, bool, str, dict[str, str]]] = []
    for key in stage.routes:
        wanted, _, template = key.partition(" ")
        if not template or wanted not in (method, "ANY"):
            continue
        pattern = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(template))
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
        match = re.fullmatch(pattern, path)
        if match is not None:
            found.append(("+}" in template, -len(template), wanted == "ANY", key, match.groupdict()))
    if found:
        return min(found)[3:]
    return (DEFAULT_STAGE, {}) if DEFAULT_STAGE in stage.routes else None


def _may_invoke(function: Function, source_arn: str) -> bool:
    """Whether the resource policy lets API Gateway invoke a function from a route, named by `source_arn`."""
    for statement in function.policy:
        service = statement.get("Principal", {}).get("Service")
        pattern = statement.get("Condition", {}).get("ArnLike", {}).get("AWS:SourceArn", "*")
        may = statement["Effect"] == "Allow" and statement["Action"] in ("lambda:InvokeFunction", "lambda:*")
        if may and service == "apigateway.amazonaws.com" and matches(pattern, source_arn):
            return True
    return False


def _http_response(answer: Any) -> web.Response:
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return web.json_response(answer)
    body = answer.get("body") or ""
    raw = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
    headers = {"Content-Type": "text/plain;charset=UTF-8"} | {
        name.title(): str(value) for name, value in (answer.get("headers") or {}).items()
    }
    response = web.Response(status=int(answer["statusCode"]), body=raw, headers=headers)
    for cookie in answer.get("cookies") or ():
        response.headers.add("Set-Cookie", cookie)
    return response


def _message(status: http.HTTPStatus, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _reset(request: web.Request) -> web.Response:
    """Cut the request's connection with an RST; the response goes nowhere."""
    if request.transport is not None:
        sock: socket.socket = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
