"""API Gateway's WebSocket APIs, at `ws://host/<api>/<stage>`, on the development server's edge.

Each event finds its route, integration and function as they are deployed at that time.
https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-routes.html
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
from collections.abc import Coroutine
from typing import Any

from websockets.http11 import Request

from slip_sockets.apigateway.requests import ApiIdentity, ProxyEvent, ProxyResponse
from slip_sockets.apigateway.routes import DEFAULT_ROUTE, selected_route
from slip_sockets.dev.edge import MAX_CONCURRENT_TEXTS, Edge, IntegrationError, Limits
from slip_sockets.dev.websocket import WebSocket

from .api_request import ApiRequest
from .apis import AwsApis
from .deployed import Deployed, MockIntegration, Route, ServiceIntegration, Stage
from .edge_quotas import EdgeQuotas
from .integrations import IntegrationFailed, Integrations
from .invocation import FunctionFailed
from .mock_integrations import mock_response
from .service_integrations import ServiceIntegrations

log = logging.getLogger("local_aws.edge")

STOP_PATIENCE_S = 5.0


class WebSocketApis:
    """An edge for each API and stage. `host` is this server's address with its port.

    Where a route of a stage has an integration of type AWS, its edge hands over one text of a connection at a time. API
    Gateway documents no order.

    It is the listener of a socket until the request names the edge.
    """

    def __init__(
        self,
        apis: AwsApis,
        deployed: Deployed,
        integrations: Integrations,
        service_integrations: ServiceIntegrations,
        quotas: EdgeQuotas,
        *,
        host: str,
        limits: Limits,
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._integrations = integrations
        self._service_integrations = service_integrations
        self._quotas = quotas
        self._host = host
        self._limits = limits
        self._edges: dict[tuple[str, str], Edge] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        apis.observers.append(self._on_call)

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(edge.aclose(STOP_PATIENCE_S) for edge in self._edges.values()))

    def new_socket(self) -> WebSocket:
        limits = self._limits
        return WebSocket(self, max_message_bytes=limits.max_message_bytes, max_frame_bytes=limits.max_frame_bytes)

    async def edge(self, api_id: str, stage_name: str) -> Edge | None:
        """Return None where there is no such WebSocket API with that stage."""
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
        _update(edge, stage)
        return edge

    def _on_call(self, request: ApiRequest) -> None:
        """Let the edges know of a stage's new routes before their next text."""
        if request.service == "apigateway" and request.method != "GET":
            for api_id, stage_name in self._edges:
                self._start(self.edge(api_id, stage_name))

    def _start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The listener of new sockets

    def on_handshake(self, socket: WebSocket, request: Request) -> None:
        self._start(self._hand_over(socket, request))

    def on_text(self, socket: WebSocket, text: str) -> None:
        raise AssertionError("the socket is not open yet")

    def on_closed(self, socket: WebSocket, code: int, reason: str) -> None:
        raise AssertionError("the socket is not open yet")

    def on_lost(self, socket: WebSocket) -> None:
        """Handing over continues; the response to the client is lost."""

    async def _hand_over(self, socket: WebSocket, request: Request) -> None:
        api_id, _, stage = request.path.partition("?")[0][1:].partition("/")
        edge = await self.edge(api_id, stage)
        if edge is None:
            log.warning("no WebSocket API %s with a stage %r: a client was refused", api_id, stage)
            body = json.dumps({"message": "Forbidden"})
            socket.reject(http.HTTPStatus.FORBIDDEN, {"Content-Type": "application/json"}, body)
            return
        socket.listener = edge
        edge.on_handshake(socket, request)

    # Events

    async def _on_event(self, api_id: str, stage_name: str, event: ProxyEvent) -> ProxyResponse:
        stage = await self._apis.run(self._deployed.stage, api_id, stage_name)
        if stage is None:
            raise IntegrationError(http.HTTPStatus.FORBIDDEN, "Forbidden")
        _update(self._edges[api_id, stage_name], stage)  # routes may have changed late
        context = event["requestContext"]
        if stage.is_throttled or not self._takes(stage, str(context["routeKey"])):
            raise IntegrationError(http.HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests")
        route_key = str(context["routeKey"])
        if route_key == DEFAULT_ROUTE:
            route_key = selected_route(stage.route_selection, event["body"], stage.routes)
        if route_key not in stage.routes:
            if route_key in ("$connect", "$disconnect"):
                return {"statusCode": 200}  # both routes are optional
            raise IntegrationError(http.HTTPStatus.FORBIDDEN, "Forbidden")
        context["routeKey"] = route_key
        try:
            is_two_way = _is_two_way(stage.routes[route_key])
            response = await self._integrate(stage, route_key, event, is_two_way=is_two_way)
            if is_two_way and context["eventType"] == "MESSAGE":
                self._edges[api_id, stage_name].respond(context["connectionId"], str(response.get("body") or ""))
        except TimeoutError:
            raise IntegrationError(http.HTTPStatus.GATEWAY_TIMEOUT, "Endpoint request timed out") from None
        except IntegrationFailed as failed:
            log.error("API %s, route %s: %s", api_id, route_key, failed)
            raise IntegrationError(http.HTTPStatus.INTERNAL_SERVER_ERROR, "Internal server error") from None
        return response

    async def _integrate(self, stage: Stage, route_key: str, event: ProxyEvent, *, is_two_way: bool) -> ProxyResponse:
        """Return the integration's response, as that of a function."""
        match stage.routes[route_key].integration:
            case ServiceIntegration() as service:
                await self._service_integrations.call(stage, service, event)
                return {"statusCode": 200}
            case MockIntegration() as mock:
                return mock_response(mock, stage, event, is_two_way=is_two_way)
        function, integration = await self._integrations.find(stage, route_key, route_key)
        try:
            response = await self._integrations.invoke(function, integration, event)
        except FunctionFailed as error:
            raise IntegrationError(http.HTTPStatus.BAD_GATEWAY, "Internal server error") from error
        if not isinstance(response, dict) or not isinstance(response.get("statusCode"), int):
            problem = "%s: its response to %s has no statusCode: %s"
            log.error(problem, function.name, route_key, type(response).__name__)
            raise IntegrationError(http.HTTPStatus.BAD_GATEWAY, "Internal server error")
        return response

    def _takes(self, stage: Stage, route_key: str) -> bool:
        """Count an event. Only connects are refused: AWS does not document what happens to texts of an open socket
        beyond the quota, nor whether it throttles $disconnect."""
        match route_key:
            case "$connect":
                return self._quotas.take_connect(stage)
            case "$disconnect":
                return True
            case _:
                self._quotas.take_request(stage)
                return True


def _update(edge: Edge, stage: Stage) -> None:
    in_order = any(isinstance(route.integration, ServiceIntegration) for route in stage.routes.values())
    edge.max_concurrent_texts = 1 if in_order else MAX_CONCURRENT_TEXTS


def _is_two_way(route: Route) -> bool:
    """Tell whether the response of a route's integration goes to the client.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
    """
    if route.has_response != (route.response_selection is not None):
        raise IntegrationFailed("it has one of a route response and a route_response_selection_expression, not both")
    if route.has_response and isinstance(route.integration, ServiceIntegration):
        raise IntegrationFailed("the local AWS knows no route response of an integration of type AWS")
    return route.has_response
