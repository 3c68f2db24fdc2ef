"""The inputs of a session add up, and a fault is found and reported."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from . import play as engine
from .mutator import Mutator
from .play import INPUTS, SHARES, play

pytestmark = pytest.mark.fuzz


def test_all_inputs_of_a_session_are_played() -> None:
    """Each target asserts that its own share was played."""
    assert "FUZZ_INPUTS" in os.environ or INPUTS >= 200_000
    assert sum(SHARES.values()) == pytest.approx(1)
    targets = {path.stem.removeprefix("test_"): path.read_text() for path in Path(__file__).parent.glob("test_*.py")}
    del targets["play"]
    assert targets.keys() == SHARES.keys()
    for name, source in targets.items():
        assert source.count(f'\n    play("{name}", ') == 1


class Fragile:
    """Breaks over one input in a hundred, as `how` says."""

    def __init__(self, how: str) -> None:
        self.how = how

    def draw(self, mutator: Mutator, faults: int) -> int:
        return mutator.random.randrange(100)

    def play(self, given: int) -> bool:
        if given == 7 and self.how == "raise":
            raise KeyError("seven")
        if given == 7:
            logging.getLogger("slip_sockets").warning(self.how)
        return given > 50


@pytest.mark.parametrize(
    ("how", "text"),
    [("raise", "KeyError: 'seven'"), ("two\nlines", "the log has a line"), ("a secret", "the log has a secret")],
)
def test_a_fault_is_reported_with_its_input(monkeypatch: pytest.MonkeyPatch, how: str, text: str) -> None:
    monkeypatch.setattr(engine, "INPUTS", 2_000)
    with pytest.raises(AssertionError, match=r"batch 0, 0 faults[^\n]*") as failure:
        play("control", lambda: Fragile(how), accepted=(0, 1), secrets=("secret",))
    assert text in str(failure.value)
    assert "The input: 7" in str(failure.value)


def test_a_target_that_refuses_or_accepts_all_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "INPUTS", 2_000)
    play("control", lambda: Fragile("fine"), accepted=(0.3, 0.7))
    for accepted in ((0, 0.3), (0.7, 1)):
        with pytest.raises(AssertionError, match="accepted"):
            play("control", lambda: Fragile("fine"), accepted=accepted)
