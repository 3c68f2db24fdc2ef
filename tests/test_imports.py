"""The package without extras is small: optional packages are imported at their first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import slip_sockets

OPTIONAL = ("aiohttp", "boto3", "django", "fastapi", "flask", "pytest", "rich", "starlette", "typer", "websockets")


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize("module", ["slip_sockets", "slip_sockets.client.adapter", "slip_sockets.testing"])
def test_the_library_imports_nothing_optional(module: str) -> None:
    assert run(f"import sys, {module}; print([name for name in {OPTIONAL} if name in sys.modules])") == "[]"


def test_each_public_name_can_be_imported_and_no_other() -> None:
    public = [getattr(slip_sockets, name) for name in slip_sockets.__all__]
    assert len(public) == len(set(slip_sockets.__all__)) == len(slip_sockets._MODULE_OF)
    with pytest.raises(AttributeError, match="module 'slip_sockets' has no attribute 'refusal'"):
        _ = slip_sockets.refusal  # type: ignore[attr-defined]


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
