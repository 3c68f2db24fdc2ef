"""Handles the batches of messages that Lambda's event source receives from the queue. Responses are partial.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from ..gateway.observer import EventType, HandledEvent, handling
from ..gateway.values import Done
from ..gateway.worker import Retry, Worker, retry_pause_s
from .checkpoints import Checkpoints, SqsCheckpoint
from .queue import MAX_RECEIVE_COUNT, SqsQueue, decode

log = logging.getLogger("slip_sockets.aws")

SqsEvent = dict[str, Any]
BatchResponse = dict[str, Any]
Record = dict[str, Any]


class _Failed(msgspec.Struct, frozen=True):
    """Records of one group that must come again, after a pause."""

    records: Sequence[Record]
    pause_s: float


async def handle_batch(
    event: SqsEvent, worker: Worker, queue: SqsQueue, checkpoints: Checkpoints, *, deadline: float
) -> BatchResponse:
    """Handle the records, those of a group in order, groups side by side. Return those that must come again.

    A record that fails takes all later ones of its group along, so that their order stays. They come back together
    after a pause that grows with the attempts. What was done of a message by then is not done again: its checkpoint has
    what is left. SQS gives up by its redrive policy, after MAX_RECEIVE_COUNT attempts.
    """
    groups: dict[str, list[Record]] = {}
    for record in event["Records"]:
        groups.setdefault(record["attributes"]["MessageGroupId"], []).append(record)
    results = await asyncio.gather(
        *(_handle_group(records, worker, checkpoints, deadline) for records in groups.values())
    )
    failed = [result for result in results if result is not None]
    # Last, so that none comes back while this function is still busy.
    await queue.change_visibility(
        {record["receiptHandle"]: group.pause_s for group in failed for record in group.records}
    )
    message_ids = {record["messageId"] for group in failed for record in group.records}
    in_order = [record["messageId"] for record in event["Records"] if record["messageId"] in message_ids]
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in in_order]}


async def _handle_group(
    records: Sequence[Record], worker: Worker, checkpoints: Checkpoints, deadline: float
) -> _Failed | None:
    """Return None where all of them are done."""
    for index, record in enumerate(records):
        pause_s = await _handle(record, worker, checkpoints, deadline)
        if pause_s is not None:
            failed = _Failed(records[index:], pause_s)
            for each in failed.records:
                if _attempt(each) >= MAX_RECEIVE_COUNT:
                    _log_dead_letter(each)
            return failed
    return None


async def _handle(record: Record, worker: Worker, checkpoints: Checkpoints, deadline: float) -> float | None:
    """Return None where the record is done, else the seconds until it should come again."""
    message_id, attempt = record["messageId"], _attempt(record)
    try:
        message = decode(record["body"])
    except msgspec.DecodeError as error:
        # A retry cannot help. Without a pause it soon reaches the dead-letter queue, and frees its group.
        group = record["attributes"]["MessageGroupId"]
        log.error("message %s of group %s cannot be read: %s", message_id, group, error)
        return 0
    match await worker.attempt(message, attempt, SqsCheckpoint(checkpoints, message_id), deadline=deadline):
        case Done():
            return None
        case Retry(after_s):
            return after_s
    return retry_pause_s(attempt)


def sent_at(record: Record) -> float:
    """Return when a record was put into the queue, in Unix seconds."""
    return int(record["attributes"]["SentTimestamp"]) / 1000


def _attempt(record: Record) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def _log_dead_letter(record: Record) -> None:
    kind, connection_id = "unreadable", None
    with contextlib.suppress(msgspec.DecodeError):
        message = decode(record["body"])
        kind, connection_id = message.kind, message.summary.connection_id
    group = record["attributes"]["MessageGroupId"]
    with handling(HandledEvent(EventType.DEFERRED, connection_id)):
        log.error("message %s of group %s, %s, becomes a dead letter", record["messageId"], group, kind)
