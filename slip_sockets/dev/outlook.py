"""Says in the log where a browser fails, or AWS closes a socket, and what to do."""

from __future__ import annotations

import logging

from websockets.frames import CloseCode

from ..apigateway.requests import ProxyEvent, ProxyResponse
from .edge import Function

log = logging.getLogger("slip_sockets.dev")


def with_outlook(function: Function) -> Function:
    """Return the function with a line in the log, once for each connection, for what will go wrong."""

    async def watched(event: ProxyEvent) -> ProxyResponse:
        context = event["requestContext"]
        if context.get("disconnectStatusCode") == CloseCode.MESSAGE_TOO_BIG:
            log.warning(
                "connection %s was closed with 1009: a frame has 32 KB at most, a message 128 KB. Send less at once",
                context["connectionId"],
            )
        response = await function(event)
        offers = any(name.lower() == "sec-websocket-protocol" for name in event.get("headers") or {})
        if context["eventType"] == "CONNECT" and response["statusCode"] == 200 and offers and not response["headers"]:
            log.warning(
                "connection %s: the client offered subprotocols and the backend chose none: browsers fail such a "
                "connection. Put one of those offered into ACCEPT's subprotocol",
                context["connectionId"],
            )
        return response

    return watched
