"""The published libraries, unmodified: gripcontrol with pubcontrol, django-grip, and serve-grip of Node."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from gripcontrol import GripPubControl, WebSocketMessageFormat, parse_grip_uri
from pubcontrol import Format, Item

from slip_sockets.dev.server import DevServer
from slip_sockets.dialects import Dialect

from ..contract.wire import TIMEOUT_S, connect, refusal, running
from ..docs.markdown import ROOT

BACKENDS = {
    "gripcontrol": (sys.executable, "-m", "tests.grip.backends.with_gripcontrol"),
    "django-grip": (sys.executable, "-m", "tests.grip.backends.with_django_grip"),
    "serve-grip": ("node", "tests/grip/backends/with_serve_grip.mjs"),
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def until_listening(port: int, process: asyncio.subprocess.Process | subprocess.Popen[bytes]) -> None:
    while True:
        assert process.returncode is None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


@pytest.fixture(params=list(BACKENDS.values()), ids=list(BACKENDS))
async def server(request: pytest.FixtureRequest) -> AsyncIterator[DevServer]:
    """A development server in front of a program with one of the libraries, which knows its GRIP_URL."""
    port = free_port()
    async with running(f"http://127.0.0.1:{port}/ws", backend_protocol=Dialect.GRIP) as server:
        process = await asyncio.create_subprocess_exec(
            *request.param,
            cwd=ROOT,
            env=os.environ | {"PORT": str(port), "GRIP_URL": server.grip_url or ""},
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await until_listening(port, process)
            yield server
        finally:
            process.kill()
            await process.wait()


class Close(Format):  # type: ignore[misc]
    """What the libraries have no class for."""

    def name(self) -> str:
        return "ws-message"

    def export(self) -> dict[str, str]:
        return {"action": "close"}


def publisher(server: DevServer) -> GripPubControl:
    return GripPubControl(parse_grip_uri(server.grip_url))


async def test_texts_are_echoed(server: DevServer) -> None:
    async with connect(server) as client:
        for text in ("hi", "", "gr\u00fc\u00dfe", 'c:{"type":"detach"}', "a\r\nb"):
            await client.send(text)
            assert await client.recv() == text


async def test_published_from_within_reaches_all_in_the_room(server: DevServer) -> None:
    async with connect(server) as one, connect(server) as other:
        await one.send("publish hello")
        assert [await client.recv() for client in (one, other)] == ["hello", "hello"]
        await other.send("leave")
        assert await other.recv() == "left"
        await one.send("publish only one")
        assert await one.recv() == "only one"
        await other.send("still here")
        assert await other.recv() == "still here"


async def test_published_from_outside_reaches_the_room(server: DevServer) -> None:
    async with connect(server) as client:
        item = Item(WebSocketMessageFormat("from outside"), id="1")
        for _ in range(2):
            await asyncio.to_thread(publisher(server).publish, "room", item, blocking=True)
        await asyncio.to_thread(publisher(server).publish, "room", Item(WebSocketMessageFormat("next")), blocking=True)
        assert [await client.recv() for _ in range(2)] == ["from outside", "next"]


async def test_publisher_with_another_key_gets_an_error(server: DevServer) -> None:
    other = GripPubControl({**parse_grip_uri(server.grip_url), "key": b"another-key-of-more-than-32-bytes!!"})
    with pytest.raises(ValueError, match="Invalid token"):
        await asyncio.to_thread(other.publish, "room", Item(WebSocketMessageFormat("x")), blocking=True)


async def test_meta_is_kept_between_requests(server: DevServer) -> None:
    async with connect(server) as client:
        for expected in ("1", "2", "3"):
            await client.send("count")
            assert await client.recv() == expected


async def test_backend_closes(server: DevServer) -> None:
    async with connect(server) as client:
        await client.send("close")
        async with asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        assert client.close_code == 1000


async def test_published_close_closes(server: DevServer) -> None:
    async with connect(server) as client:
        await asyncio.to_thread(publisher(server).publish, "room", Item(Close()), blocking=True)
        async with asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        assert client.close_code == 1000


async def test_backend_refuses(server: DevServer) -> None:
    assert await refusal(server, "?refuse=1") == 403


async def test_client_that_closes_leaves_nothing_behind(server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    async with connect(server) as client:
        await client.send("hi")
        assert await client.recv() == "hi"
    await server.edge.settle(TIMEOUT_S)
    await server.inbound.settle(TIMEOUT_S)
    assert len(server.connections) == 0
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []
