"""What Lambda's event source hands over of the queue, with partial batch responses.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from ..gateway.plan import retry_pause_s
from ..gateway.ports import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk, Keep, NotDone, Unavailable
from .queue import MAX_RECEIVE_COUNT, SqsQueue, decode, encode
from .watch import line_fields

log = logging.getLogger("slip_sockets.aws")

SqsEvent = dict[str, Any]
BatchResponse = dict[str, Any]


class Handle(Protocol):
    """Does what a message says, before `deadline` (Unix seconds). Raises NotDone."""

    def __call__(self, message: Deferred, keep: Keep, *, deadline: float) -> Awaitable[None]: ...


class Progress(Protocol):
    """What is left to do of messages that were begun. Both methods may raise Unavailable."""

    async def keep(self, message_id: str, rest: str) -> None:
        """Remember the body of what is left, in the place of an earlier one."""

    async def kept(self, message_id: str) -> str | None: ...


async def handle_batch(
    event: SqsEvent, handle: Handle, queue: SqsQueue, progress: Progress, *, deadline: float
) -> BatchResponse:
    """Handle the records in order and return those that must come again.

    One that fails takes all later ones of its group along, so that their order stays; other groups go on. They come
    back together after a pause that grows with the attempts. What was done of it by then is not done again: `progress`
    knows what is left. SQS gives up by its redrive policy, after MAX_RECEIVE_COUNT attempts.
    """
    pauses_s: dict[str, float] = {}  # by group
    failed = []
    for record in event["Records"]:
        group = record["attributes"]["MessageGroupId"]
        if group not in pauses_s:
            pause_s = await _handle(record, handle, progress, deadline)
            if pause_s is None:
                continue
            pauses_s[group] = pause_s
        failed.append(record)
        if _attempt(record) >= MAX_RECEIVE_COUNT:
            log.error("message %s of group %s, %s, becomes a dead letter", record["messageId"], group, _kind(record))
    # Last, so that none comes back while this function is still busy.
    queue.rest({record["receiptHandle"]: pauses_s[record["attributes"]["MessageGroupId"]] for record in failed})
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


async def _handle(record: dict[str, Any], handle: Handle, progress: Progress, deadline: float) -> float | None:
    """Return None where it is done, else the seconds until it should be tried again."""
    message_id, attempt = record["messageId"], _attempt(record)
    line_fields.connection_id = None
    try:
        message = decode(record["body"])
    except msgspec.DecodeError as error:
        # Time does not mend it: without a pause it is soon a dead letter, and out of the way of its group.
        group = record["attributes"]["MessageGroupId"]
        log.error("message %s of group %s cannot be read: %s", message_id, group, error)
        return 0
    subject = _subject(message)
    line_fields.connection_id = getattr(message, "connection_id", None)
    pause_s = retry_pause_s(attempt)
    what_next = f"again in {pause_s:g} s" if attempt < MAX_RECEIVE_COUNT else "it was the last"
    try:
        if attempt > 1:
            message = await _left(message, message_id, progress)
    except Unavailable as error:  # whatever has been done would be done again
        log.warning("%s: deferred, attempt %d: not begun: %s; %s", subject, attempt, error, what_next)
        return pause_s

    async def keep(rest: Deferred) -> None:
        await progress.keep(message_id, encode(rest))

    try:
        await handle(message, keep, deadline=deadline)
    except NotDone as error:
        is_kept = error.rest == message or await _is_kept(error.rest, subject, keep)
        if error.has_advanced and is_kept and attempt < MAX_RECEIVE_COUNT:
            log.info("%s: deferred, attempt %d: %s; it goes on at once", subject, attempt, error)
            return 0
        log.warning("%s: deferred, attempt %d: %s; %s", subject, attempt, error, what_next)
        return pause_s
    except Exception:
        log.exception("%s: deferred, attempt %d failed; %s", subject, attempt, what_next)
        return pause_s
    return None


async def _left(message: Deferred, message_id: str, progress: Progress) -> Deferred:
    """Return what earlier attempts left of a message: the whole where they kept nothing. Raises Unavailable."""
    rest = await progress.kept(message_id)
    if rest is None:
        return message
    try:
        return decode(rest)
    except msgspec.DecodeError as error:
        log.error("%s: what was left cannot be read, the whole is done again: %s", _subject(message), error)
        return message


async def _is_kept(rest: Deferred, subject: str, keep: Keep) -> bool:
    try:
        await keep(rest)
    except Unavailable as error:
        log.warning("%s: what was done will be done again: %s", subject, error)
        return False
    return True


def _attempt(record: dict[str, Any]) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def _kind(record: dict[str, Any]) -> str:
    try:
        return str(decode(record["body"]).__struct_config__.tag)
    except msgspec.DecodeError:
        return "unreadable"


def _subject(message: Deferred) -> str:
    """Return whom a message is about, for the log."""
    match message:
        case Continuation() | CloseNotice():
            return f"connection {message.connection_id}"
        case FanOut():
            return f"channel {message.event.channel!r:.60}"
        case FanOutChunk(shard=None):
            return f"channel {message.event.channel!r:.60}, connection {', '.join(message.connection_ids)}"
        case FanOutChunk():
            return f"channel {message.event.channel!r:.60}, shard {message.shard}"
