"""The command line as a whole: help, examples, exit codes, what is missing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from slip_sockets.cli.app import app
from slip_sockets.cli.exit_codes import HELP, Commands

from .conftest import Cli

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "close",
    "cost",
    "dev",
    "history",
    "members",
    "outputs",
    "publish",
    "redrive",
    "send",
    "token inspect",
    "token mint",
}


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


ALL: dict[str, Any] = dict(commands(typer.main.get_command(app)))


def test_these_are_the_commands() -> None:
    assert set(ALL) >= COMMANDS


def test_help_lists_all_commands_and_exit_codes(cli: Cli) -> None:
    for arguments in (("--help",), ("-h",)):
        result = cli(*arguments)
        assert result.exit_code == 0
        for name in ALL:
            assert f"│ {name.partition(' ')[0]}" in result.stdout
        assert HELP in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize("name", sorted(ALL))
def test_help_of_each_command_has_examples_that_can_be_typed(cli: Cli, name: str) -> None:
    result = cli(*name.split(), "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    examples = re.findall(rf"slip-sockets {name}\b[^|)\n]*", str(ALL[name].epilog))
    assert examples
    for example in examples:
        words = shlex.split(re.sub(r"\(.*", "", example).replace('"', " ").strip())
        options = [word for word in words if word.startswith("--")]
        known = {option for parameter in ALL[name].params for option in parameter.opts}
        assert set(options) <= known, example


@pytest.mark.parametrize("name", sorted(ALL))
def test_each_parameter_is_explained(name: str) -> None:
    unexplained = [parameter.name for parameter in ALL[name].params if not parameter.help and parameter.name != "help"]
    assert unexplained == []


def test_the_readme_has_a_table_of_all(cli: Cli) -> None:
    readme = (ROOT / "README.md").read_text()
    assert [name for name in ALL if f"| `slip-sockets {name.partition(' ')[0]}" not in readme] == []


def test_version(cli: Cli) -> None:
    assert re.fullmatch(r"slip-sockets \d+\.\d+\.\d+\n", cli("--version").stdout)


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("publish",), ("publish", "lobby", "x", "--nonsense"), ("cost", "--sent", "x")]
)
def test_a_typing_error_is_exit_code_2_without_a_traceback(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("slip-sockets pub", {"publish"}),
        ("slip-sockets publish --stack slip", {"slip-sockets", "slip-sockets-staging"}),
        ("slip-sockets token mint --for b", {"backend"}),
    ],
)
def test_the_shell_completes(tmp_path: Path, words: str, completions: set[str]) -> None:
    (tmp_path / "cdk-outputs.json").write_text('{"slip-sockets": {}, "slip-sockets-staging": {}, "chat": {}}')
    completion = {
        "_SLIP_SOCKETS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "slip_sockets"],
        cwd=tmp_path,
        env=os.environ | completion,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == completions


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [
        ("typer", "dev", ("cost",)),
        ("rich", "dev", ("cost",)),
        ("websockets", "dev", ("--help",)),
        ("aiohttp", "dev", ("dev", "--target-url", "http://x/", "--jwt-secret", "s")),
        ("boto3", "aws", ("redrive",)),
    ],
)
def test_a_missing_package_is_one_line_with_what_to_install(
    tmp_path: Path, missing: str, extra: str, arguments: tuple[str, ...]
) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from slip_sockets.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    line = f'slip-sockets: {missing} is missing. Install it: pip install "path/to/slip-sockets[{extra}]"\n'
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def broken(error: BaseException) -> typer.Typer:
    """A command line with one command, which raises."""
    broken = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @broken.command()
    def command() -> None:
        raise error

    @broken.callback()
    def callback() -> None: ...

    return broken


def test_ctrl_c_is_one_line_and_exit_code_1() -> None:
    result = CliRunner().invoke(broken(KeyboardInterrupt()), ["command"])
    assert (result.exit_code, result.stderr) == (1, "slip-sockets: stopped\n")


@pytest.mark.parametrize("error", [RuntimeError("ours"), ModuleNotFoundError("No module named 'x'", name="x")])
def test_a_bug_of_ours_is_not_hidden(error: Exception) -> None:
    assert CliRunner().invoke(broken(error), ["command"]).exception is error
