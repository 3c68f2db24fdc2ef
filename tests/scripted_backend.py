"""A real HTTP backend that does what a test's script says, and remembers the POSTs that it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Post:
    """One POST of the gateway, as it came over the wire."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def connection_id(self) -> str:
        return str(self.body["connectionId"])

    @property
    def events(self) -> Events:
        return list(self.body["events"])

    @property
    def event(self) -> dict[str, Any]:
        """Its only event. Of texts that come in order a POST may have more: see `events`."""
        (event,) = self.events
        return dict(event)

    @property
    def kind(self) -> str:
        """The type of its events, which all have the same."""
        (kind,) = {str(event["type"]) for event in self.events}
        return kind


Script = Callable[[Post], Events | web.StreamResponse | Awaitable[Events | web.StreamResponse]]


def accept_all(post: Post) -> Events:
    """Let all clients in, and ask for nothing else."""
    return [{"type": "ACCEPT", "connectionId": post.connection_id}] if post.kind == "OPEN" else []


class ScriptedBackend:
    """`script` replies to each POST: with events, or with a whole HTTP response. Set it at any time.

    Without `remembers` it keeps no POSTs.
    """

    def __init__(self, *, remembers: bool = True) -> None:
        self._remembers = remembers
        self.script: Script = accept_all
        self.posts: list[Post] = []
        self._arrivals: asyncio.Queue[Post] = asyncio.Queue()
        self._runner: web.AppRunner
        self.url = ""

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/slip", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, backlog=1024).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/slip"

    async def aclose(self) -> None:
        await self._runner.cleanup()

    async def next_post(self, kind: str, *, timeout_s: float = 20) -> Post:
        """Wait for the next POST with events of type `kind` and return it; others before it are passed over."""
        async with asyncio.timeout(timeout_s):
            while True:
                post = await self._arrivals.get()
                if post.kind == kind:
                    return post

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        post = Post(dict(request.headers), json.loads(await request.read()))
        if self._remembers:
            self.posts.append(post)
            self._arrivals.put_nowait(post)
        reply = self.script(post)
        if not isinstance(reply, list | web.StreamResponse):
            reply = await reply
        if isinstance(reply, web.StreamResponse):
            return reply
        return web.json_response({"events": reply})
