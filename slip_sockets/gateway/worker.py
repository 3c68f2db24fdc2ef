"""One attempt at a deferred message: its remaining part is done, saved, or tried again after a pause.

A transport (the queue's consumer) brings messages, in order within a group, and counts their attempts.
"""

from __future__ import annotations

import enum
import functools
import logging
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from .deferred import Deferred, Texts
from .errors import Incomplete, Unavailable
from .observer import HandledEvent, handling
from .ports import Checkpoint, Queue
from .values import Done

log = logging.getLogger("slip_sockets.gateway")


class Inbound(enum.StrEnum):
    """How what clients send comes to the backend: at once, or by a queue, in order. The setting INBOUND."""

    DIRECT = "direct"
    ORDERED = "ordered"


MAX_RETRY_PAUSE_S = 900.0
MAX_INBOUND_PAUSE_S = 10.0
"""Between attempts at a connection's texts, while later ones wait."""
DEFAULT_INBOUND_RETRY_S = 60
MIN_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S = 10, 240
"""Seconds for which texts that the backend does not take are tried again. The most leaves a reserve: a queue may
count how often it hands a message out, also where it is not tried, and then gives it up."""


class Retry(msgspec.Struct, frozen=True):
    """The message must come again, after a pause."""

    after_s: float


class DeadLetter(msgspec.Struct, frozen=True):
    """The attempt failed, and it was the last one. `remaining` is what is left of the message."""

    remaining: Deferred


def retry_pause_s(attempt: int, at_most_s: float = MAX_RETRY_PAUSE_S) -> float:
    """Return the pause after the failed `attempt` (1 for the first): 1 s, doubled each time up to `at_most_s`."""
    return min(2.0 ** min(attempt - 1, 10), at_most_s)


@functools.cache
def attempts_within(seconds: float, pause_at_most_s: float = MAX_RETRY_PAUSE_S) -> int:
    """Return how many attempts those pauses leave room for in `seconds`."""
    attempt, elapsed = 1, 0.0
    while elapsed + retry_pause_s(attempt, pause_at_most_s) <= seconds:
        elapsed += retry_pause_s(attempt, pause_at_most_s)
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
    """A Worker that has a handler for each kind of message.

    A message is tried again for `retry_for_s`, None for as long as it is worth it, after pauses of at most
    `pause_at_most_s`.
    """

    def __init__(
        self,
        handlers: Mapping[type[Any], Handler],
        *,
        retry_for_s: float | None = None,
        pause_at_most_s: float = MAX_RETRY_PAUSE_S,
    ) -> None:
        self._handlers = handlers
        self._retry_for_s = retry_for_s
        self._pause_at_most_s = pause_at_most_s

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        with handling(HandledEvent(message.event_type, message.summary.connection_id)):
            return await self._attempt(message, number, checkpoint, deadline)

    async def _attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, deadline: float
    ) -> Done | Retry | DeadLetter:
        subject, pause_s = message.subject, retry_pause_s(number, self._pause_at_most_s)
        retry_for_s = message.retry_for_s if self._retry_for_s is None else self._retry_for_s
        is_last = number >= attempts_within(retry_for_s, self._pause_at_most_s)
        what_next = "this was the last attempt" if is_last else f"again in {pause_s:g} s"
        try:
            if number > 1:
                message = await checkpoint.load() or message
        except Unavailable as error:  # to begin would mean to repeat the part that is done already
            log.warning("%s: deferred, attempt %d: not begun: %s; %s", subject, number, error, what_next)
            return DeadLetter(message) if is_last else Retry(pause_s)
        try:
            await self._handlers[type(message)](message, checkpoint, deadline=deadline)
        except Incomplete as error:
            is_saved = error.remaining == message or await _is_saved(error.remaining, subject, checkpoint)
            if error.made_progress and is_saved and not is_last:
                log.info("%s: deferred, attempt %d: %s; it goes on at once", subject, number, error)
                return Retry(0)
            if error.pause_s is not None and not is_last:
                # The transport counts it as an attempt nevertheless: with pauses that grow they last for as long as
                # those of a failing message. Few exact ones are taken from these.
                pause_s = error.pause_s if error.is_exact else max(error.pause_s, pause_s)
                log.info("%s: deferred, attempt %d: %s; again in %.0f s", subject, number, error, pause_s)
                return Retry(pause_s)
            log.warning("%s: deferred, attempt %d: %s; %s", subject, number, error, what_next)
            return DeadLetter(error.remaining) if is_last else Retry(pause_s)
        except Exception:
            log.exception("%s: deferred, attempt %d failed; %s", subject, number, what_next)
            return DeadLetter(message) if is_last else Retry(pause_s)
        return Done()


class InboundWorker:
    """The Worker of what clients send, in order: nothing of a connection waits much longer than `retry_for_s`.

    Texts that the backend has not taken by then are a dead letter; anything else goes on in the queue of deferred
    messages, and no longer holds up what comes behind it.
    """

    def __init__(self, handlers: Mapping[type[Any], Handler], queue: Queue, *, retry_for_s: float) -> None:
        self._worker = DeferredWorker(handlers, retry_for_s=retry_for_s, pause_at_most_s=MAX_INBOUND_PAUSE_S)
        self._queue = queue

    async def attempt(
        self, message: Deferred, number: int, checkpoint: Checkpoint, *, deadline: float
    ) -> Done | Retry | DeadLetter:
        result = await self._worker.attempt(message, number, checkpoint, deadline=deadline)
        match result:
            case DeadLetter(Texts()):
                return result
            case DeadLetter(remaining):
                try:
                    await self._queue.put([remaining])
                except Unavailable as error:
                    log.warning("%s: deferred: it cannot be queued: %s", message.subject, error)
                    return Retry(MAX_INBOUND_PAUSE_S)
                return Done()
        return result


async def _is_saved(remaining: Deferred, subject: str, checkpoint: Checkpoint) -> bool:
    try:
        await checkpoint.save(remaining)
    except Unavailable as error:
        log.warning("%s: what is done already will be done again: %s", subject, error)
        return False
    return True
