"""The command line, in this process and an empty folder, with none of our variables in the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from slip_sockets.cli.app import app

OURS = ("TARGET_URL", "JWT_SECRET", "STACK_NAME", "JWT_PREVIOUS_SECRETS", "AWS_REGION")

Cli = Callable[..., Result]

COMMAND = typer.main.get_command(app)
"""Made once, as in a program: typer takes 60 ms to make it, and its runner would do so for each call."""


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command. `stdin` is its input; other keywords are its environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("typer.testing._get_command", lambda _: COMMAND)

    def run(*arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        environ: dict[str, str | None] = {**dict.fromkeys(OURS), "COLUMNS": "120", "NO_COLOR": "1", **environment}
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environ)

    return run


def refused(result: Result, *lines: str, status: int = 2) -> None:
    """It ended with these lines on stderr, and nothing else."""
    errors = "".join(f"slip-sockets: {line}\n" for line in lines)
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", errors)
