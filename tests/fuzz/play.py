"""Plays inputs against a target: hypothesis draws batches, a Mutator makes the inputs of a batch."""

from __future__ import annotations

import asyncio
import atexit
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
"""In a session, over all targets."""
SEED = int(os.environ.get("FUZZ_SEED", "0"))
BATCH = 200

SHARES = {
    "control": 0.22,
    "replies": 0.30,
    "socket_events": 0.10,
    "queue": 0.12,
    "tokens": 0.10,
    "library": 0.12,
    "table": 0.04,
}
"""The share of the inputs of each target. It has a module, `test_<target>.py`, with a test that plays it."""

Input = TypeVar("Input")
T = TypeVar("T")


class Target(Protocol[Input]):
    """It is made anew for each batch."""

    def draw(self, mutator: Mutator, faults: int) -> Input:
        """Return an input: a valid one, with that number of faults put into it."""

    def play(self, given: Input) -> bool:
        """Return whether it was accepted. Raises AssertionError, or any other error where something goes wrong."""


class _Lines(logging.Handler):
    """Checks the log: one line for each event, and no secrets."""

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
    """Do not measure coverage meanwhile: it would take longer than all the rest, for no gain."""
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
    """Play a target's share of the inputs, and assert that all were played, and that the accepted share is in a range.

    The log must have no `secrets`, no tracebacks, and no message of several lines. Without `is_log_strict` it is not
    checked: for inputs that only the gateway itself can have written.
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
                problem = f"{type(error).__name__}: {error}"
                raise AssertionError(f"{place}: {problem:.3000}\nThe input: {given_input!r:.5000}") from error

    with _watched_log(secrets, is_log_strict) as lines, _untraced():
        play_batch()
    assert played.total() >= inputs
    least, most = accepted
    assert least <= played[True] / played.total() <= most, f"accepted {played[True]} of {played.total()}"
    return played


_loop = asyncio.new_event_loop()
atexit.register(_loop.close)


def run_in_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has tasks of its own."""
    return _loop.run_until_complete(coroutine)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, as over doubles: an event loop would take most of the time."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("a double waits")
