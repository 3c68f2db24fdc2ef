"""The benchmark of the functions works: tiny runs of each case, without a word about speed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.functions import events
from bench.functions.__main__ import main
from bench.functions.cases import FIRST_EVENTS, Place, Sizes, cold, place, tls
from bench.functions.runtime import Environment

TINY = Sizes(rounds=1, batch=2, warm_up=1)


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as here:
        yield here


def test_cold_starts_are_set_beside_the_imports() -> None:
    figures = {figure.name: figure for figure in cold(TINY)}
    for name in (*FIRST_EVENTS, "websocket, no bytecode"):
        to_poll, whole = figures[f"{name}: to the first poll"], figures[f"{name}: with the first event's extra"]
        assert 0 < to_poll.value < 2 * whole.value
        assert figures[f"{name}: to the yardstick"].at_most == (0.30 if name in FIRST_EVENTS else 0.55)
    assert figures["yardstick: imports, two clients"].value > 0


def test_main_prints_the_cases_named_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--json", "warm", "memory", "frozen", "added"])
    results = json.loads(capsys.readouterr().out)
    assert {figure["name"]: figure["at_most"] for figure in results["warm"] if figure["at_most"]} == {
        "connect: ours to theirs": 0.35,
        "message: ours to theirs": 0.25,
        "disconnect: ours to theirs": 0.30,
    }
    assert [figure["name"] for figure in results["memory"]] == [*FIRST_EVENTS, "boto3 and requests"]
    assert len(results["added"]) == 7
    assert all(figure["value"] > 0 for case in results.values() for figure in case)


def test_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["warn"])
    assert "there is no case 'warn', only cold, warm, memory, tls, frozen, added" in capsys.readouterr().err


def test_tls_takes_time() -> None:
    assert all(figure.value > 0 for figure in tls(TINY))


def test_ours_and_the_yardstick_make_the_same_calls(here: Place) -> None:
    calls = []
    for environment in (here.start("websocket"), here.start_naive()):
        with environment:
            environment.start()
            here.reset_calls()
            for event in (events.connect(1), events.message(1), events.disconnect(1)):
                assert environment.invoke(event)["statusCode"] == 200
            calls.append(here.calls())
    ours, naive = calls
    assert ours == naive == {"BatchWriteItem": 2, "GetItem": 1, "Query": 1, "post": 1}


def test_function_that_does_not_start_is_reported_with_its_log(here: Place, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('as the test says')")
    environment = Environment(here.python, tmp_path, "broken.handler", here.variables)
    with environment, pytest.raises(BenchError, match=r"(?s)^the function ended:.*as the test says"):
        environment.start()
