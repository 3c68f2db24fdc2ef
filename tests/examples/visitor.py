"""Somebody in the chat, with a real WebSocket and without a page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import websockets

PATIENCE_S = 20
SLIP = websockets.Subprotocol("slip.v1")

Message = dict[str, Any]


class Visitor:
    """A client of slip.v1, as the page is."""

    def __init__(self, socket: websockets.ClientConnection, user: str) -> None:
        self.socket = socket
        self.user = user

    async def say(self, text: str, message: str = "m1") -> None:
        await self.send(json.dumps({"type": "say", "text": text, "message": message}))

    async def send(self, text: str) -> None:
        await self.socket.send(_fragments(json.dumps({"slip": "text", "data": text}, ensure_ascii=False)))

    async def next(self) -> Message:
        """Return the next message of the backend, or presence frame with the type `presence`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = json.loads(await self.socket.recv())
                match frame["slip"]:
                    case "text" | "message":
                        return dict(json.loads(frame["data"]))
                    case "presence":
                        return {"type": "presence", **frame}

    async def hear(self, kind: str) -> Message:
        """Return the next message of type `kind`; skip others before it."""
        while (message := await self.next())["type"] != kind:
            pass
        return message

    async def see(self, *names: str) -> None:
        """Wait until this visitor has learned that those are in the room, each of them or more."""
        seen: set[str] = set()
        while not seen.issuperset(names):
            seen |= {joined["info"]["name"] for joined in (await self.hear("presence")).get("joined", [])}

    async def miss(self, *users: str) -> None:
        """Wait until this visitor has learned that those users have left."""
        left: set[str] = set()
        while not left.issuperset(users):
            left |= set((await self.hear("presence")).get("left", []))

    def vanish(self) -> None:
        """Break the connection without a word, as a crash does."""
        self.socket.transport.abort()


@contextlib.asynccontextmanager
async def visit(websocket_url: str, **query: str) -> AsyncIterator[Visitor]:
    """Be in the chat as `name`, in `room`."""
    user = query.setdefault("user", secrets.token_hex(12))
    url = f"{websocket_url}?{urlencode(query)}"
    async with websockets.connect(url, subprotocols=[SLIP], proxy=None) as socket:
        visitor = Visitor(socket, user)
        await visitor.hear("welcome")
        yield visitor


def _fragments(text: str) -> list[str]:
    """API Gateway takes frames to 32 KiB; a longer message comes in several."""
    return [text[start : start + 8_000] for start in range(0, len(text), 8_000)]
