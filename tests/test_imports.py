"""The package without extras is small: what is optional is imported when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPTIONAL = ("aiohttp", "boto3", "django", "fastapi", "flask", "pytest", "rich", "starlette", "typer", "websockets")


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize("module", ["slip_sockets", "slip_sockets.adapter", "slip_sockets.testing"])
def test_the_library_imports_nothing_optional(module: str) -> None:
    assert run(f"import sys, {module}; print([name for name in {OPTIONAL} if name in sys.modules])") == "[]"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("slip_sockets", "AsyncSlipSocketsPublisher"),
        ("slip_sockets.testing", "AsyncRecordingPublisher"),
        ("slip_sockets.starlette", "SlipSockets"),
    ],
)
def test_without_aiohttp_it_says_what_to_install(module: str, name: str) -> None:
    program = f"""
import sys
sys.modules["aiohttp"] = None
try:
    from {module} import {name}
except ModuleNotFoundError as error:
    print(error)
"""
    assert (
        run(program) == 'AsyncSlipSocketsPublisher needs aiohttp. Install it: pip install "path/to/slip-sockets[async]"'
    )
