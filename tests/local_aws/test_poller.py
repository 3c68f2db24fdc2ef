"""Queues feed functions: batches, retries, dead letters, and FIFO order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .cloud import TIMEOUT_S, Cloud, allow
from .waiting import ASK, WaitingFunction, WaitingRoom

POLLS = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
SOURCE = (
    ASK
    + """
def handler(event, context):
    reply = ask(event["Records"])
    if reply == "crash":
        os._exit(1)
    ids = {record["body"]: record["messageId"] for record in event["Records"]}
    return {"batchItemFailures": [{"itemIdentifier": ids.get(body, body)} for body in reply]}
"""
)


class Batch:
    """A batch of a function that waits."""

    def __init__(self, feed: Feed, function: WaitingFunction) -> None:
        self.records: list[dict[str, Any]] = function.event
        self.bodies: list[str] = [record["body"] for record in self.records]
        self._feed = feed
        self._function = function

    def show_again(self, *bodies: str) -> None:
        """Let these messages be visible again in a second, as a function may."""
        for record in self.records:
            if record["body"] in bodies:
                self._feed.cloud.client("sqs").change_message_visibility(
                    QueueUrl=self._feed.url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=1
                )

    def end(self, *failed: str) -> None:
        """Let the function report the messages that failed, by body."""
        self._function.reply(failed)

    def crash(self) -> None:
        self._function.reply("crash")


class Feed:
    """A queue and its function. No test takes as long as its visibility timeout."""

    def __init__(self, cloud: Cloud, *, queue: tuple[str, str] | None = None, fifo: bool = False, **attributes: str):
        self.waiting_room = WaitingRoom()
        self.cloud = cloud
        self.url, self.arn = queue or cloud.queue(fifo=fifo, **{"VisibilityTimeout": "600", **attributes})
        self.function = cloud.function(
            SOURCE, allow([*POLLS], self.arn), environment={"TEST": self.waiting_room.address}
        )

    def start(self, **settings: Any) -> str:
        """Let the queue feed the function; return the mapping's id."""
        reports = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
        return self.cloud.feed(self.function, self.arn, **(reports | settings))

    def send(self, *bodies: str, **more: Any) -> None:
        for body in bodies:
            self.cloud.client("sqs").send_message(QueueUrl=self.url, MessageBody=body, **more)

    def next(self) -> Batch:
        """Wait for a batch."""
        return Batch(self, self.waiting_room.next())

    def wait_until_received(self, count: int) -> None:
        """Wait until as many messages are invisible: received, and not deleted."""
        name = "ApproximateNumberOfMessagesNotVisible"
        deadline = time.monotonic() + TIMEOUT_S
        while (received := self._attribute(name)) != str(count):
            assert time.monotonic() < deadline, f"{received} messages are invisible"

    def _attribute(self, name: str) -> str:
        sqs = self.cloud.client("sqs")
        return str(sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"][name])


class Feeds:
    """Makes feeds, and closes their waiting rooms."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._made: list[Feed] = []

    def __call__(self, **settings: Any) -> Feed:
        self._made.append(Feed(self._cloud, **settings))
        return self._made[-1]

    def poll_once(self) -> None:
        """Return when the poller has polled all queues."""
        other = self()
        other.send("x")
        other.start()
        other.next().end()

    def close(self) -> None:
        for feed in self._made:
            feed.waiting_room.__exit__(None, None, None)


@pytest.fixture
def feeds(cloud: Cloud) -> Iterator[Feeds]:
    feeds = Feeds(cloud)
    yield feeds
    feeds.close()


def test_record_is_as_in_lambda(feeds: Feeds) -> None:
    feed = feeds(fifo=True)
    attribute = {"DataType": "String", "StringValue": "v"}
    feed.send("hello", MessageGroupId="g", MessageDeduplicationId="d", MessageAttributes={"name": attribute})
    feed.start()
    batch = feed.next()
    batch.end()
    (record,) = batch.records
    assert record["body"] == "hello"
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == feed.arn
    assert record["awsRegion"] == "us-east-1"
    assert record["md5OfBody"] == "5d41402abc4b2a76b9719d911017c592"
    assert record["messageAttributes"]["name"] == {
        "stringValue": "v",
        "binaryValue": None,
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": "String",
    }
    attributes = record["attributes"]
    assert attributes["ApproximateReceiveCount"] == "1"
    assert attributes["MessageGroupId"] == "g"
    assert attributes["MessageDeduplicationId"] == "d"
    assert {"SentTimestamp", "SequenceNumber", "SenderId", "ApproximateFirstReceiveTimestamp"} <= attributes.keys()
    assert {"messageId", "receiptHandle"} <= record.keys()


def test_batch_is_as_large_as_the_mapping_says(feeds: Feeds) -> None:
    feed = feeds()
    feed.send("a", "b", "c")
    feed.start(BatchSize=2)
    batches = [feed.next(), feed.next()]
    for batch in batches:
        batch.end()
    assert sorted(len(batch.records) for batch in batches) == [1, 2]


def test_only_failed_messages_come_again(feeds: Feeds) -> None:
    feed = feeds()
    feed.send("a", "b", "c")
    feed.start()
    first = feed.next()
    assert sorted(first.bodies) == ["a", "b", "c"]
    first.show_again("b")
    first.end("b")
    again = feed.next()
    again.end()
    assert again.bodies == ["b"]
    assert again.records[0]["attributes"]["ApproximateReceiveCount"] == "2"
    feed.wait_until_received(0)


@pytest.mark.parametrize("failure", ["crash", "unknown id"])
def test_all_come_again_after_a_failure_of_the_function(feeds: Feeds, failure: str) -> None:
    feed = feeds()
    feed.send("a", "b")
    feed.start()
    batch = feed.next()
    batch.show_again("a", "b")
    if failure == "crash":
        batch.crash()
    else:
        batch.end("an id that is in no batch")
    seen: list[str] = []
    while len(seen) < 2:
        batch = feed.next()
        batch.end()
        seen += batch.bodies
    assert sorted(seen) == ["a", "b"]


def test_failures_are_not_read_where_the_mapping_does_not_say_so(feeds: Feeds) -> None:
    feed = feeds(fifo=True)
    feed.send("a", "b", MessageGroupId="g")
    feed.start(FunctionResponseTypes=[], BatchSize=1)
    feed.next().end("a")
    batch = feed.next()
    batch.end()
    assert batch.bodies == ["b"]


def test_message_comes_again_when_the_queues_visibility_timeout_has_passed(feeds: Feeds) -> None:
    feed = feeds(VisibilityTimeout="1")
    feed.send("a")
    feed.start()
    batch = feed.next()
    batch.end("a")
    again = feed.next()
    again.end()
    assert again.bodies == ["a"]


def test_message_that_keeps_failing_is_a_dead_letter(cloud: Cloud, feeds: Feeds) -> None:
    dead = feeds()
    dead.start()
    redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2})
    feed = feeds(RedrivePolicy=redrive)
    feed.send("bad")
    feed.start()
    for _ in range(2):
        batch = feed.next()
        batch.show_again("bad")
        batch.end("bad")
    letter = dead.next()
    letter.end()
    assert letter.bodies == ["bad"]


def test_messages_of_a_group_come_one_after_another(feeds: Feeds) -> None:
    feed = feeds(fifo=True)
    feed.send("1", "2", "3", MessageGroupId="g")
    feed.start(BatchSize=1)
    for body, failed in (("1", []), ("2", ["2"]), ("2", []), ("3", [])):
        batch = feed.next()
        assert batch.bodies == [body]
        batch.show_again(*failed)
        batch.end(*failed)


def test_batch_of_a_group_that_failed_comes_again_in_order(feeds: Feeds) -> None:
    feed = feeds(fifo=True)
    feed.send("1", "2", "3", MessageGroupId="g")
    feed.start()
    first = feed.next()
    assert first.bodies == ["1", "2", "3"]
    first.show_again("2", "3")
    first.end("2", "3")
    seen: list[str] = []
    while len(seen) < 2:
        batch = feed.next()
        batch.end()
        seen += batch.bodies
    assert seen == ["2", "3"]


def test_batch_has_messages_of_several_groups(cloud: Cloud, feeds: Feeds) -> None:
    """The function may delete one of them itself; a group waits until all of its messages have been handled."""
    feed = feeds(fifo=True)
    for body in ("a1", "b1", "a2", "b2", "c1"):
        feed.send(body, MessageGroupId=body[0])
    feed.start(BatchSize=10)
    first = feed.next()
    assert first.bodies == ["a1", "a2", "b1", "b2", "c1"]
    cloud.client("sqs").delete_message(QueueUrl=feed.url, ReceiptHandle=first.records[0]["receiptHandle"])
    feed.send("a3", MessageGroupId="a")
    feed.send("d1", MessageGroupId="d")
    second = feed.next()
    assert second.bodies == ["d1"]
    second.end()
    first.end()
    third = feed.next()
    third.end()
    assert third.bodies == ["a3"]


def test_groups_run_side_by_side(cloud: Cloud, feeds: Feeds) -> None:
    feed = feeds(fifo=True)
    for group in ("a", "b"):
        feed.send(f"{group}1", f"{group}2", MessageGroupId=group)
    feed.start(BatchSize=1)
    for expected in (["a1", "b1"], ["a2", "b2"]):
        both = [feed.next(), feed.next()]
        assert sorted(batch.bodies[0] for batch in both) == expected
        for batch in both:
            batch.end()


def test_disabled_mapping_delivers_nothing_until_it_is_enabled(cloud: Cloud, feeds: Feeds) -> None:
    feed = feeds()
    mapping = feed.start(Enabled=False)
    feed.send("a")
    feeds.poll_once()
    assert cloud.aws.environments(feed.function.arn) == 0
    cloud.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=True)
    batch = feed.next()
    batch.end()
    assert batch.bodies == ["a"]


@pytest.mark.parametrize("missing", ["sqs:ReceiveMessage", "sqs:GetQueueAttributes"])
def test_role_that_may_not_receive_is_not_fed(
    cloud: Cloud, feeds: Feeds, caplog: pytest.LogCaptureFixture, missing: str
) -> None:
    feed = feeds()
    feed.function.allow(
        allow([action for action in POLLS if action != missing], feed.arn), allow(missing, f"{feed.arn}-other")
    )
    feed.send("a")
    feed.start()
    feeds.poll_once()
    assert cloud.aws.environments(feed.function.arn) == 0
    (problem,) = [record.getMessage() for record in caplog.records if feed.arn in record.getMessage()]
    assert problem.startswith(f"{feed.function.name} cannot be fed from {feed.arn}: User: arn:aws:sts::")
    assert f"is not authorized to perform: {missing} on resource" in problem
    feed.function.allow(allow([*POLLS], feed.arn))
    batch = feed.next()
    batch.end()
    assert batch.bodies == ["a"]
