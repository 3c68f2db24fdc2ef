"""What Lambda's event source hands over of the queue, with partial batch responses.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from ..gateway.plan import retry_pause_s
from ..gateway.ports import Deferred, NotDone, Unavailable
from .queue import SqsQueue, decode

log = logging.getLogger("slip_sockets.aws")

SqsEvent = dict[str, Any]
BatchResponse = dict[str, Any]


async def handle_batch(
    event: SqsEvent, handle: Callable[[Deferred], Awaitable[None]], queue: SqsQueue
) -> BatchResponse:
    """Handle the records in order and return those that must come again.

    One that fails takes all later ones of its group along, so that their order stays; other groups go on. They come
    back together after a pause that grows with the attempts. SQS gives up by its redrive policy, after
    MAX_RECEIVE_COUNT attempts.
    """
    pauses_s: dict[str, float] = {}  # by group
    failed = []
    for record in event["Records"]:
        group = record["attributes"]["MessageGroupId"]
        if group not in pauses_s:
            pause_s = await _handle(record, handle, queue)
            if pause_s is None:
                continue
            pauses_s[group] = pause_s
        failed.append(record)
    # Last, so that none comes back while this function is still busy.
    queue.rest({record["receiptHandle"]: pauses_s[record["attributes"]["MessageGroupId"]] for record in failed})
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


async def _handle(
    record: dict[str, Any], handle: Callable[[Deferred], Awaitable[None]], queue: SqsQueue
) -> float | None:
    """Return None where it is done, else the seconds until it should be tried again."""
    attributes = record["attributes"]
    group = attributes["MessageGroupId"]
    attempt = int(attributes["ApproximateReceiveCount"])
    try:
        message = decode(record["body"])
    except msgspec.DecodeError as error:
        # Time does not mend it: without a pause it is soon a dead letter, and out of the way of its group.
        log.error("connection %s: message %s cannot be read: %s", group, record["messageId"], error)
        return 0
    pause_s = retry_pause_s(attempt)
    try:
        await handle(message)
    except NotDone as error:
        log.warning("connection %s: deferred, attempt %d: %s; again in %g s", group, attempt, error, pause_s)
        return None if await _is_replaced(message, error.rest, queue) else pause_s
    except Exception:
        log.exception("connection %s: deferred, attempt %d failed; again in %g s", group, attempt, pause_s)
        return pause_s
    return None


async def _is_replaced(message: Deferred, rest: Deferred, queue: SqsQueue) -> bool:
    """Put what is left in the place of a message that was half done, so that its first half is not done again.

    Its place is then behind whatever the group holds by now; where nothing was done yet, it keeps its own.
    """
    if rest == message:
        return False
    try:
        await queue.put([rest])
    except Unavailable as error:
        log.warning("connection %s: what was done will be done again: %s", message.connection_id, error)
        return False
    return True
