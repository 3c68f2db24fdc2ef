"""The consumer of the queue. Longer than 400 lines: all of its cases share one batch and its doubles."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.consumer import BatchResponse, Consumer, SqsEvent
from slip_sockets.aws.queue import MAX_RECEIVE_COUNT, SqsQueue, decode, encode
from slip_sockets.gateway.deferred import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.errors import Incomplete, Unavailable
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.values import Publication
from slip_sockets.gateway.worker import MAX_RETRY_PAUSE_S, DeferredWorker, Handler
from slip_sockets.protocol.errors import SlipSocketsError
from slip_sockets.protocol.events import SendText

from ..gateway.doubles import FakeClock
from .http_stub import RESET, Answer, HttpStub
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

A, B, C = "AAAAAAAAAAAAAAA=", "BBBBBBBBBBBBBBB=", "CCCCCCCCCCCCCCC="
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/deferred.fifo"
DEADLINE = 1_700_000_060.0
TEMPLATE = json.loads((Path(__file__).parents[1] / "events" / "sqs.json").read_text())

Batch = Callable[[SqsEvent, Handler], Awaitable[BatchResponse]]
"""`Consumer.handle` with everything else that it needs, and one handler for all kinds of messages."""


@pytest.fixture
def queue(stub: HttpStub) -> SqsQueue:
    return SqsQueue(client("sqs", stub.url), QUEUE_URL, FakeClock())


class Recording:
    """A handler of Continuations with one text each. It records them as done, or fails as a test says."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], Exception] = {}

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        assert deadline == DEADLINE
        assert isinstance(message, Continuation)
        (action,) = message.actions
        assert isinstance(action, SendText)
        error = self.failures.get((message.connection_id, action.data))
        if isinstance(error, SlipSocketsError):
            raise Incomplete(message, str(error))
        if error is not None:
            raise error
        self.done.append((message.connection_id, action.data))


class MemoryCheckpoints:
    """Checkpoints in memory. `is_away` names the methods that are unavailable."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.loaded: list[str] = []
        self.is_away: set[str] = set()

    async def save(self, message_id: str, remaining: str) -> None:
        if "save" in self.is_away:
            raise Unavailable("the table is away")
        self.bodies[message_id] = remaining

    async def load(self, message_id: str) -> str | None:
        self.loaded.append(message_id)
        if "load" in self.is_away:
            raise Unavailable("the table is away")
        return self.bodies.get(message_id)


@pytest.fixture
def handler() -> Recording:
    return Recording()


@pytest.fixture
def checkpoints() -> MemoryCheckpoints:
    return MemoryCheckpoints()


def worker_with(handler: Handler) -> DeferredWorker:
    return DeferredWorker(dict.fromkeys((Continuation, CloseNotice, FanOut, FanOutChunk), handler))


@pytest.fixture
def batch(queue: SqsQueue, checkpoints: MemoryCheckpoints) -> Batch:
    def handle(event: SqsEvent, handler: Handler) -> Awaitable[BatchResponse]:
        return Consumer(worker_with(handler), queue, checkpoints, FakeClock()).handle(event, deadline=DEADLINE)

    return handle


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


def visibility_timeouts(stub: HttpStub) -> dict[str, int]:
    assert set(stub.operations) <= {"ChangeMessageVisibilityBatch"}
    entries = [entry for request in stub.requests for entry in request.json["Entries"]]
    return {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in entries}


async def test_documented_event_is_understood(batch: Batch, handler: Recording, stub: HttpStub) -> None:
    assert await batch(TEMPLATE, handler) == failed()
    assert handler.done == [("AAAA1234AAAA123=", "hi")]
    assert stub.requests == []


async def test_records_of_a_group_are_handled_in_order(batch: Batch, handler: Recording) -> None:
    messages = [(A, "1"), (B, "1"), (A, "2"), (B, "2")]
    assert await batch(event_of(*messages), handler) == failed()
    assert sorted(handler.done) == sorted(messages)
    for group in (A, B):
        assert [text for id_, text in handler.done if id_ == group] == ["1", "2"]


WHOLE = Continuation(A, [SendText(A, "1"), SendText(A, "2"), SendText(A, "3")])
REMAINING = Continuation(A, WHOLE.actions[1:])


def event_with(message: Deferred | str, *, attempt: int = 1) -> SqsEvent:
    event = event_of((A, "1"), attempt=attempt)
    (record,) = event["Records"]
    record["body"] = message if isinstance(message, str) else encode(message)
    if not isinstance(message, str):
        record["attributes"]["MessageGroupId"] = message.group
    return event


class Stopping:
    """A handler that makes the checkpoints `saves`, then raises Incomplete with `remaining`, if there is any."""

    def __init__(
        self, remaining: Deferred | None, *, made_progress: bool = False, saves: Sequence[Deferred] = ()
    ) -> None:
        self.handled: list[Deferred] = []
        self._remaining = remaining
        self._made_progress = made_progress
        self._saves = saves

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        self.handled.append(message)
        for remaining in self._saves:
            await checkpoint.save(remaining)
        if self._remaining is not None:
            raise Incomplete(self._remaining, "the client's buffer is full", made_progress=self._made_progress)


async def test_what_remains_of_a_message_is_saved_and_handled_in_its_place(
    batch: Batch, checkpoints: MemoryCheckpoints, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    assert await batch(event_with(WHOLE), Stopping(REMAINING)) == failed("m0")
    assert checkpoints.loaded == []
    assert decode(checkpoints.bodies["m0"]) == REMAINING
    assert visibility_timeouts(stub) == {"r0": 1}  # and no message was put at the end of the group
    assert caplog.messages == [f"connection {A}: deferred, attempt 1: the client's buffer is full; again in 1 s"]
    second = Stopping(None)
    assert await batch(event_with(WHOLE, attempt=2), second) == failed()
    assert second.handled == [REMAINING]


async def test_message_that_only_lacked_time_goes_on_at_once(batch: Batch, stub: HttpStub) -> None:
    assert await batch(event_with(WHOLE, attempt=5), Stopping(REMAINING, made_progress=True)) == failed("m0")
    assert visibility_timeouts(stub) == {"r0": 0}


async def test_message_without_progress_is_not_saved(batch: Batch, checkpoints: MemoryCheckpoints) -> None:
    assert await batch(event_with(WHOLE), Stopping(WHOLE)) == failed("m0")
    assert checkpoints.bodies == {}


async def test_checkpoint_of_a_handler_outlives_a_crash(batch: Batch, checkpoints: MemoryCheckpoints) -> None:
    last = Continuation(A, WHOLE.actions[2:])

    async def crash(message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        await Stopping(None, saves=[REMAINING, last])(message, checkpoint, deadline=deadline)
        raise ZeroDivisionError("a bug")

    assert await batch(event_with(WHOLE), crash) == failed("m0")
    second = Stopping(last)  # and it is not overwritten where nothing more was done
    assert await batch(event_with(WHOLE, attempt=2), second) == failed("m0")
    assert second.handled == [last]
    assert decode(checkpoints.bodies["m0"]) == last


async def test_incomplete_without_progress_does_not_replace_a_checkpoint(
    batch: Batch, checkpoints: MemoryCheckpoints
) -> None:
    await batch(event_with(WHOLE), Stopping(WHOLE, saves=[REMAINING]))
    assert decode(checkpoints.bodies["m0"]) == REMAINING


async def test_log_reports_that_what_cannot_be_saved_is_done_again(
    batch: Batch, checkpoints: MemoryCheckpoints, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.is_away = {"save"}
    assert await batch(event_with(WHOLE), Stopping(REMAINING, made_progress=True)) == failed("m0")
    assert visibility_timeouts(stub) == {"r0": 1}
    assert caplog.messages == [
        f"connection {A}: what is done already will be done again: the table is away",
        f"connection {A}: deferred, attempt 1: the client's buffer is full; again in 1 s",
    ]


async def test_message_is_not_begun_where_its_checkpoint_cannot_be_loaded(
    batch: Batch, handler: Recording, checkpoints: MemoryCheckpoints, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.is_away = {"load"}
    event = event_of((A, "1"), (A, "2"), attempt=4)
    assert await batch(event, handler) == failed("m0", "m1")
    assert handler.done == []
    assert checkpoints.loaded == ["m0"]
    assert visibility_timeouts(stub) == {"r0": 8, "r1": 8}
    assert caplog.messages == [f"connection {A}: deferred, attempt 4: not begun: the table is away; again in 8 s"]


async def test_unreadable_checkpoint_leaves_the_whole_message(
    batch: Batch, checkpoints: MemoryCheckpoints, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.bodies["m0"] = "zlib:?"
    handler = Stopping(None)
    assert await batch(event_with(WHOLE, attempt=2), handler) == failed()
    assert handler.handled == [WHOLE]
    (line,) = caplog.messages
    problem = "what was left of it cannot be read, the whole is done again: the message is damaged: "
    assert line.startswith(f"message m0: {problem}")


PUBLICATION = Publication("lobby", "a secret text")


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (Continuation(A, [SendText(A, "a secret text")]), f"connection {A}"),
        (CloseNotice(A, 1000, "a secret text", None), f"connection {A}"),
        (FanOut(PUBLICATION, "p1"), "channel 'lobby'"),
        (FanOutChunk(PUBLICATION, "p1", [A, B], 3), "channel 'lobby', shard 3"),
        (FanOutChunk(PUBLICATION, "p1", [A]), f"channel 'lobby', connection {A}"),
    ],
)
async def test_log_names_the_subject_of_a_message_and_not_its_text(
    batch: Batch, caplog: pytest.LogCaptureFixture, message: Deferred, subject: str
) -> None:
    await batch(event_with(message), Stopping(message))
    assert caplog.messages == [f"{subject}: deferred, attempt 1: the client's buffer is full; again in 1 s"]


async def test_last_attempt_logs_that_a_message_becomes_a_dead_letter(
    batch: Batch, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    message = FanOutChunk(PUBLICATION, "p1", [A, B], 3)
    event = event_with(message, attempt=MAX_RECEIVE_COUNT)
    assert await batch(event, Stopping(message, made_progress=True)) == failed("m0")
    assert caplog.messages == [
        f"channel 'lobby', shard 3: deferred, attempt {MAX_RECEIVE_COUNT}: the client's buffer is full; "
        "this was the last attempt",
        f"message m0 of group {message.group}, fan_out_chunk, becomes a dead letter",
    ]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


async def test_message_before_its_last_attempt_is_not_a_dead_letter(
    batch: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    await batch(event_with(WHOLE, attempt=MAX_RECEIVE_COUNT - 1), Stopping(WHOLE))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_last_attempt_of_an_unreadable_message_and_of_the_next_of_its_group(
    batch: Batch, handler: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    event = event_of((A, "1"), (A, "2"), attempt=MAX_RECEIVE_COUNT)
    event["Records"][0]["body"] = "no JSON"
    assert await batch(event, handler) == failed("m0", "m1")
    assert caplog.messages[1:] == [
        f"message m0 of group {A}, unreadable, becomes a dead letter",
        f"message m1 of group {A}, continuation, becomes a dead letter",
    ]


async def test_checkpoint_is_handled_in_its_place_through_the_real_queue(
    sqs: SQSClient, moto_url: str, queue_url: str, handler: Recording, checkpoints: MemoryCheckpoints
) -> None:
    queue = SqsQueue(client("sqs", moto_url), queue_url, FakeClock())
    await queue.put([WHOLE, Continuation(A, [SendText(A, "4")])])
    sent: list[str] = []

    async def one_each_time(message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        assert isinstance(message, Continuation)
        first, *others = message.actions
        assert isinstance(first, SendText)
        sent.append(first.data)
        if others:
            raise Incomplete(Continuation(A, others), "no time was left", made_progress=True)

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
        response = await Consumer(worker_with(one_each_time), queue, checkpoints, FakeClock()).handle(
            {"Records": records}, deadline=DEADLINE
        )
        again = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        for record in records:
            if record["messageId"] not in again:
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=record["receiptHandle"])
    assert sent == ["1", "2", "3", "4"]


async def test_failure_takes_the_later_ones_of_its_group_along(
    batch: Batch, handler: Recording, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    handler.failures[A, "2"] = Unavailable("the table is away")
    event = event_of((A, "1"), (A, "2"), (B, "1"), (A, "3"), (B, "2"), attempt=3)
    assert await batch(event, handler) == failed("m1", "m3")
    assert handler.done == [(A, "1"), (B, "1"), (B, "2")]
    assert visibility_timeouts(stub) == {"r1": 4, "r3": 4}
    assert caplog.messages == [f"connection {A}: deferred, attempt 3: the table is away; again in 4 s"]


async def test_groups_fail_apart(batch: Batch, handler: Recording, stub: HttpStub) -> None:
    handler.failures = {(A, "1"): SlipSocketsError("no"), (B, "2"): SlipSocketsError("no")}
    event = event_of((A, "1"), (B, "1"), (B, "2"), (C, "1"), (A, "2"), (B, "3"))
    assert await batch(event, handler) == failed("m0", "m2", "m4", "m5")
    assert handler.done == [(B, "1"), (C, "1")]
    assert len(stub.requests) == 1


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 1), (2, 2), (10, 512), (11, MAX_RETRY_PAUSE_S), (99, 900)])
async def test_pauses_grow_with_the_attempts(
    batch: Batch, handler: Recording, stub: HttpStub, attempt: int, pause_s: int
) -> None:
    handler.failures[A, "1"] = SlipSocketsError("no")
    await batch(event_of((A, "1"), attempt=attempt), handler)
    assert visibility_timeouts(stub) == {"r0": pause_s}


async def test_unexpected_error_is_a_failure_with_its_traceback(
    batch: Batch, handler: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    handler.failures[A, "1"] = ZeroDivisionError("a bug")
    assert await batch(event_of((A, "1"), (B, "1")), handler) == failed("m0")
    assert handler.done == [(B, "1")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert A in record.getMessage()
    assert record.exc_info is not None


async def test_chunk_without_connections_fails_alone(batch: Batch, handler: Recording) -> None:
    event = event_of((A, "1"), (B, "1"))
    event["Records"][0]["body"] = encode(FanOutChunk(Publication("room", "x"), "p", []))
    assert await batch(event, handler) == failed("m0")
    assert handler.done == [(B, "1")]


UNREADABLE = {
    "empty": "",
    "no JSON": "no JSON",
    "no type": "{}",
    "a wrong field": '{"type":"continuation","connection_id":1,"actions":[]}',
    "null": "null",
    "too deep": '{"type":"continuation","connection_id":"x","x":' + "[" * 5_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_body_that_cannot_be_read_fails_without_a_pause(
    batch: Batch, handler: Recording, stub: HttpStub, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    event = event_of((A, "1"), (A, "2"), (B, "1"), attempt=9)
    event["Records"][0]["body"] = body
    assert await batch(event, handler) == failed("m0", "m1")
    assert handler.done == [(B, "1")]
    assert visibility_timeouts(stub) == {"r0": 0, "r1": 0}
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
async def test_visibility_timeout_that_cannot_be_set_changes_nothing(
    batch: Batch, handler: Recording, stub: HttpStub, answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script = lambda _: answer
    handler.failures[A, "1"] = SlipSocketsError("no")
    assert await batch(event_of((A, "1"), (B, "1")), handler) == failed("m0")
    assert handler.done == [(B, "1")]
    assert "a retry comes later than it could" in caplog.messages[-1]
