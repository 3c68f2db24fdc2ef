"""Somebody in the chat, with a real WebSocket and without a page."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import websockets

PATIENCE_S = 20

Message = dict[str, Any]


class Visitor:
    """`id` is set once the backend has said welcome."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self.id = ""

    async def say(self, text: str, message: str = "m1") -> None:
        await self.send({"type": "say", "text": text, "message": message})

    async def send(self, message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return dict(json.loads(await self.socket.recv()))

    async def hear(self, kind: str) -> Message:
        """Return the next message of type `kind`; skip others before it."""
        while (message := await self.next())["type"] != kind:
            pass
        return message

    def vanish(self) -> None:
        """Break the connection without a word, as a crash does."""
        self.socket.transport.abort()


@contextlib.asynccontextmanager
async def visit(websocket_url: str, **query: str) -> AsyncIterator[Visitor]:
    """Be in the chat as `name`, in `room`."""
    async with websockets.connect(f"{websocket_url}?{urlencode(query)}", proxy=None) as socket:
        visitor = Visitor(socket)
        visitor.id = (await visitor.hear("welcome"))["id"]
        await visitor.hear("joined")  # one's own
        yield visitor
