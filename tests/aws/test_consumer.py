from __future__ import annotations

import copy
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.consumer import BatchResponse, Handle, SqsEvent, handle_batch
from slip_sockets.aws.queue import MAX_RECEIVE_COUNT, SqsQueue, decode, encode
from slip_sockets.errors import SlipSocketsError
from slip_sockets.events import PublishText, SendText
from slip_sockets.gateway.plan import MAX_RETRY_PAUSE_S
from slip_sockets.gateway.ports import (
    CloseNotice,
    Continuation,
    Deferred,
    FanOut,
    FanOutChunk,
    Keep,
    NotDone,
    Unavailable,
)

from ..gateway.doubles import FakeClock
from .http_stub import RESET, Answer, HttpStub
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

A, B, C = "AAAAAAAAAAAAAAA=", "BBBBBBBBBBBBBBB=", "CCCCCCCCCCCCCCC="
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/deferred.fifo"
DEADLINE = 1_700_000_060.0
TEMPLATE = json.loads((Path(__file__).parents[1] / "events" / "sqs.json").read_text())

Batch = Callable[[SqsEvent, Handle], Awaitable[BatchResponse]]
"""`handle_batch` with the rest of what it needs."""


@pytest.fixture
def queue(stub: HttpStub) -> SqsQueue:
    return SqsQueue(client("sqs", stub.url), QUEUE_URL, FakeClock())


class Worker:
    """Does what it is given, or fails as a test says."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], Exception] = {}

    async def handle(self, message: Deferred, keep: Keep, *, deadline: float) -> None:
        assert deadline == DEADLINE
        assert isinstance(message, Continuation)
        (event,) = message.events
        assert isinstance(event, SendText)
        error = self.failures.get((message.connection_id, event.data))
        if isinstance(error, SlipSocketsError):
            raise NotDone(message, str(error))
        if error is not None:
            raise error
        self.done.append((message.connection_id, event.data))


class Notes:
    """A Progress in memory. `is_away` names the methods that are unavailable."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.asked: list[str] = []
        self.is_away: set[str] = set()

    async def keep(self, message_id: str, rest: str) -> None:
        if "keep" in self.is_away:
            raise Unavailable("the table is away")
        self.bodies[message_id] = rest

    async def kept(self, message_id: str) -> str | None:
        self.asked.append(message_id)
        if "kept" in self.is_away:
            raise Unavailable("the table is away")
        return self.bodies.get(message_id)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def batch(queue: SqsQueue, notes: Notes) -> Batch:
    return lambda event, handle: handle_batch(event, handle, queue, notes, deadline=DEADLINE)


def event_of(*messages: tuple[str, str], attempt: int = 1) -> SqsEvent:
    """Return an event with a record for each connection id and text; message ids are `m0`, `m1`, ..."""
    records = []
    for index, (connection_id, data) in enumerate(messages):
        record = copy.deepcopy(TEMPLATE["Records"][0])
        record["messageId"], record["receiptHandle"] = f"m{index}", f"r{index}"
        record["body"] = encode(Continuation(connection_id, [SendText(connection_id, data)]))
        record["attributes"]["MessageGroupId"] = connection_id
        record["attributes"]["ApproximateReceiveCount"] = str(attempt)
        records.append(record)
    return {"Records": records}


def failed(*message_ids: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in message_ids]}


def rested(stub: HttpStub) -> dict[str, int]:
    assert set(stub.operations) <= {"ChangeMessageVisibilityBatch"}
    entries = [entry for request in stub.requests for entry in request.json["Entries"]]
    return {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in entries}


async def test_documented_event_is_understood(batch: Batch, worker: Worker, stub: HttpStub) -> None:
    assert await batch(TEMPLATE, worker.handle) == failed()
    assert worker.done == [("AAAA1234AAAA123=", "hi")]
    assert stub.requests == []


async def test_records_are_handled_in_order(batch: Batch, worker: Worker) -> None:
    messages = [(A, "1"), (B, "1"), (A, "2"), (B, "2")]
    assert await batch(event_of(*messages), worker.handle) == failed()
    assert worker.done == messages


WHOLE = Continuation(A, [SendText(A, "1"), SendText(A, "2"), SendText(A, "3")])
REST = Continuation(A, WHOLE.events[1:])


def event_with(message: Deferred | str, *, attempt: int = 1) -> SqsEvent:
    event = event_of((A, "1"), attempt=attempt)
    (record,) = event["Records"]
    record["body"] = message if isinstance(message, str) else encode(message)
    if not isinstance(message, str):
        record["attributes"]["MessageGroupId"] = message.group
    return event


class Stopping:
    """Handles by keeping what a test says, then stopping with what it says."""

    def __init__(self, rest: Deferred | None, *, has_advanced: bool = False, keeps: Sequence[Deferred] = ()) -> None:
        self.handled: list[Deferred] = []
        self._rest = rest
        self._has_advanced = has_advanced
        self._keeps = keeps

    async def handle(self, message: Deferred, keep: Keep, *, deadline: float) -> None:
        self.handled.append(message)
        for rest in self._keeps:
            await keep(rest)
        if self._rest is not None:
            raise NotDone(self._rest, "the client's buffer is full", has_advanced=self._has_advanced)


async def test_what_is_left_of_a_half_done_message_is_kept_and_comes_in_its_place(
    batch: Batch, notes: Notes, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    assert await batch(event_with(WHOLE), Stopping(REST).handle) == failed("m0")
    assert notes.asked == []
    assert decode(notes.bodies["m0"]) == REST
    assert rested(stub) == {"r0": 1}  # and nothing was put behind the group
    assert caplog.messages == [f"connection {A}: deferred, attempt 1: the client's buffer is full; again in 1 s"]
    second = Stopping(None)
    assert await batch(event_with(WHOLE, attempt=2), second.handle) == failed()
    assert second.handled == [REST]


async def test_message_of_which_time_was_all_that_lacked_goes_on_at_once(batch: Batch, stub: HttpStub) -> None:
    assert await batch(event_with(WHOLE, attempt=5), Stopping(REST, has_advanced=True).handle) == failed("m0")
    assert rested(stub) == {"r0": 0}


async def test_message_of_which_nothing_was_done_is_not_noted(batch: Batch, notes: Notes) -> None:
    assert await batch(event_with(WHOLE), Stopping(WHOLE).handle) == failed("m0")
    assert notes.bodies == {}


async def test_what_a_message_keeps_while_it_is_handled_outlives_a_crash(batch: Batch, notes: Notes) -> None:
    last = Continuation(A, WHOLE.events[2:])

    async def crash(message: Deferred, keep: Keep, *, deadline: float) -> None:
        await Stopping(None, keeps=[REST, last]).handle(message, keep, deadline=deadline)
        raise ZeroDivisionError("a bug")

    assert await batch(event_with(WHOLE), crash) == failed("m0")
    second = Stopping(last)  # and it is not overwritten where nothing more was done
    assert await batch(event_with(WHOLE, attempt=2), second.handle) == failed("m0")
    assert second.handled == [last]
    assert decode(notes.bodies["m0"]) == last


async def test_older_rest_does_not_replace_what_was_kept_since(batch: Batch, notes: Notes) -> None:
    await batch(event_with(WHOLE), Stopping(WHOLE, keeps=[REST]).handle)
    assert decode(notes.bodies["m0"]) == REST


async def test_half_done_message_that_cannot_be_noted_is_said_to_be_done_again(
    batch: Batch, notes: Notes, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    notes.is_away = {"keep"}
    assert await batch(event_with(WHOLE), Stopping(REST, has_advanced=True).handle) == failed("m0")
    assert rested(stub) == {"r0": 1}
    assert caplog.messages == [
        f"connection {A}: what was done will be done again: the table is away",
        f"connection {A}: deferred, attempt 1: the client's buffer is full; again in 1 s",
    ]


async def test_message_is_not_begun_where_nobody_knows_what_is_left_of_it(
    batch: Batch, worker: Worker, notes: Notes, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    notes.is_away = {"kept"}
    event = event_of((A, "1"), (A, "2"), attempt=4)
    assert await batch(event, worker.handle) == failed("m0", "m1")
    assert worker.done == []
    assert notes.asked == ["m0"]
    assert rested(stub) == {"r0": 8, "r1": 8}
    assert caplog.messages == [f"connection {A}: deferred, attempt 4: not begun: the table is away; again in 8 s"]


async def test_note_that_cannot_be_read_leaves_the_whole_message(
    batch: Batch, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    notes.bodies["m0"] = "zlib:?"
    handler = Stopping(None)
    assert await batch(event_with(WHOLE, attempt=2), handler.handle) == failed()
    assert handler.handled == [WHOLE]
    (line,) = caplog.messages
    assert line.startswith(f"connection {A}: what was left cannot be read, the whole is done again: the message is dam")


PUBLISH = PublishText("lobby", "a secret text")


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (Continuation(A, [SendText(A, "a secret text")]), f"connection {A}"),
        (CloseNotice(A, 1000, "a secret text", None), f"connection {A}"),
        (FanOut(PUBLISH, "p1"), "channel 'lobby'"),
        (FanOutChunk(PUBLISH, "p1", [A, B], 3), "channel 'lobby', shard 3"),
        (FanOutChunk(PUBLISH, "p1", [A]), f"channel 'lobby', connection {A}"),
    ],
)
async def test_log_names_whom_a_message_is_about_and_not_its_text(
    batch: Batch, caplog: pytest.LogCaptureFixture, message: Deferred, subject: str
) -> None:
    await batch(event_with(message), Stopping(message).handle)
    assert caplog.messages == [f"{subject}: deferred, attempt 1: the client's buffer is full; again in 1 s"]


async def test_last_attempt_says_that_a_message_becomes_a_dead_letter(
    batch: Batch, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    message = FanOutChunk(PUBLISH, "p1", [A, B], 3)
    event = event_with(message, attempt=MAX_RECEIVE_COUNT)
    assert await batch(event, Stopping(message, has_advanced=True).handle) == failed("m0")
    assert caplog.messages == [
        f"channel 'lobby', shard 3: deferred, attempt {MAX_RECEIVE_COUNT}: the client's buffer is full; "
        "it was the last",
        f"message m0 of group {message.group}, fan_out_chunk, becomes a dead letter",
    ]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


async def test_message_before_its_last_attempt_is_no_dead_letter(
    batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    await batch(event_with(WHOLE, attempt=MAX_RECEIVE_COUNT - 1), Stopping(WHOLE).handle)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_last_attempt_of_an_unreadable_message_and_of_who_comes_along(
    batch: Batch, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    event = event_of((A, "1"), (A, "2"), attempt=MAX_RECEIVE_COUNT)
    event["Records"][0]["body"] = "no JSON"
    assert await batch(event, worker.handle) == failed("m0", "m1")
    assert caplog.messages[1:] == [
        f"message m0 of group {A}, unreadable, becomes a dead letter",
        f"message m1 of group {A}, continuation, becomes a dead letter",
    ]


async def test_kept_rest_is_handled_in_its_place_through_the_real_queue(
    sqs: SQSClient, moto_url: str, queue_url: str, worker: Worker, notes: Notes
) -> None:
    queue = SqsQueue(client("sqs", moto_url), queue_url, FakeClock())
    await queue.put([WHOLE, Continuation(A, [SendText(A, "4")])])
    sent: list[str] = []

    async def one_each_time(message: Deferred, keep: Keep, *, deadline: float) -> None:
        assert isinstance(message, Continuation)
        first, *others = message.events
        assert isinstance(first, SendText)
        sent.append(first.data)
        if others:
            raise NotDone(Continuation(A, others), "no time was left", has_advanced=True)

    while messages := sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    ).get("Messages", []):
        records: list[dict[str, Any]] = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in messages
        ]
        answer = await handle_batch({"Records": records}, one_each_time, queue, notes, deadline=DEADLINE)
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in again:
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=record["receiptHandle"])
    assert sent == ["1", "2", "3", "4"]


async def test_failure_takes_the_later_ones_of_its_group_along(
    batch: Batch, worker: Worker, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    worker.failures[A, "2"] = Unavailable("the table is away")
    event = event_of((A, "1"), (A, "2"), (B, "1"), (A, "3"), (B, "2"), attempt=3)
    assert await batch(event, worker.handle) == failed("m1", "m3")
    assert worker.done == [(A, "1"), (B, "1"), (B, "2")]
    assert rested(stub) == {"r1": 4, "r3": 4}
    assert caplog.messages == [f"connection {A}: deferred, attempt 3: the table is away; again in 4 s"]


async def test_groups_fail_apart(batch: Batch, worker: Worker, stub: HttpStub) -> None:
    worker.failures = {(A, "1"): SlipSocketsError("no"), (B, "2"): SlipSocketsError("no")}
    event = event_of((A, "1"), (B, "1"), (B, "2"), (C, "1"), (A, "2"), (B, "3"))
    assert await batch(event, worker.handle) == failed("m0", "m2", "m4", "m5")
    assert worker.done == [(B, "1"), (C, "1")]
    assert len(stub.requests) == 1


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 1), (2, 2), (10, 512), (11, MAX_RETRY_PAUSE_S), (99, 900)])
async def test_pauses_grow_with_the_attempts(
    batch: Batch, worker: Worker, stub: HttpStub, attempt: int, pause_s: int
) -> None:
    worker.failures[A, "1"] = SlipSocketsError("no")
    await batch(event_of((A, "1"), attempt=attempt), worker.handle)
    assert rested(stub) == {"r0": pause_s}


async def test_unexpected_error_is_a_failure_with_its_traceback(
    batch: Batch, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.failures[A, "1"] = ZeroDivisionError("a bug")
    assert await batch(event_of((A, "1"), (B, "1")), worker.handle) == failed("m0")
    assert worker.done == [(B, "1")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert A in record.getMessage()
    assert record.exc_info is not None


async def test_chunk_for_nobody_fails_alone(batch: Batch, worker: Worker) -> None:
    event = event_of((A, "1"), (B, "1"))
    event["Records"][0]["body"] = encode(FanOutChunk(PublishText("room", "x"), "p", []))
    assert await batch(event, worker.handle) == failed("m0")
    assert worker.done == [(B, "1")]


UNREADABLE = {
    "empty": "",
    "no JSON": "no JSON",
    "no type": "{}",
    "a wrong field": '{"type":"continuation","connection_id":1,"events":[]}',
    "null": "null",
    "too deep": '{"type":"continuation","connection_id":"x","x":' + "[" * 5_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_body_that_cannot_be_read_fails_without_a_pause(
    batch: Batch, worker: Worker, stub: HttpStub, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    event = event_of((A, "1"), (A, "2"), (B, "1"), attempt=9)
    event["Records"][0]["body"] = body
    assert await batch(event, worker.handle) == failed("m0", "m1")
    assert worker.done == [(B, "1")]
    assert rested(stub) == {"r0": 0, "r1": 0}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"message m0 of group {A} cannot be read: ")


@pytest.mark.parametrize(
    "answer",
    [
        RESET,
        Answer.error("ThrottlingException"),
        Answer.of({"Failed": [{"Id": "0", "Code": "MessageNotInflight", "SenderFault": True}]}),
    ],
)
async def test_rest_that_cannot_be_had_changes_nothing(
    batch: Batch, worker: Worker, stub: HttpStub, answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script = lambda _: answer
    worker.failures[A, "1"] = SlipSocketsError("no")
    assert await batch(event_of((A, "1"), (B, "1")), worker.handle) == failed("m0")
    assert worker.done == [(B, "1")]
    assert "a retry comes later than it could" in caplog.messages[-1]
