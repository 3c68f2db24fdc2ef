"""One attempt at a deferred message: its remaining part is done, saved, or tried again after a pause.

A transport (the queue's consumer) brings messages, in order within a group, and counts their attempts.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from .deferred import Deferred
from .errors import Incomplete, Unavailable
from .observer import EventType, HandledEvent, handling
from .ports import Checkpoint
from .values import Done

log = logging.getLogger("slip_sockets.gateway")

MAX_RETRY_PAUSE_S = 900.0


class Retry(msgspec.Struct, frozen=True):
    """The message must come again, after a pause."""

    after_s: float


class DeadLetter(msgspec.Struct, frozen=True):
    """The attempt failed, and it was the last one."""


def retry_pause_s(attempt: int) -> float:
    """Return the pause after the failed `attempt` (1 for the first): 1 s, doubled each time, at most 15 minutes."""
    return min(2.0 ** min(attempt - 1, 10), MAX_RETRY_PAUSE_S)


@functools.cache
def attempts_within(seconds: float) -> int:
    """Return how many attempts those pauses leave room for in `seconds`."""
    attempt, elapsed = 1, 0.0
    while elapsed + retry_pause_s(attempt) <= seconds:
        elapsed += retry_pause_s(attempt)
        attempt += 1
    return attempt


class Handler(Protocol):
    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        """Do what a message of one kind says, in time before `deadline` (Unix seconds). Raises Incomplete."""


class Worker(Protocol):
    """What a transport calls."""

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        """Make the attempt with this number (1 for the first) at a message, in time before `deadline` (Unix seconds).

        It raises nothing.
        """


class DeferredWorker:
    """A Worker that has a handler for each kind of message."""

    def __init__(self, handlers: Mapping[type[Any], Handler]) -> None:
        self._handlers = handlers

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        connection_id = message.summary.connection_id
        with handling(HandledEvent(EventType.DEFERRED, connection_id)):
            return await self._attempt(message, number, checkpoint, deadline)

    async def _attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, deadline: float
    ) -> Done | Retry | DeadLetter:
        subject = message.subject
        is_last = number >= attempts_within(message.retry_for_s)
        pause_s = retry_pause_s(number)
        failed: Retry | DeadLetter = DeadLetter() if is_last else Retry(pause_s)
        what_next = "this was the last attempt" if is_last else f"again in {pause_s:g} s"
        try:
            if number > 1:
                message = await checkpoint.load() or message
        except Unavailable as error:  # to begin would mean to repeat the part that is done already
            log.warning("%s: deferred, attempt %d: not begun: %s; %s", subject, number, error, what_next)
            return failed
        try:
            await self._handlers[type(message)](message, checkpoint, deadline=deadline)
        except Incomplete as error:
            is_saved = error.remaining == message or await _is_saved(error.remaining, subject, checkpoint)
            if error.made_progress and is_saved and not is_last:
                log.info("%s: deferred, attempt %d: %s; it goes on at once", subject, number, error)
                return Retry(0)
            if error.pause_s is not None and not is_last:
                # The transport counts it as an attempt nevertheless: with pauses that grow they last for as long as
                # those of a failing message.
                pause_s = max(error.pause_s, pause_s)
                log.info("%s: deferred, attempt %d: %s; again in %.0f s", subject, number, error, pause_s)
                return Retry(pause_s)
            log.warning("%s: deferred, attempt %d: %s; %s", subject, number, error, what_next)
            return failed
        except Exception:
            log.exception("%s: deferred, attempt %d failed; %s", subject, number, what_next)
            return failed
        return Done()


async def _is_saved(remaining: Deferred, subject: str, checkpoint: Checkpoint) -> bool:
    try:
        await checkpoint.save(remaining)
    except Unavailable as error:
        log.warning("%s: what is done already will be done again: %s", subject, error)
        return False
    return True
