"""The development server's counts, as the inspector serves them."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from slip_sockets.dev.server import DevServer

from ...contract.wire import Control, joined, publish
from ...scripted_backend import ScriptedBackend

NO_CALL = {
    "BackendCalls": 0,
    "BackendFailures": 0,
    "BackendLatency": {"p50": None, "p95": None},
    "Failures": {},
    "Matched": 0,
    "Sent": 0,
    "Gone": 0,
    "Queued": 0,
}


async def metrics(session: aiohttp.ClientSession, server: DevServer, **headers: str) -> Any:
    async with session.get(f"{server.inspector_url}/metrics", headers=headers) as response:
        return await response.json() if response.status == 200 else response.status


async def streamed(session: aiohttp.ClientSession, server: DevServer) -> Any:
    """Return the metrics of the first message that a new viewer receives."""
    async with session.get(f"{server.inspector_url}/stream") as stream:
        line = await stream.content.readline()
    return json.loads(line.removeprefix(b"data: "))["metrics"]


async def test_the_counts_are_those_of_the_server(
    server: DevServer, backend: ScriptedBackend, control: Control
) -> None:
    async with aiohttp.ClientSession() as session:
        assert await metrics(session, server) == await streamed(session, server) == NO_CALL
        async with joined(server, backend, "lobby") as member:
            await control(publish("lobby", "hi"))
            assert await member.recv() == "hi"
            found = await metrics(session, server)
            assert await streamed(session, server) == found
        latency = found.pop("BackendLatency")
        assert 0 < latency["p50"] <= latency["p95"]
        assert found | {"BackendLatency": NO_CALL["BackendLatency"]} == NO_CALL | {
            "BackendCalls": 1,
            "Matched": 1,
            "Sent": 1,
        }


async def test_pages_of_other_sites_get_no_counts(server: DevServer) -> None:
    async with aiohttp.ClientSession() as session:
        assert await metrics(session, server, Origin="http://elsewhere.example") == 403
