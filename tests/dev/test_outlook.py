"""What the log says about connections that fail elsewhere."""

from __future__ import annotations

from fnmatch import fnmatch

import aiohttp
import pytest
import websockets

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer

from ..contract.raw import CLOSE, TEXT, frame, handshake, raw_client, raw_socket
from ..contract.wire import Warnings, joined, running
from ..scripted_backend import ScriptedBackend


async def test_no_chosen_subprotocol_is_logged(server: DevServer, backend: ScriptedBackend, warnings: Warnings) -> None:
    async with raw_client(server) as client:
        client.send(handshake("/", ("Sec-WebSocket-Protocol", "v1")))
        assert (await client.read_head())[0] == 101
    assert [line for line in warnings() if "chose none" in line]


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (Limits(), "a frame has 32 KB at most, a message 128 KB."),
        (Limits(max_frame_bytes=10, max_message_bytes=2048), "a frame has 10 bytes at most, a message 2 KB."),
    ],
)
async def test_too_large_a_frame_is_logged(
    backend: ScriptedBackend, warnings: Warnings, limits: Limits, sizes: str
) -> None:
    async with running(backend.url, limits) as server, raw_socket(server) as client:
        assert not warnings()
        client.send(frame(TEXT, b"x" * (limits.max_frame_bytes + 1)))
        assert await client.read_close() == 1009
        await backend.next_post("CLOSE")
    (line,) = [line for line in warnings() if "1009" in line]
    assert sizes in line


async def test_a_client_that_closes_with_1009_is_not_notified_of_our_limits(
    server: DevServer, backend: ScriptedBackend, warnings: Warnings
) -> None:
    async with raw_socket(server) as client:
        client.send(frame(CLOSE, (1009).to_bytes(2) + b"frame with 40000 bytes exceeds limit of 32768 bytes"))
        assert await client.read_close() == 1009
        assert (await backend.next_post("CLOSE")).event["code"] == 1009
    assert not [line for line in warnings() if "1009" in line]


IDLE = "it is closed in * s unless a text comes: API Gateway closes a socket without a text for 0.4 s"
AGED = "it is closed in * s: API Gateway closes every socket after 0.4 s. Open another in time"


@pytest.mark.parametrize(
    ("limits", "expected"), [(Limits(idle_timeout_s=0.4), IDLE), (Limits(max_duration_s=0.4), AGED)]
)
async def test_a_socket_near_its_end_is_logged_once(
    backend: ScriptedBackend, warnings: Warnings, limits: Limits, expected: str
) -> None:
    async with running(backend.url, limits, inspector=True) as server, joined(server, backend) as member:
        with pytest.raises(websockets.ConnectionClosed):
            await member.client.recv()
        (line,) = warnings()
        assert fnmatch(line, f"connection {member.connection_id}: {expected}*, as slip-sockets.js does")
        await backend.next_post("CLOSE")
        async with aiohttp.ClientSession() as session, session.get(f"{server.inspector_url}/records/1") as response:
            assert (await response.json())["lines"] == [{"level": "WARNING", "text": line}]
