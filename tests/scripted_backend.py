"""A real HTTP backend whose behaviour a test scripts, and which remembers what it was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Told:
    """One POST of the gateway, as it came over the wire."""

    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def connection_id(self) -> str:
        return str(self.body["connectionId"])

    @property
    def event(self) -> dict[str, Any]:
        (event,) = self.body["events"]
        return dict(event)


Script = Callable[[Told], Events | web.StreamResponse | Awaitable[Events | web.StreamResponse]]


def accept_all(told: Told) -> Events:
    """Let everybody in and say nothing else."""
    return [{"type": "ACCEPT", "connectionId": told.connection_id}] if told.event["type"] == "OPEN" else []


class ScriptedBackend:
    """`script` answers each POST: with events, or with a whole HTTP response. Set it at any time.

    `remembers` says whether it keeps what it was told.
    """

    def __init__(self, *, remembers: bool = True) -> None:
        self._remembers = remembers
        self.script: Script = accept_all
        self.told: list[Told] = []
        self._arrivals: asyncio.Queue[Told] = asyncio.Queue()
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

    async def next_told(self, kind: str, *, timeout_s: float = 20) -> Told:
        """Wait for the next event of type `kind` and return it; others that come before it are passed over."""
        async with asyncio.timeout(timeout_s):
            while True:
                told = await self._arrivals.get()
                if told.event["type"] == kind:
                    return told

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        told = Told(dict(request.headers), json.loads(await request.read()))
        if self._remembers:
            self.told.append(told)
            self._arrivals.put_nowait(told)
        answer = self.script(told)
        if not isinstance(answer, list | web.StreamResponse):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response({"events": answer})
