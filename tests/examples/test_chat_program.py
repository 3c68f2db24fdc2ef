"""`python -m examples.chat`: how it starts, ends and fails."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import websockets

from .chat_program import PATIENCE_S, ROOT, environment, running_chat
from .visitor import visit


def is_free(url: str) -> bool:
    port = urlsplit(url).port
    assert port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_runs_until_a_signal_then_closes_all_sockets_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    with running_chat(tmp_path / "outputs.json") as chat:
        page = await asyncio.to_thread(requests.get, chat.page, timeout=PATIENCE_S)
        assert page.ok
        websocket_url = chat.websocket_url
        async with visit(websocket_url, name="Ada") as ada, visit(websocket_url, name="Grace") as grace:
            await ada.say("Hello")
            assert (await grace.hear("said"))["text"] == "Hello"

            ended = chat.end(number)

            # Nothing on stderr: the backend still received the CLOSE of both.
            assert (ended.status, ended.said, ended.complained) == (0, "", "")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await ada.hear("never")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert is_free(chat.page)
    assert is_free(websocket_url)


@pytest.mark.parametrize("variable", ["PORT", "BACKEND_PORT"])
def test_a_port_in_use_ends_it_with_one_line(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run(tmp_path, **{variable: str(port)})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        f"chat: port {port} is in use by another program. "
        f"Stop it, or set {variable} to another port; 0 takes a free one.\n"
    )


@pytest.mark.parametrize("text", ["http", "-1", "65536", "٣"])
def test_an_invalid_port_ends_it_with_one_line(tmp_path: Path, text: str) -> None:
    ended = run(tmp_path, BACKEND_PORT=text)
    assert ended.returncode == 2
    assert ended.stderr == f"chat: BACKEND_PORT is {text!r}. Set it to a port, 0 to 65535; 0 takes a free one.\n"


def test_a_backend_that_dies_ends_it_with_one_line(tmp_path: Path) -> None:
    with running_chat(tmp_path / "outputs.json") as chat:
        websocket_url = chat.websocket_url
        os.kill(chat.backend_pid, signal.SIGKILL)
        ended = chat.wait()
    assert ended.status == 1
    assert ended.complained == "chat: the backend has ended with status -9; the server stops too\n"
    assert is_free(websocket_url)


def test_when_it_is_killed_its_backend_ends_too(tmp_path: Path) -> None:
    with running_chat(tmp_path / "outputs.json") as chat:
        os.kill(chat.pid, signal.SIGKILL)
        chat.wait()  # for the pipes of both
        assert is_free(chat.page)


def run(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    settings = {"PORT": "0", "BACKEND_PORT": "0"} | settings
    return subprocess.run(
        [sys.executable, "-m", "examples.chat"],
        cwd=ROOT,
        env=environment(tmp_path / "outputs.json", **settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
