"""A backend with the published Python libraries of GRIP, for a deployed stage, and what clients do there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gripcontrol import GripPubControl, WebSocketMessageFormat, parse_grip_uri
from pubcontrol import Item
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ..grip.test_libraries import free_port, until_listening
from .deployment import ROOT
from .patience import PATIENCE_S


@contextmanager
def grip_backend(grip_url: str) -> Iterator[str]:
    """Run it, and yield its URL."""
    port = free_port()
    command = (sys.executable, "-m", "tests.grip.backends.with_gripcontrol")
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PORT": str(port), "GRIP_URL": grip_url}) as process:
        try:
            asyncio.run(asyncio.wait_for(until_listening(port, process), PATIENCE_S))
            yield f"http://127.0.0.1:{port}/ws"
        finally:
            process.kill()


def grip_conversation(websocket_url: str, grip_url: str) -> None:
    """Two clients: an echo, meta, publishes, a timer and a close. A third one is refused."""
    publisher = GripPubControl(parse_grip_uri(grip_url))
    with _client(websocket_url) as one, _client(websocket_url) as other:
        for text in ("hi", "", 'c:{"type":"detach"}', "a\r\nb", "gr\u00fc\u00dfe"):
            one.send(text)
            assert one.recv(PATIENCE_S) == text
        for expected in ("6", "7"):
            one.send("count")
            assert one.recv(PATIENCE_S) == expected
        one.send("publish from within")
        publisher.publish("room", Item(WebSocketMessageFormat("from outside")), blocking=True)
        for client in (one, other):
            assert {client.recv(PATIENCE_S), client.recv(PATIENCE_S)} == {"from within", "from outside"}
        one.send("later by a timer")
        assert one.recv(PATIENCE_S) == "by a timer"
        one.send("close")
        with pytest.raises(ConnectionClosedOK):
            one.recv(PATIENCE_S)
    with pytest.raises(InvalidStatus) as refused:
        _client(f"{websocket_url}?refuse=1")
    assert refused.value.response.status_code == 403


def _client(url: str) -> ClientConnection:
    return connect(url, open_timeout=PATIENCE_S, ping_interval=None, proxy=None)
