"""What the log says about connections that fail elsewhere."""

from __future__ import annotations

from slip_sockets.dev.server import DevServer

from ..contract.raw import TEXT, frame, handshake, raw_client, raw_socket
from ..contract.wire import Warnings
from ..scripted_backend import ScriptedBackend


async def test_no_chosen_subprotocol_is_logged(server: DevServer, backend: ScriptedBackend, warnings: Warnings) -> None:
    async with raw_client(server) as client:
        client.send(handshake("/", ("Sec-WebSocket-Protocol", "v1")))
        assert (await client.read_head())[0] == 101
    assert [line for line in warnings() if "chose none" in line]


async def test_too_large_a_frame_is_logged(server: DevServer, backend: ScriptedBackend, warnings: Warnings) -> None:
    async with raw_socket(server) as client:
        assert not warnings()
        client.send(frame(TEXT, b"x" * 32_769))
        assert await client.read_close() == 1009
        await backend.next_post("CLOSE")
    assert [line for line in warnings() if "1009" in line]
