from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from slip_sockets.aws.consumer import SqsEvent, handle_batch
from slip_sockets.aws.queue import SqsQueue, decode, encode
from slip_sockets.errors import SlipSocketsError
from slip_sockets.events import SendText
from slip_sockets.gateway.plan import MAX_RETRY_PAUSE_S
from slip_sockets.gateway.ports import Continuation, Deferred, NotDone, Unavailable

from ..gateway.doubles import FakeClock
from .http_stub import RESET, Answer, HttpStub
from .moto_server import client

A, B, C = "AAAAAAAAAAAAAAA=", "BBBBBBBBBBBBBBB=", "CCCCCCCCCCCCCCC="
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/deferred.fifo"
TEMPLATE = json.loads((Path(__file__).parents[1] / "events" / "sqs.json").read_text())


@pytest.fixture
def queue(stub: HttpStub) -> SqsQueue:
    return SqsQueue(client("sqs", stub.url), QUEUE_URL, FakeClock())


class Worker:
    """Does what it is given, or fails as a test says."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.failures: dict[tuple[str, str], Exception] = {}

    async def handle(self, message: Deferred) -> None:
        assert isinstance(message, Continuation)
        (event,) = message.events
        assert isinstance(event, SendText)
        error = self.failures.get((message.connection_id, event.data))
        if isinstance(error, SlipSocketsError):
            raise NotDone(message, error)
        if error is not None:
            raise error
        self.done.append((message.connection_id, event.data))


@pytest.fixture
def worker() -> Worker:
    return Worker()


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


async def test_documented_event_is_understood(queue: SqsQueue, worker: Worker, stub: HttpStub) -> None:
    assert await handle_batch(TEMPLATE, worker.handle, queue) == failed()
    assert worker.done == [("AAAA1234AAAA123=", "hi")]
    assert stub.requests == []


async def test_records_are_handled_in_order(queue: SqsQueue, worker: Worker) -> None:
    messages = [(A, "1"), (B, "1"), (A, "2"), (B, "2")]
    assert await handle_batch(event_of(*messages), worker.handle, queue) == failed()
    assert worker.done == messages


TWO = Continuation(A, [SendText(A, "1"), SendText(A, "2")])


def half_done_event() -> SqsEvent:
    event = event_of((A, "1"))
    event["Records"][0]["body"] = encode(TWO)
    return event


async def half_do(message: Deferred) -> None:
    assert message == TWO
    raise NotDone(Continuation(A, TWO.events[1:]), Unavailable("the client's buffer is full"))


async def test_what_is_left_of_a_half_done_message_takes_its_place(queue: SqsQueue, stub: HttpStub) -> None:
    assert await handle_batch(half_done_event(), half_do, queue) == failed()
    (request,) = stub.requests
    (entry,) = request.json["Entries"]
    assert entry["MessageGroupId"] == A
    assert decode(entry["MessageBody"]) == Continuation(A, [SendText(A, "2")])


async def test_a_half_done_message_that_cannot_be_replaced_comes_again_whole(queue: SqsQueue, stub: HttpStub) -> None:
    stub.script = lambda request: Answer(503) if request.operation == "SendMessageBatch" else Answer()
    assert await handle_batch(half_done_event(), half_do, queue) == failed("m0")


async def test_failure_takes_the_later_ones_of_its_group_along(
    queue: SqsQueue, worker: Worker, stub: HttpStub, caplog: pytest.LogCaptureFixture
) -> None:
    worker.failures[A, "2"] = Unavailable("the table is away")
    event = event_of((A, "1"), (A, "2"), (B, "1"), (A, "3"), (B, "2"), attempt=3)
    assert await handle_batch(event, worker.handle, queue) == failed("m1", "m3")
    assert worker.done == [(A, "1"), (B, "1"), (B, "2")]
    assert rested(stub) == {"r1": 4, "r3": 4}
    assert caplog.messages == [f"connection {A}: deferred, attempt 3: the table is away; again in 4 s"]


async def test_groups_fail_apart(queue: SqsQueue, worker: Worker, stub: HttpStub) -> None:
    worker.failures = {(A, "1"): SlipSocketsError("no"), (B, "2"): SlipSocketsError("no")}
    event = event_of((A, "1"), (B, "1"), (B, "2"), (C, "1"), (A, "2"), (B, "3"))
    assert await handle_batch(event, worker.handle, queue) == failed("m0", "m2", "m4", "m5")
    assert worker.done == [(B, "1"), (C, "1")]
    assert len(stub.requests) == 1


@pytest.mark.parametrize(("attempt", "pause_s"), [(1, 1), (2, 2), (10, 512), (11, MAX_RETRY_PAUSE_S), (99, 900)])
async def test_pauses_grow_with_the_attempts(
    queue: SqsQueue, worker: Worker, stub: HttpStub, attempt: int, pause_s: int
) -> None:
    worker.failures[A, "1"] = SlipSocketsError("no")
    await handle_batch(event_of((A, "1"), attempt=attempt), worker.handle, queue)
    assert rested(stub) == {"r0": pause_s}


async def test_unexpected_error_is_a_failure_with_its_traceback(
    queue: SqsQueue, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.failures[A, "1"] = ZeroDivisionError("a bug")
    assert await handle_batch(event_of((A, "1"), (B, "1")), worker.handle, queue) == failed("m0")
    assert worker.done == [(B, "1")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert A in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize("body", ["", "no JSON", "{}", '{"type":"continuation","connection_id":1,"events":[]}', "null"])
async def test_body_that_cannot_be_read_fails_without_a_pause(
    queue: SqsQueue, worker: Worker, stub: HttpStub, caplog: pytest.LogCaptureFixture, body: str
) -> None:
    event = event_of((A, "1"), (A, "2"), (B, "1"), attempt=9)
    event["Records"][0]["body"] = body
    assert await handle_batch(event, worker.handle, queue) == failed("m0", "m1")
    assert worker.done == [(B, "1")]
    assert rested(stub) == {"r0": 0, "r1": 0}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"connection {A}: message m0 cannot be read: ")


@pytest.mark.parametrize(
    "answer",
    [
        RESET,
        Answer.error("ThrottlingException"),
        Answer.of({"Failed": [{"Id": "0", "Code": "MessageNotInflight", "SenderFault": True}]}),
    ],
)
async def test_rest_that_cannot_be_had_changes_nothing(
    queue: SqsQueue, worker: Worker, stub: HttpStub, answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    stub.script = lambda _: answer
    worker.failures[A, "1"] = SlipSocketsError("no")
    assert await handle_batch(event_of((A, "1"), (B, "1")), worker.handle, queue) == failed("m0")
    assert worker.done == [(B, "1")]
    assert "a retry comes later than it could" in caplog.messages[-1]
