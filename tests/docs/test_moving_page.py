"""The programs of docs/moving.md, run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from slip_sockets import SendText, Subscribe
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.testing import Socket, flask_client

from ..contract.wire import TIMEOUT_S, subscribe
from ..scripted_backend import ScriptedBackend, accept_all
from .markdown import Page

TO_BOTH, BEFORE, AFTER = (block.text for block in Page("docs/moving.md").blocks if block.language == "python")
SECRET = "change-me"


def run(program: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(program, "docs/moving.md", "exec"), namespace)
    return namespace


async def test_a_publish_reaches_clients_of_both_gateways(
    backend: ScriptedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.script = lambda request: [*accept_all(request), subscribe(request.connection_id, "lobby")]
    files = [tmp_path / name for name in ("cdk-outputs.original.json", "cdk-outputs.json")]
    settings = [DevSettings(backend.url, SECRET, port=0, outputs_path=file) for file in files]
    monkeypatch.chdir(tmp_path)
    async with (
        DevServer(settings[0]) as original,
        DevServer(settings[1]) as ours,
        websockets.connect(original.websocket_url, proxy=None) as one,
        websockets.connect(ours.websocket_url, proxy=None) as other,
        asyncio.timeout(TIMEOUT_S),
    ):
        await asyncio.to_thread(run(TO_BOTH)["publish_text"], "lobby", "hello ☕")
        assert await one.recv() == await other.recv() == "hello ☕"


def test_before_it_responds_to_a_grip_proxy() -> None:
    client = run(BEFORE)["app"].test_client()

    def post(body: bytes) -> bytes:
        response = client.post("/rooms?room=tea", data=body, content_type="application/websocket-events")
        assert response.content_type == "application/websocket-events"
        assert response.headers["Sec-WebSocket-Extensions"] == "grip"
        return bytes(response.data)

    head, size_and_content = post(b"OPEN\r\n").split(b"TEXT ")
    size, _, content = size_and_content.partition(b"\r\n")
    assert head == b"OPEN\r\n"
    assert len(content) == int(size, 16) + 2
    assert json.loads(content.removeprefix(b"c:")) == {"type": "subscribe", "channel": "room:tea"}
    assert post(b"TEXT 5\r\nmilk?\r\nTEXT 2\r\n\r\n\r\nTEXT\r\n") == (
        b"TEXT 10\r\nm:you said milk?\r\nTEXT d\r\nm:you said \r\n\r\nTEXT b\r\nm:you said \r\n"
    )
    assert post(b"CLOSE 2\r\n\x03\xe8\r\n") == b"CLOSE\r\n"
    assert post(b"DISCONNECT\r\n") == b""


def test_after_it_does_the_same_here() -> None:
    socket = Socket(flask_client(run(AFTER)["app"].test_client(), "/rooms"), jwt_secret=SECRET)
    opened = socket.open(query={"room": ["tea"]})
    assert [event for event in opened if isinstance(event, Subscribe)] == [Subscribe(socket.connection_id, "room:tea")]
    assert socket.text("milk?") == [SendText(socket.connection_id, "you said milk?")]
    assert socket.close() == []
