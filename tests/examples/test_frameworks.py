"""The examples of the frameworks, and the first programs of their READMEs, under the development servers of the
frameworks, with real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import websockets

from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, play
from slip_sockets.dev.server import DevServer, DevSettings

from .servers import PATIENCE_S, running

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMEWORKS = ("flask", "django", "fastapi")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def command(framework: str, module: str, port: int) -> list[str]:
    return {
        "flask": ["-m", "flask", "--app", f"{module}.py", "run", "--port", str(port)],
        "django": ["manage.py", "runserver", "--noreload", str(port)],
        "fastapi": ["-m", "uvicorn", f"{module}:app", "--port", str(port)],
    }[framework]


@contextlib.asynccontextmanager
async def deployed(framework: str, module: str, cwd: Path) -> AsyncIterator[tuple[DevServer, str]]:
    """Run a backend and a development server in front of it; yield that, and the backend's URL."""
    port = free_port()
    async with DevServer(DevSettings(f"http://127.0.0.1:{port}/slip", "change-me", port=0)) as server:
        environment = {"CONTROL_API": server.control_api, "JWT_SECRET": "change-me"}
        async with running(command(framework, module, port), cwd=cwd, environment=environment) as url:
            yield server, url


def programs(framework: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```$", (EXAMPLES / framework / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )


def write_first_program(framework: str, folder: Path) -> None:
    """Do as the README says."""
    if framework != "django":
        (program,) = programs(framework)
        (folder / "first.py").write_text(program)
        return
    start = [sys.executable, "-m", "django", "startproject", "project", str(folder)]
    subprocess.run(start, check=True, timeout=PATIENCE_S)
    views, urls, settings = programs(framework)
    (folder / "project" / "views.py").write_text(views)
    for name, lines in (("urls.py", urls), ("settings.py", settings)):
        with (folder / "project" / name).open("a") as file:
            file.write(lines)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_first_program_is_under_15_lines(framework: str) -> None:
    lines = [line for program in programs(framework) for line in program.splitlines() if line.strip()]
    assert 0 < len(lines) < 15


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_first_program_of_the_readme_runs(framework: str, tmp_path: Path) -> None:
    write_first_program(framework, tmp_path)
    async with (
        deployed(framework, "first", tmp_path) as (server, _),
        asyncio.timeout(PATIENCE_S),
        websockets.connect(server.websocket_url, proxy=None) as one,
        websockets.connect(server.websocket_url, proxy=None) as other,
    ):
        await one.send("Hello, other! ☕")
        assert await one.recv() == await other.recv() == "Hello, other! ☕"


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_example_has_rooms_and_announces_by_an_ordinary_request(framework: str) -> None:
    async with deployed(framework, "app", EXAMPLES / framework) as (server, url), asyncio.timeout(PATIENCE_S):
        tea, coffee = f"{server.websocket_url}?room=tea", f"{server.websocket_url}?room=coffee"
        async with websockets.connect(tea, proxy=None) as one, websockets.connect(coffee, proxy=None) as stranger:
            async with websockets.connect(tea, proxy=None) as other, aiohttp.ClientSession() as http:
                await one.send("milk?")
                assert await one.recv() == await other.recv() == "milk?"
                async with http.post(f"{url}/announce/tea", data="closing soon") as response:
                    assert await response.json() == {"listeners": 2}
                assert await one.recv() == await other.recv() == "closing soon"
            assert await one.recv() == "somebody left"
            await stranger.send("alone")
            assert await stranger.recv() == "alone"
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}/slip", data="not of the gateway") as response:
                assert response.status == 403
            async with http.get(f"{url}/slip") as response:
                assert response.status == 405
        checked = [result async for result in play(CheckSettings(f"{url}/slip", "change-me", slow_s=60))]
        assert {result.name: result.verdict for result in checked if result.verdict.level is not Level.RIGHT} == {}
