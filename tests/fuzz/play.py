"""Plays inputs at a target: hypothesis draws batches, a Mutator makes the inputs of a batch."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, seed, settings

from .mutator import Mutator

LEAST_INPUTS = 200_000
INPUTS = int(os.environ.get("FUZZ_INPUTS", LEAST_INPUTS))
"""Of a session, over all targets."""
SEED = int(os.environ.get("FUZZ_SEED", "0"))
BATCH = 200

SHARES = {
    "control": 0.22,
    "answers": 0.30,
    "socket_events": 0.10,
    "queue": 0.12,
    "tokens": 0.10,
    "library": 0.12,
    "table": 0.04,
}
"""What part of the inputs a target gets. Each has a module, `test_<target>.py`, with a test that plays it."""

Input = TypeVar("Input")
T = TypeVar("T")


class Target(Protocol[Input]):
    """Made anew for each batch."""

    def draw(self, mutator: Mutator, faults: int) -> Input:
        """Return an input: a valid one, that many times spoilt."""

    def play(self, given: Input) -> bool:
        """Return whether it was accepted. Raises AssertionError, or whatever goes wrong."""


class _Lines(logging.Handler):
    """Holds what is logged to one line for each event, and to no secret."""

    def __init__(self, secrets: tuple[str, ...], is_strict: bool) -> None:
        super().__init__()
        self.secrets = secrets
        self.is_strict = is_strict
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not self.is_strict:
            return
        if not message.isprintable():
            self.faults.append(f"the log has a line that a terminal does not show as it is: {message!r}")
        if record.exc_info:
            self.faults.append(f"the log has a traceback: {record.exc_info[1]!r}")
        if any(secret in message for secret in self.secrets):
            self.faults.append(f"the log has a secret: {message!r}")


@contextmanager
def _watched_log(secrets: tuple[str, ...], is_strict: bool) -> Iterator[_Lines]:
    log = logging.getLogger("slip_sockets")
    lines = _Lines(secrets, is_strict)
    log.addHandler(lines)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(lines)
        log.propagate = True


@contextmanager
def _untraced() -> Iterator[None]:
    """Coverage is not measured meanwhile: it would take longer than all the rest, and has nothing to gain."""
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(trace)


def play(
    name: str,
    new_target: Callable[[], Target[Any]],
    *,
    accepted: tuple[float, float],
    secrets: tuple[str, ...] = (),
    is_log_strict: bool = True,
) -> Counter[bool]:
    """Play a target's share of the inputs, and assert that it was played whole and how much of it was `accepted`.

    The log has no `secrets` and no tracebacks, and no line that is more than one; for what only the gateway itself can
    have written that need not be so.
    """
    inputs = math.ceil(INPUTS * SHARES[name])
    played: Counter[bool] = Counter()

    @seed(SEED)
    @settings(
        max_examples=math.ceil(inputs / BATCH),
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(faults=st.integers(0, 3), batch=st.integers(0, 2**64))
    def play_batch(faults: int, batch: int) -> None:
        mutator, target = Mutator(batch), new_target()
        for _ in range(BATCH):
            given_input = target.draw(mutator, faults)
            try:
                played[target.play(given_input)] += 1
                assert not lines.faults, lines.faults[0]
            except Exception as error:
                lines.faults.clear()
                place = f"{name}, FUZZ_SEED={SEED}, batch {batch}, {faults} faults"
                told = f"{type(error).__name__}: {error}"
                raise AssertionError(f"{place}: {told:.3000}\nThe input: {given_input!r:.5000}") from error

    with _watched_log(secrets, is_log_strict) as lines, _untraced():
        play_batch()
    assert played.total() >= inputs
    least, most = accepted
    assert least <= played[True] / played.total() <= most, f"accepted {played[True]} of {played.total()}"
    return played


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits, as nothing does over doubles: an event loop would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a double waits")
