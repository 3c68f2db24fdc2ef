"""Variables of the terminal, of Python's streams and of the shell's completion, with odd values; each a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slip_sockets.cli.terminal import forget_odd_sizes

SIZES = ("", "0", "1", "-3", "x", "\u00b2", "\u0665", "1e9", "9" * 20, "9" * 5_000, "caf\udce9")


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "slip_sockets", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "environment",
    [
        *({"COLUMNS": size, "LINES": size, "TERMINAL_WIDTH": size} for size in ("", "0", "x", "\u00b2", "9" * 5_000)),
        {"TERM": "nonsense", "COLORTERM": "x", "FORCE_COLOR": "x", "NO_COLOR": ""},
        {"TERM": "", "LANG": "C", "LC_ALL": "xx_YY.nonsense", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    ],
    ids=lambda environment: ascii(next(iter(environment.items())))[:40],
)
def test_help_a_report_and_an_error_do_not_depend_on_the_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    done = [run(tmp_path, *words, **environment) for words in (("--help",), ("cost",), ("nonsense",))]
    assert ([each.returncode for each in done], [each.stderr for each in done[:2]]) == ([0, 0, 2], ["", ""])
    assert all(each.stdout for each in done[:2])
    assert "nonsense" in done[2].stderr
    assert "Traceback" not in done[2].stderr


@pytest.mark.parametrize("name", ["COLUMNS", "LINES", "TERMINAL_WIDTH"])
def test_a_size_that_no_terminal_has_is_forgotten(name: str) -> None:
    kept = []
    for size in (*SIZES, "80", "9999", "10000"):
        environ = {name: size, "PATH": "x"}
        forget_odd_sizes(environ)
        kept += [size] if name in environ else []
    assert kept == ["1", "80", "9999"]


@pytest.mark.parametrize(
    "instruction", ["complete_bash", "complete_zsh", "complete_fish", "complete_x", "source_x", "x"]
)
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"COMP_WORDS": "", "COMP_CWORD": ""},
        {"COMP_WORDS": "slip-sockets pub", "COMP_CWORD": "x"},
        {"COMP_WORDS": "slip-sockets 'caf\udce9", "COMP_CWORD": "9" * 5_000},
        {"COMP_WORDS": "slip-sockets", "COMP_CWORD": "99", "_TYPER_COMPLETE_ARGS": '"\udce9', "LANG": "C"},
    ],
    ids=lambda words: ascii(words)[:40],
)
def test_completion_without_the_shells_variables_is_a_line(
    tmp_path: Path, instruction: str, words: dict[str, str]
) -> None:
    done = run(tmp_path, _SLIP_SOCKETS_COMPLETE=instruction, **words)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1
