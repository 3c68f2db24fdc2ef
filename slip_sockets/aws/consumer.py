"""Handles the batches of messages that Lambda's event source receives from a queue. Responses are partial.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import msgspec

from ..gateway.deferred import Deferred, merged
from ..gateway.errors import Unavailable
from ..gateway.observer import EventType, HandledEvent, handling
from ..gateway.ports import Clock, Queue
from ..gateway.values import Done
from ..gateway.worker import MAX_INBOUND_PAUSE_S, DeadLetter, Retry, Worker, retry_pause_s
from .checkpoints import Checkpoints, SqsCheckpoint
from .queue import MAX_RECEIVE_COUNT, SqsQueue, decode

log = logging.getLogger("slip_sockets.aws")

RELEASED_AFTER_S = 0.1
"""Of a batch that takes longer, each group is released once it is done: its next messages wait for no other group."""
TIME_FOR_ONE_S = 40.0
"""With less time no message is begun but the first of a group: a call of the backend takes 25 s at most, and its reply
has to be performed."""

SqsEvent = dict[str, Any]
BatchResponse = dict[str, Any]
Record = dict[str, Any]


class _Handled(msgspec.Struct, frozen=True):
    """A group's records: those that are done, and those that must come again after a pause."""

    done: Sequence[Record]
    failed: Sequence[Record] = ()
    pause_s: float = 0


class Consumer(msgspec.Struct, frozen=True):
    """Handles the batches of one queue.

    With `dead_letters`, a message that the worker gives up is put there at once, which frees its group. Without it SQS
    does that, by its redrive policy, after MAX_RECEIVE_COUNT attempts.
    """

    worker: Worker
    queue: SqsQueue
    checkpoints: Checkpoints
    clock: Clock
    dead_letters: Queue | None = None

    def of(self, queue: SqsQueue, *, dead_letters: Queue) -> Consumer:
        """Return the same for another queue, which has no redrive policy."""
        return msgspec.structs.replace(self, queue=queue, dead_letters=dead_letters)

    async def handle(self, event: SqsEvent, *, deadline: float) -> BatchResponse:
        """Handle the records, those of a group in order, groups side by side. Return those that must come again.

        A record that fails takes all later ones of its group along, so that their order stays. They come back together
        after a pause that grows with the attempts. What was done of a message by then is not done again: its checkpoint
        has what is left.
        """
        groups: dict[str, list[Record]] = {}
        for record in event["Records"]:
            groups.setdefault(_group(record), []).append(record)
        if not groups:
            return {"batchItemFailures": []}
        tasks = [asyncio.create_task(self._handle_group(records, deadline)) for records in groups.values()]
        finished, pending = await asyncio.wait(tasks, timeout=RELEASED_AFTER_S)
        while pending:
            handled = [task.result() for task in finished]
            await self.queue.delete([record["receiptHandle"] for group in handled for record in group.done])
            await self._put_off(handled)
            finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        # Last, so that none comes back while this function is still busy with its group.
        await self._put_off([task.result() for task in finished])
        message_ids = {record["messageId"] for task in tasks for record in task.result().failed}
        in_order = [record["messageId"] for record in event["Records"] if record["messageId"] in message_ids]
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in in_order]}

    async def _put_off(self, handled: Iterable[_Handled]) -> None:
        await self.queue.change_visibility(
            {record["receiptHandle"]: group.pause_s for group in handled for record in group.failed}
        )

    async def _handle_group(self, records: Sequence[Record], deadline: float) -> _Handled:
        index = 0
        while index < len(records):
            if index and deadline - self.clock.now() < TIME_FOR_ONE_S:
                return _Handled(records[:index], records[index:])
            count, pause_s = await self._handle_first(records[index:], deadline)
            if pause_s is not None:
                for each in records[index:]:
                    if _attempt(each) >= MAX_RECEIVE_COUNT:
                        _log_dead_letter(each)
                return _Handled(records[:index], records[index:], pause_s)
            index += count
        return _Handled(records)

    async def _handle_first(self, records: Sequence[Record], deadline: float) -> tuple[int, float | None]:
        """Handle the first record, with the texts behind it that have been tried as often: again they are the same.

        Return how many were handled, and the seconds until they should come again, None where they are done.
        """
        record, attempt = records[0], _attempt(records[0])
        message_id = record["messageId"]
        try:
            first = decode(record["body"])
        except msgspec.DecodeError as error:
            # A retry cannot help. Without a pause it soon reaches the dead-letter queue, and frees its group.
            group = _group(record)
            log.error("message %s of group %s cannot be read: %s", message_id, group, error)
            return 1, 0
        behind = takewhile(lambda record: _attempt(record) == attempt, records[1:])
        message, count = merged([first, *_readable(behind)])
        checkpoint = SqsCheckpoint(self.checkpoints, message_id)
        match await self.worker.attempt(message, attempt, checkpoint, deadline=deadline):
            case Done():
                return count, None
            case Retry(after_s):
                return count, after_s
            case DeadLetter(remaining) if self.dead_letters is not None:
                return count, await self._give_up(remaining, self.dead_letters)
        return count, retry_pause_s(attempt)

    async def _give_up(self, message: Deferred, dead_letters: Queue) -> float | None:
        try:
            await dead_letters.put([message])
        except Unavailable as error:
            log.warning("%s: it cannot become a dead letter: %s", message.subject, error)
            return MAX_INBOUND_PAUSE_S
        with handling(HandledEvent(message.event_type, message.summary.connection_id)):
            log.error("%s: %s: a dead letter", message.subject, message.title)
        return None


def _readable(records: Iterable[Record]) -> Iterable[Deferred]:
    """Yield the messages up to the first that cannot be read; that one is logged when its turn comes."""
    for record in records:
        try:
            yield decode(record["body"])
        except msgspec.DecodeError:
            return


def sent_at(record: Record) -> float:
    """Return when a record was put into the queue, in Unix seconds."""
    return int(record["attributes"]["SentTimestamp"]) / 1000


def _group(record: Record) -> str:
    """Return a record's group. A standard queue has no groups, so that each record is one of its own."""
    group: str = record["attributes"].get("MessageGroupId") or record["messageId"]
    return group


def _attempt(record: Record) -> int:
    return int(record["attributes"]["ApproximateReceiveCount"])


def _log_dead_letter(record: Record) -> None:
    kind, connection_id = "unreadable", None
    with contextlib.suppress(msgspec.DecodeError):
        message = decode(record["body"])
        kind, connection_id = message.kind, message.summary.connection_id
    group = _group(record)
    with handling(HandledEvent(EventType.DEFERRED, connection_id)):
        log.error("message %s of group %s, %s, becomes a dead letter", record["messageId"], group, kind)
