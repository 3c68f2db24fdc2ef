"""A real HTTP backend that speaks WebSocket-over-HTTP as a test's script says, and remembers the POSTs that it got."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from aiohttp import web
from multidict import CIMultiDictProxy

from slip_sockets.grip.framing import CONTENT_TYPE, Event, decode, encode


@dataclass(frozen=True)
class Post:
    """One POST of the gateway, as it came over the wire."""

    target: str
    headers: CIMultiDictProxy[str]
    body: bytes
    events: list[Event]

    @property
    def connection_id(self) -> str:
        return self.headers["Connection-Id"]

    @property
    def texts(self) -> list[str]:
        return [(event.content or b"").decode() for event in self.events if event.type == "TEXT"]


Script = Callable[[Post], Awaitable[web.Response]]


def reply(*events: Event, status: int = 200, **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(status=status, body=encode(events), headers={"Content-Type": CONTENT_TYPE, **named})


def text(content: str) -> Event:
    return Event("TEXT", content.encode())


class GripScript:
    """`script` replies to each POST. Set it at any time. `async with` starts and stops it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.posts: list[Post] = []
        self._arrivals: asyncio.Queue[Post] = asyncio.Queue()
        self._runner: web.AppRunner
        self.port = 0
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/ws", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/ws"

    def forget(self) -> None:
        """Forget the POSTs that came until now."""
        self.posts, self._arrivals = [], asyncio.Queue()

    async def aclose(self) -> None:
        await self._runner.cleanup()

    async def next_post(self, kind: str) -> Post:
        """Wait for the next POST that begins with an event of this type."""
        async with asyncio.timeout(20):
            while (post := await self._arrivals.get()).events[0].type != kind:
                pass
            return post

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        post = Post(request.path_qs, request.headers, body, decode(body))
        self.posts.append(post)
        self._arrivals.put_nowait(post)
        return await self.script(post)
