"""A test run goes on where a test ends its process, as one that hangs does, and then ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..docs.markdown import ROOT

CONFTEST = "from tests.conftest import pytest_xdist_make_scheduler  # noqa: F401"
TESTS = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(4))
def test_number(number):
    if number == {number}:
        with pathlib.Path("ended").open("a") as ended:
            ended.write("once ")
        os._exit(1)
"""


@pytest.mark.parametrize("number", range(4))
def test_run_ends_after_a_test_that_ended_its_process(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "some"
    folder.mkdir(parents=True)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(TESTS.format(number=number))
    (tmp_path / "pytest.ini").touch()
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadscope", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"test_number[{number}] - worker" in run.stdout
    assert "1 failed, 3 passed" in run.stdout
    assert (tmp_path / "ended").read_text() == "once "
