"""docs/aws.md names tests and measurements that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.verify_aws.__main__ import ALL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "aws.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[^`]+)`", PAGE)))
OPEN = set(re.findall(r"`((?:R\d+|cold|deploy-after)-[a-z-]+)`", PAGE))


@pytest.mark.parametrize("path", TESTS)
def test_the_tests_exist(path: str) -> None:
    assert (ROOT / path).is_file()


def test_the_measurements_exist() -> None:
    assert {measurement.name for measurement in ALL} >= OPEN


def test_each_open_question_of_the_program_is_on_the_page() -> None:
    assert {measurement.name for measurement in ALL if re.match(r"R\d", measurement.name)} <= OPEN
