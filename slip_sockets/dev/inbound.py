"""The way in with `--inbound ordered`: texts and disconnects go to a queue, as API Gateway puts them into SQS."""

from __future__ import annotations

import http

from ..apigateway.requests import ProxyEvent, ProxyResponse, proxy_response
from ..gateway.deferred import Disconnected, ReceivedText, Texts
from ..gateway.ports import Queue
from .edge import Function


def with_inbound_queue(function: Function, queue: Queue) -> Function:
    """Return a function that puts texts and disconnects into `queue`, and has `function` handle connects."""

    async def queued(event: ProxyEvent) -> ProxyResponse:
        message = inbound_message(event)
        if message is None:
            return await function(event)
        await queue.put([message])
        return proxy_response(http.HTTPStatus.OK)

    return queued


def inbound_message(event: ProxyEvent) -> Texts | Disconnected | None:
    """Return what a deployment's mapping templates make of an event; None for a connect.

    They leave out a reason that is empty: to them it is as one that is missing.
    """
    context = event["requestContext"]
    connection_id = context["connectionId"]
    match context["eventType"]:
        case "MESSAGE":
            return Texts(connection_id, [ReceivedText(context["messageId"], event.get("body", "").encode())])
        case "DISCONNECT":
            reason: str = context["disconnectReason"]
            return Disconnected(connection_id, context["disconnectStatusCode"], reason.encode() or None)
    return None
