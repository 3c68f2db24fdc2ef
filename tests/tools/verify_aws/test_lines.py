"""From a measurement to its line, and the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tools.verify_aws.__main__ import ALL, _chosen
from tools.verify_aws.findings import Finding, Line, Verdict, table
from tools.verify_aws.measurement import Context, Measurement, Skipped
from tools.verify_aws.stage import Stage

REAL: Mapping[str, str] = {}
LOCAL = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}


def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str] = REAL) -> Context:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Context(Stage("a-stack", environ, tmp_path / "state"), minutes=1, clients=3)


async def differs(context: Context) -> Finding:
    return Finding("429", "raise it")


async def is_skipped(context: Context) -> Finding:
    raise Skipped("too little time")


async def fails(context: Context) -> Finding:
    raise OSError("no route")


async def agrees(context: Context) -> Finding:
    return Finding("200")


@pytest.mark.parametrize(
    ("measurement", "verdict", "meaning"),
    [
        (Measurement("a", "", agrees, "no metrics"), Verdict.AS_EXPECTED, ""),
        (Measurement("a", "", differs, "no metrics"), Verdict.DIFFERS, "raise it"),
        (Measurement("a", "", is_skipped), Verdict.SKIPPED, "too little time"),
        (Measurement("a", "", fails), Verdict.FAILED, "OSError: no route"),
    ],
)
async def test_verdicts_on_an_account(
    measurement: Measurement, verdict: Verdict, meaning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = await measurement.line(context(tmp_path, monkeypatch))
    assert (line.verdict, line.meaning) == (verdict, meaning)


@pytest.mark.parametrize(
    ("measurement", "verdict"),
    [
        (Measurement("a", "", agrees, "no metrics"), Verdict.NOT_MEASURABLE),
        (Measurement("a", "", differs, "no metrics"), Verdict.NOT_MEASURABLE),
        (Measurement("a", "", fails, "no metrics"), Verdict.FAILED),
        (Measurement("a", "", differs), Verdict.DIFFERS),
    ],
)
async def test_the_local_aws_settles_only_what_it_can(
    measurement: Measurement, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await measurement.line(context(tmp_path, monkeypatch, LOCAL))).verdict is verdict


def test_only_takes_a_name_or_its_beginning() -> None:
    assert [measurement.name for measurement in ALL if _chosen(["R1"])(measurement)] == ["R1-failing-message-age"]
    assert [measurement.name for measurement in ALL if _chosen(["plan-again"])(measurement)] == ["plan-again"]
    assert [measurement for measurement in ALL if _chosen([])(measurement)] == ALL


def test_each_name_is_given_once_and_the_page_has_it() -> None:
    names = [measurement.name for measurement in ALL]
    assert len(set(names)) == len(names)
    page = (Path(__file__).parents[3] / "docs" / "verify-aws.md").read_text()
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_the_table_wraps_its_cells() -> None:
    line = Line("R6-empty-post", "200", "a long text " * 8, Verdict.DIFFERS, "refuse it first", 2.4)
    printed = table([line]).splitlines()
    assert printed[0].split() == ["measurement", "expected", "seen", "verdict"]
    assert printed[2].startswith("R6-empty-post (2 s)         200")
    assert "differs: refuse it first" in printed[2]
    assert len(printed) == 5
