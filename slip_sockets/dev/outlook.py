"""Says in the log where a browser will fail, and what to do."""

from __future__ import annotations

import logging

from ..apigateway.requests import ProxyEvent, ProxyResponse
from .edge import Function

log = logging.getLogger("slip_sockets.dev")


def with_outlook(function: Function) -> Function:
    """Return the function with a line in the log where no subprotocol is chosen."""

    async def watched(event: ProxyEvent) -> ProxyResponse:
        context = event["requestContext"]
        response = await function(event)
        offers = any(name.lower() == "sec-websocket-protocol" for name in event.get("headers") or {})
        if context["eventType"] == "CONNECT" and response["statusCode"] == 200 and offers and not response["headers"]:
            log.warning(
                "connection %s: the client offered subprotocols and the backend chose none: browsers fail such a "
                "connection. Choose one of those offered: in ACCEPT's subprotocol, or with GRIP in the response's "
                "Sec-WebSocket-Protocol",
                context["connectionId"],
            )
        return response

    return watched
