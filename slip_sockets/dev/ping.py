"""The route `ping`, which API Gateway answers by itself in a deployment."""

from __future__ import annotations

import http

from ..apigateway.requests import ProxyEvent, ProxyResponse, proxy_response
from ..apigateway.routes import PING, PONG, ROUTE_SELECTION, selected_route
from .edge import Edge, Function


def with_pings(function: Function, edge: Edge) -> Function:
    """Return a function that has `edge` answer pings, and `function` handle all other events."""

    async def answered(event: ProxyEvent) -> ProxyResponse:
        context = event["requestContext"]
        is_text = context["eventType"] == "MESSAGE"
        if not is_text or selected_route(ROUTE_SELECTION, event["body"], {PING}) != PING:
            return await function(event)
        edge.respond(context["connectionId"], PONG)
        return proxy_response(http.HTTPStatus.OK)

    return answered
