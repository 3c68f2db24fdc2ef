"""FIFO queues: order in each group, groups in flight, receipt handles, duplicates and dead letters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .cloud import Cloud

LONG = 600
"""A visibility timeout in seconds that no test outlives."""


class FifoQueue:
    def __init__(self, cloud: Cloud, **attributes: str) -> None:
        by_group = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
        self.url, self.arn = cloud.queue(fifo=True, **(by_group | attributes))
        self.sqs = cloud.client("sqs")

    def send(self, *bodies: str, **more: str) -> None:
        """Send bodies, each into the group of its first letter."""
        for body in bodies:
            parameters = {"MessageGroupId": body[0], "MessageDeduplicationId": body} | more
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **parameters)

    def receive(self, count: int = 10, timeout_s: int = LONG) -> dict[str, str]:
        """Return the receipt handles of the messages of a batch, by body, in their order."""
        received = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=count, VisibilityTimeout=timeout_s, WaitTimeSeconds=0
        )
        return {message["Body"]: message["ReceiptHandle"] for message in received.get("Messages", [])}

    def bodies(self, count: int = 10, timeout_s: int = LONG) -> list[str]:
        return [*self.receive(count, timeout_s)]

    def delete(self, *handles: str) -> None:
        for handle in handles:
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=handle)

    def show(self, *handles: str) -> None:
        """Make messages visible again."""
        for handle in handles:
            self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0)

    def counts(self) -> tuple[int, int]:
        """Return the numbers of visible messages and of those in flight."""
        prefix = "ApproximateNumberOfMessages"
        names = [prefix, f"{prefix}NotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


@pytest.fixture
def queue(cloud: Cloud) -> FifoQueue:
    return FifoQueue(cloud)


def error_of(call: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        call(*arguments)
    error = raised.value.response["Error"]
    return error["Code"], error["Message"]


def test_batch_has_the_oldest_group_first_and_then_others(queue: FifoQueue) -> None:
    queue.send("b1", "a1", "b2", "a2", "c1", "b3")
    assert queue.bodies(4) == ["b1", "b2", "b3", "a1"]
    assert queue.bodies() == ["c1"]
    assert queue.bodies() == []


def test_group_with_a_message_in_flight_delivers_no_other(queue: FifoQueue) -> None:
    queue.send("a1", "a2", "a3", "b1")
    first = queue.receive(2)
    assert [*first] == ["a1", "a2"]
    assert queue.bodies() == ["b1"]
    queue.delete(first["a1"])
    queue.send("a4")
    assert queue.bodies() == []
    queue.delete(first["a2"])
    assert queue.bodies() == ["a3", "a4"]


def test_messages_that_are_visible_again_come_in_their_order(queue: FifoQueue) -> None:
    queue.send("a1", "a2", "a3")
    first = queue.receive(2)
    queue.show(first["a2"])
    assert queue.bodies() == []
    queue.show(first["a1"])
    assert queue.bodies() == ["a1", "a2", "a3"]


def test_visibility_timeout_of_zero_shows_a_message_at_once(queue: FifoQueue) -> None:
    queue.send("a1")
    assert queue.bodies(timeout_s=0) == ["a1"]
    assert queue.bodies() == ["a1"]


def test_handle_counts_while_its_message_is_in_flight(queue: FifoQueue) -> None:
    queue.send("a1")
    old = queue.receive()["a1"]
    queue.show(old)
    expired = f"Value {old} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    for call in (queue.delete, queue.show):
        assert error_of(call, old) == ("InvalidParameterValue", expired)
    new = queue.receive()["a1"]
    assert error_of(queue.delete, old) == ("InvalidParameterValue", expired)
    queue.delete(new)
    queue.delete(new, old)
    assert error_of(queue.delete, "no handle")[0] == "ReceiptHandleIsInvalid"
    assert queue.bodies() == []


def test_batch_of_deletes_reports_an_expired_handle(queue: FifoQueue) -> None:
    queue.send("a1", "a2")
    handles = queue.receive()
    queue.show(handles["a2"])
    entries = [{"Id": body, "ReceiptHandle": handle} for body, handle in handles.items()]
    response = queue.sqs.delete_message_batch(QueueUrl=queue.url, Entries=entries)
    assert [entry["Id"] for entry in response["Successful"]] == ["a1"]
    assert [entry["Id"] for entry in response["Failed"]] == ["a2"]
    assert queue.bodies() == ["a2"]


def test_visibility_ends_after_twelve_hours(queue: FifoQueue) -> None:
    queue.send("a1")
    handle = queue.receive()["a1"]
    change = queue.sqs.change_message_visibility
    change(QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=43_100)
    code, message = error_of(lambda: change(QueueUrl=queue.url, ReceiptHandle=handle, VisibilityTimeout=43_200))
    assert code == "InvalidParameterValue"
    assert "beyond the limit [43200 seconds]" in message


def test_duplicates_are_those_of_a_group(queue: FifoQueue) -> None:
    queue.send("a1", "a1", "b1", MessageDeduplicationId="1")
    handles = queue.receive()
    assert [*handles] == ["a1", "b1"]
    queue.delete(*handles.values())
    queue.send("a1", MessageDeduplicationId="1")
    assert queue.bodies() == []


def test_duplicates_are_those_of_the_queue_where_that_is_the_scope(cloud: Cloud) -> None:
    queue = FifoQueue(cloud, DeduplicationScope="queue", FifoThroughputLimit="perQueue")
    queue.send("a1", "b1", MessageDeduplicationId="1")
    assert queue.bodies() == ["a1"]


def test_dead_letters_keep_their_order_and_are_not_duplicates(cloud: Cloud) -> None:
    dead = FifoQueue(cloud, DeduplicationScope="queue", FifoThroughputLimit="perQueue")
    policy = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1})
    queue = FifoQueue(cloud, RedrivePolicy=policy)
    queue.send("a1", "b1", MessageDeduplicationId="same")
    queue.send("a2")
    assert queue.bodies(timeout_s=0) == ["a1", "a2", "b1"]
    queue.send("a3")
    assert queue.bodies() == ["a3"]
    assert dead.bodies() == ["a1", "a2", "b1"]


def test_counts_are_those_of_all_groups(queue: FifoQueue) -> None:
    queue.send("a1", "a2", "b1")
    assert queue.counts() == (3, 0)
    handles = queue.receive(1)
    assert queue.counts() == (2, 1)
    queue.delete(*handles.values())
    assert queue.counts() == (2, 0)
    queue.sqs.purge_queue(QueueUrl=queue.url)
    assert queue.counts() == (0, 0)
    queue.send("c1")
    assert queue.bodies() == ["c1"]


def test_numbers_of_messages_grow(queue: FifoQueue) -> None:
    numbers = [
        queue.sqs.send_message(QueueUrl=queue.url, MessageBody=body, MessageGroupId="g")["SequenceNumber"]
        for body in ("x", "y", "z")
    ]
    assert numbers == sorted(set(numbers))
    assert {len(number) for number in numbers} == {20}
