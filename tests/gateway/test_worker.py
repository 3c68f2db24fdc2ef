from __future__ import annotations

import logging
from typing import Any

import pytest

from slip_sockets.gateway.deferred import CloseNotice, Continuation, Deferred
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.errors import Incomplete, Unavailable
from slip_sockets.gateway.observer import EventType, HandledEvent, current_event
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.values import Done
from slip_sockets.gateway.worker import (
    MAX_RETRY_PAUSE_S,
    DeadLetter,
    DeferredWorker,
    Retry,
    attempts_within,
    retry_pause_s,
)
from slip_sockets.protocol.events import SendText

from .doubles import ME, Saved

LAST = attempts_within(RETRY_FOR_S)
MESSAGE = Continuation(ME, [SendText(ME, "1"), SendText(ME, "2")])
REMAINING = Continuation(ME, [SendText(ME, "2")])


class Scripted:
    """A handler that raises what a test put there."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.handled: list[Deferred] = []
        self.events: list[HandledEvent | None] = []

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        self.handled.append(message)
        self.events.append(current_event.get())
        if (error := self.errors.pop(0)) is not None:
            raise error


class Lost(Saved):
    async def save(self, remaining: Deferred) -> None:
        raise Unavailable("the table is away")

    async def load(self) -> Deferred | None:
        raise Unavailable("the table is away")


async def attempt(
    handler: Scripted, number: int = 1, checkpoint: Saved | None = None, message: Deferred = MESSAGE
) -> Done | Retry | DeadLetter:
    worker = DeferredWorker({Continuation: handler, CloseNotice: handler})
    return await worker.attempt(message, number, checkpoint or Saved(), deadline=1e12)


async def test_a_message_that_is_done_is_done(caplog: pytest.LogCaptureFixture) -> None:
    handler = Scripted(None)
    assert await attempt(handler) == Done()
    assert handler.handled == [MESSAGE]
    assert caplog.messages == []


async def test_it_is_the_current_event_while_it_is_handled() -> None:
    handler = Scripted(None)
    await attempt(handler)
    assert handler.events == [HandledEvent(EventType.DEFERRED, ME)]
    assert current_event.get() is None


async def test_what_remains_is_saved_and_the_pause_grows(caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Saved()
    handler = Scripted(Incomplete(REMAINING, "full"), Incomplete(REMAINING, "full"))
    assert await attempt(handler, 1, checkpoint) == Retry(1)
    assert checkpoint.saved == [REMAINING]
    assert await attempt(handler, 4, checkpoint) == Retry(8)
    assert handler.handled == [MESSAGE, REMAINING]
    assert caplog.messages == [
        f"connection {ME}: deferred, attempt 1: full; again in 1 s",
        f"connection {ME}: deferred, attempt 4: full; again in 8 s",
    ]


async def test_a_message_of_which_nothing_was_done_is_not_saved() -> None:
    checkpoint = Saved()
    assert await attempt(Scripted(Incomplete(MESSAGE, "full")), 1, checkpoint) == Retry(1)
    assert checkpoint.saved == []


async def test_a_message_that_only_lacked_time_goes_on_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    error = Incomplete(REMAINING, "no time is left", made_progress=True)
    assert await attempt(Scripted(error), 3) == Retry(0)
    assert caplog.messages == [f"connection {ME}: deferred, attempt 3: no time is left; it goes on at once"]


async def test_a_message_whose_turn_has_not_come_waits_for_it_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """SQS counts it as an attempt: so the pauses must grow, or six hours' worth of them would be over in minutes."""
    caplog.set_level(logging.INFO)
    error = Incomplete(MESSAGE, "other fan-outs come first", pause_s=7.6)
    assert await attempt(Scripted(error), 2) == Retry(7.6)
    assert await attempt(Scripted(error), 5) == Retry(16)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"connection {ME}: deferred, attempt 2: other fan-outs come first; again in 8 s"),
        ("INFO", f"connection {ME}: deferred, attempt 5: other fan-outs come first; again in 16 s"),
    ]
    assert await attempt(Scripted(error), LAST) == DeadLetter(MESSAGE)


async def test_a_message_that_names_its_time_exactly_comes_then() -> None:
    error = Incomplete(MESSAGE, "its time has not come", pause_s=55, is_exact=True)
    assert await attempt(Scripted(error), 1) == Retry(55)
    assert await attempt(Scripted(error), 9) == Retry(55)


async def test_progress_that_cannot_be_saved_pauses(caplog: pytest.LogCaptureFixture) -> None:
    error = Incomplete(REMAINING, "no time is left", made_progress=True)
    assert await attempt(Scripted(error), 1, Lost()) == Retry(1)
    assert caplog.messages == [
        f"connection {ME}: what is done already will be done again: the table is away",
        f"connection {ME}: deferred, attempt 1: no time is left; again in 1 s",
    ]


async def test_nothing_is_begun_where_what_remains_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    handler = Scripted()
    assert await attempt(handler, 2, Lost()) == Retry(2)
    assert handler.handled == []
    assert caplog.messages == [f"connection {ME}: deferred, attempt 2: not begun: the table is away; again in 2 s"]


@pytest.mark.parametrize("error", [Incomplete(REMAINING, "full", made_progress=True), Incomplete(MESSAGE, "full")])
async def test_after_the_last_attempt_it_is_a_dead_letter(error: Incomplete, caplog: pytest.LogCaptureFixture) -> None:
    assert await attempt(Scripted(error), LAST) == DeadLetter(error.remaining)
    assert caplog.messages == [f"connection {ME}: deferred, attempt {LAST}: full; this was the last attempt"]


async def test_an_error_that_no_one_foresaw_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    assert await attempt(Scripted(ZeroDivisionError("by zero")), 2) == Retry(2)
    (record,) = caplog.records
    assert record.getMessage() == f"connection {ME}: deferred, attempt 2 failed; again in 2 s"
    assert record.exc_info is not None


async def test_each_kind_has_its_handler() -> None:
    notice = CloseNotice(ME, 1001, "", b"null")
    closes, continues = Scripted(None), Scripted(None)
    worker = DeferredWorker({Continuation: continues, CloseNotice: closes})
    for message in (notice, MESSAGE):
        await worker.attempt(message, 1, Saved(), deadline=1e12)
    assert (closes.handled, continues.handled) == ([notice], [MESSAGE])


def test_pauses_grow_from_a_second_to_a_quarter_of_an_hour() -> None:
    pauses = [retry_pause_s(attempt) for attempt in range(1, 14)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, MAX_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S]
    assert retry_pause_s(10_000) == MAX_RETRY_PAUSE_S


def test_attempts_fill_the_time_and_do_not_pass_it() -> None:
    attempts = attempts_within(RETRY_FOR_S)
    assert sum(map(retry_pause_s, range(1, attempts))) <= RETRY_FOR_S
    assert sum(map(retry_pause_s, range(1, attempts + 1))) > RETRY_FOR_S
