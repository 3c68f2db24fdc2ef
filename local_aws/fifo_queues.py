"""FIFO queues by group. moto's are lists: each call goes through all messages, some calls many times.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from moto.core.utils import unix_time_millis
from moto.sqs.exceptions import InvalidParameterValue, ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, _filter_message_attributes

DEDUPLICATED_FOR_MS = 5 * 60 * 1000
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""
MAX_VISIBILITY_S = 12 * 60 * 60


def correct_fifo_queues(backend: Any) -> None:
    """Let the FIFO queues of moto's backend for SQS be FifoQueues."""
    for queue in backend.queues.values():
        if queue.fifo_queue and not isinstance(queue, FifoQueue):
            FifoQueue.adopt(queue)
    if "receive_message" not in vars(backend):
        backend.receive_message = partial(_receive_message, backend, backend.receive_message)
        backend.change_message_visibility = partial(_change_visibility, backend, backend.change_message_visibility)


def _receive_message(
    backend: Any,
    of_moto: Callable[..., list[Message]],
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: Sequence[str] = (),
) -> list[Message]:
    """It does not wait: `AwsApis` does."""
    queue = backend.get_queue(queue_name)
    if isinstance(queue, FifoQueue):
        return queue.receive(count, visibility_timeout, message_attribute_names)
    return of_moto(queue_name, count, wait_seconds_timeout, visibility_timeout, list(message_attribute_names))


def _change_visibility(
    backend: Any, of_moto: Callable[..., None], queue_name: str, receipt_handle: str, visibility_timeout: int
) -> None:
    queue = backend.get_queue(queue_name)
    if isinstance(queue, FifoQueue):
        queue.change_visibility(receipt_handle, visibility_timeout)
    else:
        of_moto(queue_name, receipt_handle, visibility_timeout)


class HandleExpired(ReceiptHandleIsInvalid):
    """A FIFO queue takes the handle of a message only until its visibility timeout has passed."""

    def __init__(self, handle: str) -> None:
        text = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
        super(ReceiptHandleIsInvalid, self).__init__("InvalidParameterValue", text)


class FifoQueue(Queue):
    """A group with a message in flight delivers no other one. A batch has as many messages as possible of the group
    that waits longest, then of the next.
    """

    _groups: dict[str, deque[Message]]
    """All messages, by group; those of a group in the order in which they were sent."""
    _size: int
    _number: int
    """Of the last message; the first has 1."""
    _sent_ms: dict[tuple[str | None, str | None], int]
    """When a message was sent, by its deduplication id, and by its group if that is the scope; oldest first."""

    @classmethod
    def adopt(cls, queue: Queue) -> None:
        """Make a FIFO queue of moto's one of these."""
        messages = vars(queue).pop("_messages")
        queue.__class__ = cls
        adopted = cast(FifoQueue, queue)
        adopted._number, adopted._sent_ms = 0, {}
        adopted._messages = messages

    @property
    def _messages(self) -> list[Message]:  # moto has an attribute, which it sets to purge
        messages = (message for group in self._groups.values() for message in group)
        return sorted(messages, key=lambda message: message.sequence_number or "")

    @_messages.setter
    def _messages(self, messages: list[Message]) -> None:
        self._groups, self._size = {}, 0
        for message in messages:
            self.put(message)

    def add_message(self, message: Message) -> None:
        """Put a message that was sent at the end of its group. A duplicate of one that was sent within five minutes is
        dropped, also if that one is deleted."""
        now_ms = cast(int, message.sent_timestamp)
        while self._sent_ms and now_ms - next(iter(self._sent_ms.values())) >= DEDUPLICATED_FOR_MS:
            del self._sent_ms[next(iter(self._sent_ms))]
        is_by_group = vars(self)["deduplication_scope"] == "messageGroup"
        key = (message.group_id if is_by_group else None, message.deduplication_id)
        if key not in self._sent_ms:
            self._sent_ms[key] = now_ms
            self.put(message)

    def put(self, message: Message) -> None:
        self._number += 1
        message.sequence_number = f"{self._number:020}"
        self._groups.setdefault(str(message.group_id), deque()).append(message)
        self._size += 1

    def has_deliverable(self) -> bool:
        """Return whether a group without a message in flight has messages."""
        return bool(self._free_groups())

    def receive(self, count: int, visibility_timeout_s: int, attribute_names: Sequence[str]) -> list[Message]:
        """Return copies of at most `count` messages, which are in flight from now on."""
        received: list[Message] = []
        for group in self._free_groups():
            for message in tuple(group):
                if len(received) == count:
                    return received
                if message.delayed:
                    break
                if self._is_too_old(message):
                    self._remove(message)
                elif self._is_dead(message):
                    self._remove(message)
                    _put(cast(Queue, self.dead_letter_queue), message)
                else:
                    message.mark_received(visibility_timeout_s)
                    self._pending_messages.add(message)
                    received.append(copy.copy(message))
                    _filter_message_attributes(received[-1], list(attribute_names))
        return received

    def delete_message(self, receipt_handle: str) -> None:
        """Raises ReceiptHandleIsInvalid."""
        if receipt_handle not in self.deleted_messages:
            message = self._held(receipt_handle)
            self._remove(message)
            self.deleted_messages.update(filter(None, message.all_receipt_handles))

    def change_visibility(self, receipt_handle: str, timeout_s: int) -> None:
        """Raises ReceiptHandleIsInvalid, InvalidParameterValue."""
        message = self._held(receipt_handle)
        received_ms = cast(int, message.approximate_first_receive_timestamp)
        if unix_time_millis() + timeout_s * 1000 - received_ms > MAX_VISIBILITY_S * 1000:
            raise InvalidParameterValue(
                f"Value {timeout_s} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for "
                f"the message is beyond the limit [{MAX_VISIBILITY_S} seconds]"
            )
        message.change_visibility(timeout_s)

    @property
    def approximate_number_of_messages(self) -> int:
        return (
            self._size - self.approximate_number_of_messages_delayed - self.approximate_number_of_messages_not_visible
        )

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        """In a FIFO queue only the queue has a delay."""
        return sum(message.delayed for message in self._messages) if vars(self)["delay_seconds"] else 0

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        return len(self._in_flight())

    def _in_flight(self) -> set[Message]:
        now_ms = unix_time_millis()  # `message.visible` would look at the clock for each one
        self._pending_messages = {message for message in self._pending_messages if message.visible_at > now_ms}
        return self._pending_messages

    def _free_groups(self) -> list[deque[Message]]:
        """Return the groups without a message in flight; first the one whose next message was sent first."""
        busy = {message.group_id for message in self._in_flight()}
        free = [messages for group, messages in self._groups.items() if group not in busy and not messages[0].delayed]
        return sorted(free, key=lambda messages: messages[0].sequence_number or "")

    def _held(self, receipt_handle: str) -> Message:
        """Return the message in flight with this handle."""
        for message in self._in_flight():
            if message.receipt_handle == receipt_handle:
                return message
        if any(message.had_receipt_handle(receipt_handle) for message in self._messages):
            raise HandleExpired(receipt_handle)
        raise ReceiptHandleIsInvalid

    def _remove(self, message: Message) -> None:
        group = self._groups[str(message.group_id)]
        group.remove(message)
        self._size -= 1
        self._pending_messages.discard(message)
        if not group:
            del self._groups[str(message.group_id)]

    def _is_too_old(self, message: Message) -> bool:
        age_ms = unix_time_millis() - cast(int, message.sent_timestamp)
        return bool(age_ms >= vars(self)["message_retention_period"] * 1000)

    def _is_dead(self, message: Message) -> bool:
        policy = vars(self).get("redrive_policy")
        return bool(policy and message.approximate_receive_count >= policy["maxReceiveCount"])


def _put(queue: Queue, message: Message) -> None:
    """Move a message into a dead-letter queue, which takes it also if it is a duplicate there."""
    if isinstance(queue, FifoQueue):
        queue.put(message)
    else:
        queue.add_message(message)
