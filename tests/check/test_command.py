"""`slip-sockets check`, as a person and as a program sees it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slip_sockets import Close, Connection
from slip_sockets.cli.app import app

from .backends import SECRET, Handler, act, serving, taking

PAGE = (Path(__file__).parents[2] / "docs" / "testing-your-backend.md").read_text()
OURS: dict[str, str | None] = {"TARGET_URL": None, "JWT_SECRET": None, "NO_COLOR": "1", "COLUMNS": "100"}


async def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, ["check", *arguments], env=OURS | dict(environment or {}))


async def run_at(handler: Handler, *arguments: str) -> Result:
    async with serving(handler) as url:
        return await run(url, "--slow", "60", *arguments, environment={"JWT_SECRET": SECRET})


def failing_on_close(connection: Connection) -> None:
    act(connection)
    if any(isinstance(event, Close) for event in connection.events):
        raise RuntimeError


def needing_metadata(connection: Connection) -> None:
    act(connection)
    for _ in connection.texts:
        connection.metadata["name"].upper()


async def test_a_good_backend_is_a_page_of_ticks_and_exit_code_0() -> None:
    result = await run_at(taking())
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines[0].startswith("Checking http://127.0.0.1:")
    assert lines[2] == "Letting clients in"
    assert lines[3].startswith("  ✓ a client connects  let in, ")
    groups = [line for line in lines[1:-1] if line and not line.startswith(" ")]
    assert groups == ["Letting clients in", "Texts", "Metadata", "Closing", "Tokens", "Bodies"]
    assert lines[-1] == "60 right, 0 wrong."


async def test_what_is_wrong_stands_out_with_its_fix_and_exit_code_1() -> None:
    result = await run_at(taking(failing_on_close))
    assert (result.exit_code, result.stderr) == (1, "")
    (shown,) = re.findall(r"^```text\nClosing\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert f"Closing\n{shown}  ! nothing is stored\n" in result.stdout
    assert result.stdout.endswith("\n54 right, 1 warning, 5 wrong.\n")


@pytest.mark.parametrize(("options", "exit_code"), [((), 0), (("--strict",), 1)])
async def test_warnings_count_with_strict(options: tuple[str, ...], exit_code: int) -> None:
    result = await run_at(taking(needing_metadata), "--json", *options)
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (exit_code, exit_code == 0)
    assert document["counts"] == {"right": 55, "warning": 5, "wrong": 0, "skipped": 0}


async def test_json_has_each_check() -> None:
    result = await run_at(taking(failing_on_close), "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"], len(document["checks"])) == (1, False, 60)
    (check,) = [check for check in document["checks"] if check["name"] == "close-cut"]
    assert check.pop("milliseconds") > 0
    assert check == {
        "name": "close-cut",
        "group": "Closing",
        "title": "the connection is cut",
        "verdict": "wrong",
        "finding": "responded with 500: the gateway repeats CLOSE for 6 hours, then it becomes a dead letter",
        "fix": "See the backend's log for the error",
        "hint": "",
        "status": 500,
    }


async def test_user_and_password_of_the_url_are_not_shown() -> None:
    async with serving(taking()) as url:
        result = await run(f"{url.replace('://', '://ada:hidden@')}?key=hidden", environment={"JWT_SECRET": SECRET})
    assert result.exit_code == 0
    assert "hidden" not in result.stdout
    assert f"Checking {url}\n" in result.stdout


async def test_query_and_header_are_given_to_the_backend() -> None:
    def do(connection: Connection) -> None:
        metadata = connection.metadata
        if connection.is_opening and metadata["query"].get("room") == ["a=b", "c"]:
            assert metadata["headers"].get("Cookie", "session=1") == "session=1"
            connection.accept()

    options = ("--query", "room=a=b", "--query", "room=c", "--header", "Cookie: session=1")
    result = await run_at(taking(do), *options)
    assert "✓ a client connects" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "problems"),
    [
        (
            (),
            {},
            [
                "there is no URL. Give your backend's, e.g. http://127.0.0.1:8000/slip, or set TARGET_URL",
                "JWT_SECRET is not set. Set it, or --jwt-secret, to the secret that your backend has",
            ],
        ),
        (
            ("127.0.0.1:8000",),
            {"JWT_SECRET": "x"},
            ["'127.0.0.1:8000' is not an http or https URL. Give your backend's, e.g. http://127.0.0.1:8000/slip"],
        ),
        (
            ("http://x/", "--query", "room", "--header", ": x"),
            {"JWT_SECRET": "x"},
            ["--query needs NAME=VALUE, got 'room'", "--header needs NAME:VALUE, got ': x'"],
        ),
    ],
)
async def test_what_cannot_be_run_is_a_line_each_and_exit_code_2(
    arguments: tuple[str, ...], environment: Mapping[str, str], problems: list[str]
) -> None:
    result = await run(*arguments, environment=environment)
    lines = "".join(f"slip-sockets: {problem}\n" for problem in problems)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", lines)


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_a_backend_that_does_not_run_is_one_line_and_exit_code_2(options: tuple[str, ...]) -> None:
    async with serving(taking()) as url:
        pass
    result = await run(*options, environment={"JWT_SECRET": "x", "TARGET_URL": url})
    line = f"slip-sockets: {url} cannot be reached: Connection refused. Is the backend running?\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)
