"""`python -m slip_sockets dev`, as a program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets
from typer.testing import CliRunner

from slip_sockets.cli.app import app
from slip_sockets.dev.server import DevServer

from ..conftest import KEY_OF_A_PAIR, SECRET
from ..contract.wire import TIMEOUT_S
from ..scripted_backend import ScriptedBackend

OURS = ("TARGET_URL", "JWT_SECRET", "STACK_NAME", "JWT_PREVIOUS_SECRETS")
EXAMPLE = "the URL of your backend, which receives the events, e.g. http://127.0.0.1:8000/slip"
NO_TARGET = f"slip-sockets: TARGET_URL is not set. Set it, or --target-url, to {EXAMPLE}"
NO_SECRET = "slip-sockets: JWT_SECRET is not set. Set it to a secret that your backend has too, e.g. 32 random bytes"

NOT_SHARED = (
    "looks like an asymmetric key or a certificate. "
    "HS256 needs a shared secret, e.g. the output of: openssl rand -hex 32"
)


@asynccontextmanager
async def program(
    cwd: Path, *options: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    bare = {name: value for name, value in os.environ.items() if name not in OURS}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "slip_sockets", "dev", *options),
        cwd=cwd,
        env=bare | dict(environment or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(cwd: Path, *options: str, environment: Mapping[str, str] | None = None) -> tuple[int | None, str, str]:
    """Run it to its end; return the exit status, stdout and stderr."""
    async with asyncio.timeout(TIMEOUT_S), program(cwd, *options, environment=environment) as process:
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode().rstrip()


async def test_no_settings_are_a_line_each_and_exit_status_2(tmp_path: Path) -> None:
    assert await run(tmp_path) == (2, "", f"{NO_TARGET}\n{NO_SECRET}\n")


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"TARGET_URL": "http://127.0.0.1:1/"}, NO_SECRET),
        (
            {"TARGET_URL": "http://127.0.0.1:1/", "JWT_SECRET": KEY_OF_A_PAIR, "JWT_PREVIOUS_SECRETS": KEY_OF_A_PAIR},
            f"slip-sockets: JWT_SECRET {NOT_SHARED}\nslip-sockets: JWT_PREVIOUS_SECRETS has a secret that {NOT_SHARED}",
        ),
        (
            {"TARGET_URL": "https://.example.com/slip", "JWT_SECRET": SECRET, "JWT_PREVIOUS_SECRETS": "a, "},
            "slip-sockets: TARGET_URL 'https://.example.com/slip' is not an http or https URL: its host "
            f"'.example.com' has an empty part, as of a variable that is not set. Set it to {EXAMPLE}\n"
            "slip-sockets: JWT_PREVIOUS_SECRETS has a secret that is blank. Set it to a secret that both sides know, "
            "e.g. the output of: openssl rand -hex 32",
        ),
        (
            {"TARGET_URL": "http://caf\udce9/", "JWT_SECRET": "caf\udce9", "JWT_PREVIOUS_SECRETS": "a,\udce9"},
            "\n".join(
                f"slip-sockets: {name} is not UTF-8. Set it to text"
                for name in ("TARGET_URL", "JWT_SECRET", "JWT_PREVIOUS_SECRETS")
            ),
        ),
        (
            {
                "TARGET_URL": "http://127.0.0.1:1/",
                "JWT_SECRET": SECRET,
                "BACKEND_PROTOCOL": "grip",
                "OCCUPANCY_EVENTS": "true",
            },
            "slip-sockets: OCCUPANCY_EVENTS is 'true', and BACKEND_PROTOCOL is 'grip', which has no such events. "
            "Leave out one",
        ),
        ({"JWT_SECRET": SECRET}, NO_TARGET),
        ({"JWT_SECRET": SECRET, "TARGET_URL": ""}, NO_TARGET),
        *(
            (
                {"JWT_SECRET": SECRET, "TARGET_URL": url},
                f"slip-sockets: TARGET_URL {url!r} is not an http or https URL. Set it to {EXAMPLE}",
            )
            for url in ("127.0.0.1:8000", "ftp://x/", "http://", "http://[", "http://x:port/", "https:///path")
        ),
    ],
    ids=str,
)
def test_wrong_setting_is_one_line_and_exit_status_2(environment: dict[str, str], line: str) -> None:
    bare: dict[str, str | None] = dict.fromkeys(OURS)
    result = CliRunner().invoke(app, ["dev"], env=bare | environment)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{line}\n")


async def test_port_in_use_is_one_line_and_exit_status_2(tmp_path: Path, server: DevServer) -> None:
    options = ("--target-url", "http://127.0.0.1:1/", "--jwt-secret", "short", "--port", str(server.port))
    problem = "is in use by another program. Stop it, or choose another port with --port."
    line = f"slip-sockets: 127.0.0.1 port {server.port} {problem}\n"
    assert await run(tmp_path, *options) == (2, "", line)
    assert names(tmp_path) == []


async def test_outputs_file_that_cannot_be_written_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    options = ("--target-url", "http://127.0.0.1:1/", "--jwt-secret", SECRET, "--port", "0", "--outputs", "no/file")
    line = "slip-sockets: cannot write no/file: No such file or directory. Choose another file with --outputs.\n"
    assert await run(tmp_path, *options) == (2, "", line)


@pytest.mark.parametrize("options", [("--port", "x"), ("--port", "65536"), ("--nonsense",)], ids=str)
async def test_wrong_option_is_exit_status_2_without_a_traceback(tmp_path: Path, options: tuple[str, ...]) -> None:
    status, out, err = await run(tmp_path, *options, environment={"JWT_SECRET": SECRET, "TARGET_URL": "http://x/"})
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert options[0] in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_its_urls_and_ends_cleanly_at_a_signal(
    tmp_path: Path, backend: ScriptedBackend, number: signal.Signals
) -> None:
    environment = {"TARGET_URL": "http://127.0.0.1:1/", "JWT_SECRET": "another", "STACK_NAME": "from-environment"}
    options = ("--target-url", backend.url, "--jwt-secret", SECRET, "--port", "0", "--stack-name", "mine")
    async with program(tmp_path, *options, environment=environment) as process:
        name, url = (await line_of(process)).split()
        assert name == "WebSockets"
        control_api = (await line_of(process)).removeprefix("Control API").strip()
        assert await line_of(process) == f"Backend      {backend.url}"
        assert await line_of(process) == "Outputs      cdk-outputs.dev.json"
        assert await line_of(process) == f"Inspector    {control_api.replace('control', '_inspector')}"
        assert await line_of(process) == "Ctrl-C stops."
        assert json.loads((tmp_path / "cdk-outputs.dev.json").read_text()) == {
            "mine": {
                "controlApi": control_api,
                "targetUrl": backend.url,
                "websocketUrl": url,
                "region": "local",
            }
        }
        async with websockets.connect(url, proxy=None) as client:
            opened = await backend.next_post("OPEN")
            process.send_signal(number)
            async with asyncio.timeout(TIMEOUT_S):
                await client.wait_closed()
            assert client.close_code == 1001
        closed = await backend.next_post("CLOSE")
        assert (closed.connection_id, closed.event["code"]) == (opened.connection_id, 1001)
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"Closing all sockets ...\n", b"")


@pytest.mark.parametrize(
    ("options", "has_inspector"),
    [
        ((), True),
        (("--no-inspector",), False),
        (("--host", "0.0.0.0"), False),
        (("--host", "0.0.0.0", "--inspector"), True),
    ],
    ids=str,
)
async def test_the_inspector_is_served_at_loopback_alone_unless_asked_for(
    tmp_path: Path, options: tuple[str, ...], has_inspector: bool
) -> None:
    needed = ("--target-url", "http://127.0.0.1:1/", "--jwt-secret", SECRET, "--port", "0")
    async with program(tmp_path, *needed, *options) as process:
        lines = []
        while (line := await line_of(process)) != "Ctrl-C stops.":
            lines.append(line)
        assert any(line.startswith("Inspector") for line in lines) == has_inspector
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_S):
            await process.communicate()


async def test_environment_and_limits_are_taken(tmp_path: Path, backend: ScriptedBackend) -> None:
    environment = {"TARGET_URL": backend.url, "JWT_SECRET": "short", "STACK_NAME": "from-environment"}
    options = ("--port", "0", "--outputs", "mine.json", "--idle-timeout", "1")
    async with program(tmp_path, *options, environment=environment) as process:
        url = (await line_of(process)).split()[1]
        outputs = json.loads((tmp_path / "mine.json").read_text())
        assert outputs["from-environment"]["websocketUrl"] == url
        async with websockets.connect(url, proxy=None) as client, asyncio.timeout(TIMEOUT_S):
            await client.wait_closed()
        assert client.close_code == 1001
        assert (await backend.next_post("CLOSE")).event["code"] == 1001
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(TIMEOUT_S):
            _, err = await process.communicate()
        line, near_end = err.decode().splitlines()
        assert line.endswith("JWT_SECRET is shorter than 32 bytes: fine here, too weak for the internet")
        assert "without a text for 1 s" in near_end
