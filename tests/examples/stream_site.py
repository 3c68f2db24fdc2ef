"""The answer in pieces behind a development server, with a model that a test writes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import uvicorn

from examples.stream.app import create_app
from slip_sockets.dev.server import DevServer, DevSettings

from ..conftest import SECRET


class Model:
    """Writes what the test puts in, until `finish`."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def put(self, *pieces: str) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)

    def finish(self) -> None:
        self._pieces.put_nowait(None)

    async def write(self, question: str = "") -> AsyncIterator[str]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


class Site(NamedTuple):
    url: str
    server: DevServer
    model: Model


@asynccontextmanager
async def running_site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with DevServer(DevSettings(f"{url}/slip", SECRET, port=0)) as server:
            monkeypatch.setenv("CONTROL_API", server.control_api)
            monkeypatch.setenv("WEBSOCKET_URL", server.websocket_url)
            monkeypatch.setenv("JWT_SECRET", SECRET)
            model = Model()
            config = uvicorn.Config(create_app(model.write), log_level="warning", timeout_graceful_shutdown=5)
            backend = uvicorn.Server(config)
            serving = asyncio.create_task(backend.serve(sockets=[listener]))
            yield Site(url, server, model)
            model.finish()
            await server.edge.aclose(5)
            backend.should_exit = True
            await serving
