"""The smallest backend, exactly as the README shows it, started as the README says."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, play
from slip_sockets.dev.server import DevServer, DevSettings

from .servers import running

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "minimal" / "app.py"


@pytest.fixture
async def server() -> AsyncIterator[DevServer]:
    command = ("-m", "flask", "--app", str(APP), "run", "--port", "0")
    async with (
        running(command, cwd=APP.parent) as url,
        DevServer(DevSettings(f"{url}/slip", "change-me", port=0)) as server,
    ):
        yield server


async def test_a_text_of_one_client_reaches_both(server: DevServer) -> None:
    async with (
        asyncio.timeout(20),
        websockets.connect(server.websocket_url, proxy=None) as one,
        websockets.connect(server.websocket_url, proxy=None) as other,
    ):
        await one.send("Hello, other!")
        assert await one.recv() == await other.recv() == "Hello, other!"
        await other.send("Hello, one! ☕")
        assert await one.recv() == await other.recv() == "Hello, one! ☕"


async def test_the_readmes_publisher_prints_what_the_readme_shows(server: DevServer) -> None:
    (program,) = re.findall(r"```python\n((?:(?!```).)*cron job.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    promised = program.rpartition("  # ")[2]
    async with (
        asyncio.timeout(20),
        websockets.connect(server.websocket_url, proxy=None) as one,
        websockets.connect(server.websocket_url, proxy=None) as other,
    ):
        publisher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program.replace("http://127.0.0.1:8787/control", server.control_api)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert await one.recv() == await other.recv() == "hello from a cron job"
        printed, _ = await publisher.communicate()
        assert printed.decode() == promised


async def test_the_check_finds_nothing_wrong(server: DevServer) -> None:
    settings = CheckSettings(server.settings.target_url, "change-me", slow_s=60)
    assert {result.verdict.level async for result in play(settings)} == {Level.RIGHT}
