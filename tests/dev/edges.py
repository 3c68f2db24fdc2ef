"""An edge in front of a function of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from slip_sockets.apigateway.requests import ApiIdentity, ProxyEvent, ProxyResponse
from slip_sockets.dev.edge import Edge, Limits

from ..contract.wire import TIMEOUT_S

Responder = Callable[[ProxyEvent], Awaitable[ProxyResponse]]


def responding(status: int, **headers: str) -> Responder:
    async def respond(event: ProxyEvent) -> ProxyResponse:
        return {"statusCode": status, "headers": headers, "body": "not read"}

    return respond


class RecordingFunction:
    """A Lambda function that remembers its events. It responds as a test says, by event type; otherwise with 200."""

    def __init__(self, **responders: Responder) -> None:
        self.responders = responders
        self.events: list[ProxyEvent] = []
        self._arrivals: asyncio.Queue[ProxyEvent] = asyncio.Queue()

    async def __call__(self, event: ProxyEvent) -> ProxyResponse:
        self.events.append(event)
        self._arrivals.put_nowait(event)
        return await self.responders.get(event["requestContext"]["eventType"], responding(200))(event)

    async def next_event(self, kind: str) -> ProxyEvent:
        """Wait for the next event of this type; others that come before it are passed over."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                event = await self._arrivals.get()
                if event["requestContext"]["eventType"] == kind:
                    return event


async def next_text(function: RecordingFunction) -> str:
    """Wait for the next text of a client and return it."""
    body: str = (await function.next_event("MESSAGE"))["body"]
    return body


async def end(function: RecordingFunction) -> tuple[int, str]:
    """Wait until a client has left; return code and reason."""
    context = (await function.next_event("DISCONNECT"))["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


@dataclass(frozen=True)
class EdgeServer:
    edge: Edge
    port: int

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"


@asynccontextmanager
async def edge_with(function: RecordingFunction, limits: Limits | None = None) -> AsyncIterator[EdgeServer]:
    edge = Edge(function, ApiIdentity("abc123", "live", "sockets.example"), limits or Limits())
    listener = await asyncio.get_running_loop().create_server(edge.new_socket, "127.0.0.1", 0)
    try:
        yield EdgeServer(edge, listener.sockets[0].getsockname()[1])
    finally:
        listener.close()
        await edge.aclose(TIMEOUT_S)
        await listener.wait_closed()
