"""The functions behind API Gateway's two APIs: each reads an event, calls the gateway, and builds the response."""

from __future__ import annotations

import math

from ..gateway.control import Control
from ..gateway.sockets import Sockets
from ..gateway.values import Connect, Disconnect, Message
from .http_events import http_response, read_http_event
from .requests import ProxyEvent, ProxyResponse
from .socket_events import read_socket_event, socket_response


async def websocket_function(sockets: Sockets, event: ProxyEvent, *, deadline: float = math.inf) -> ProxyResponse:
    """Handle an event of the WebSocket API. It returns in time before `deadline` (Unix seconds)."""
    match read_socket_event(event):
        case Connect() as connect:
            return socket_response(await sockets.connect(connect, deadline=deadline))
        case Message() as message:
            return socket_response(await sockets.message(message, deadline=deadline))
        case Disconnect() as disconnect:
            return socket_response(await sockets.disconnect(disconnect, deadline=deadline))


async def control_function(control: Control, event: ProxyEvent, *, deadline: float = math.inf) -> ProxyResponse:
    """Handle an event of the HTTP API: a call of the control API."""
    return http_response(await control.handle(read_http_event(event), deadline=deadline))
