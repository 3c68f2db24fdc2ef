"""The programs of docs/testing-your-backend.md are those of the examples, and run as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "testing-your-backend.md").read_text()
PYTEST = ("-m", "pytest", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider", "-p", "no:asyncio", "-Werror")


def test_the_programs_are_those_of_the_examples() -> None:
    files = ("flask/test_app.py", "django/project/tests.py", "fastapi/test_app.py", "fastapi/conftest.py")
    shown = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown == [(ROOT / "examples" / name).read_text() for name in files]


@pytest.mark.parametrize(
    ("framework", "command", "result"),
    [
        ("flask", PYTEST, "2 passed"),
        ("fastapi", PYTEST, "2 passed"),
        ("django", ("-W", "error", "manage.py", "test"), "Ran 2 tests"),
    ],
)
def test_the_examples_tests_pass(framework: str, command: tuple[str, ...], result: str) -> None:
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT / "examples" / framework,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    assert result in output
