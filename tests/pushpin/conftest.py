"""Pushpin and the development server, each once for all scenes, in front of one backend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from bench.servers import PUSHPIN_KEY, pushpin
from slip_sockets.dialects import Dialect
from slip_sockets.grip.tokens import SIG_ISSUER

from ..conftest import SECRET
from ..contract.wire import TIMEOUT_S, running
from ..grip.backend import GripScript
from .sides import SETTLING, Side, echo


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def backend() -> AsyncIterator[GripScript]:
    async with GripScript(echo) as backend:
        yield backend


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def theirs(backend: GripScript, session: aiohttp.ClientSession) -> AsyncIterator[Side]:
    with contextlib.ExitStack() as stack:
        # Debian's Pushpin stops at 32 KB of a message where its buffer is as small as by default.
        starting = pushpin(backend.port, client_buffer_bytes=200_000)
        server = await asyncio.to_thread(stack.enter_context, starting)  # the backend lets a socket in meanwhile
        url = f"ws://127.0.0.1:{server.port}/ws"

        async def settle() -> None:
            """Take another connection from its OPEN to its end. What Pushpin has to send at once comes before."""
            script, backend.script = backend.script, echo
            async with session.ws_connect(f"{url}?{SETTLING}") as socket:
                await socket.send_str("")
                await socket.receive()
            backend.script = script

        yield Side(
            url, f"http://127.0.0.1:{server.publish_request.port}/", PUSHPIN_KEY, "pushpin", settle, has_binary=True
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ours(backend: GripScript) -> AsyncIterator[Side]:
    async with running(backend.url, backend_protocol=Dialect.GRIP) as server:

        async def settle() -> None:
            await server.edge.settle(TIMEOUT_S)
            await server.inbound.settle(TIMEOUT_S)

        yield Side(server.websocket_url, f"{server.control_api}/", SECRET, SIG_ISSUER, settle)
