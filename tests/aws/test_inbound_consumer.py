"""The consumer of the queue of what clients send. What both queues have in common is in test_consumer.py."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest

from slip_sockets.aws.consumer import TIME_FOR_ONE_S, Consumer, SqsEvent
from slip_sockets.aws.queue import MAX_RECEIVE_COUNT, SqsQueue, decode, encode
from slip_sockets.gateway.deferred import (
    MAX_TEXTS_BYTES,
    Continuation,
    Deferred,
    Disconnected,
    ReceivedText,
    Texts,
)
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.worker import (
    DEFAULT_INBOUND_RETRY_S,
    MAX_INBOUND_PAUSE_S,
    MAX_INBOUND_RETRY_S,
    InboundWorker,
    attempts_within,
)
from slip_sockets.protocol.events import SendText

from ..gateway.doubles import FakeClock, RecordingQueue
from .http_stub import RESET, Answer, HttpStub, Request
from .moto_server import client
from .test_consumer import DEADLINE, TEMPLATE, MemoryCheckpoints, failed

A, B, C = "AAAAAAAAAAAAAAA=", "BBBBBBBBBBBBBBB=", "CCCCCCCCCCCCCCC="
URL = "https://sqs.us-east-1.amazonaws.com/000000000000"
LAST = attempts_within(DEFAULT_INBOUND_RETRY_S, MAX_INBOUND_PAUSE_S)
TIMEOUT_S = 20

Received = tuple[str, Deferred | str, int] | Deferred
"""A group, a message or a body that cannot be read, and the number of the attempt. A message alone is its first."""


def text(connection_id: str, data: str, size: int = 0) -> Texts:
    return Texts(connection_id, [ReceivedText(f"id-{data}", data.encode() + b"x" * size)])


def event_of(*messages: Received) -> SqsEvent:
    """Return an event with a record for each message; ids are `m0`, `m1`, ..."""
    records = []
    for index, message in enumerate(messages):
        group, content, attempt = message if isinstance(message, tuple) else (message.group, message, 1)
        record = copy.deepcopy(TEMPLATE["Records"][0])
        record["messageId"], record["receiptHandle"] = f"m{index}", f"r{index}"
        record["body"] = content if isinstance(content, str) else encode(content)
        record["attributes"] |= {"MessageGroupId": group, "ApproximateReceiveCount": str(attempt)}
        records.append(record)
    return {"Records": records}


class Backend:
    """A handler. `posts` has what it was called with: texts by their data, anything else by its kind."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, list[str]]] = []
        self.down: set[str] = set()
        """Connections for which it fails."""
        self.takes: dict[str, asyncio.Event] = {}
        """It is done with a connection's messages once this is set."""
        self.on_post: Callable[[], None] = lambda: None

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        texts = [received.data.decode() for received in message.texts] if isinstance(message, Texts) else [message.kind]
        self.posts.append((message.connection_id, texts))
        self.on_post()
        if message.connection_id in self.takes:
            async with asyncio.timeout(TIMEOUT_S):
                await self.takes[message.connection_id].wait()
        if message.connection_id in self.down:
            raise Incomplete(message, "the backend is down")

    def texts(self, connection_id: str) -> list[list[str]]:
        return [texts for id_, texts in self.posts if id_ == connection_id]


class World:
    """A consumer, and all that it calls: `stub` is SQS."""

    def __init__(self, stub: HttpStub) -> None:
        self.clock = FakeClock()
        self.backend = Backend()
        self.checkpoints = MemoryCheckpoints()
        self.deferred = RecordingQueue()
        self.stub = stub
        sqs = client("sqs", stub.url)
        kinds = (Texts, Disconnected, Continuation)
        self._consumer = Consumer(
            InboundWorker(dict.fromkeys(kinds, self.backend), self.deferred, retry_for_s=DEFAULT_INBOUND_RETRY_S),
            SqsQueue(sqs, f"{URL}/inbound.fifo", self.clock),
            self.checkpoints,
            self.clock,
            dead_letters=SqsQueue(sqs, f"{URL}/dead-letters.fifo", self.clock),
        )

    async def handle(self, *messages: Received) -> Any:
        return await self._consumer.handle(event_of(*messages), deadline=DEADLINE)

    def entries(self, operation: str) -> list[list[dict[str, Any]]]:
        """The entries of each call of an operation of SQS."""
        return [request.json["Entries"] for request in self.stub.requests if request.operation == operation]

    def deleted(self) -> list[list[str]]:
        return [[entry["ReceiptHandle"] for entry in entries] for entries in self.entries("DeleteMessageBatch")]

    def put_off(self) -> list[dict[str, int]]:
        return [
            {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in entries}
            for entries in self.entries("ChangeMessageVisibilityBatch")
        ]

    def dead_letters(self) -> list[Deferred]:
        requests = [request.json for request in self.stub.requests if request.operation == "SendMessageBatch"]
        assert {request["QueueUrl"] for request in requests} <= {f"{URL}/dead-letters.fifo"}
        return [decode(entry["MessageBody"]) for request in requests for entry in request["Entries"]]

    def once_called(self, operation: str) -> asyncio.Event:
        """Return an event that is set by the next call of an operation of SQS."""
        called, loop = asyncio.Event(), asyncio.get_running_loop()

        def script(request: Request) -> Answer:
            if request.operation == operation:
                loop.call_soon_threadsafe(called.set)
            return Answer()

        self.stub.script = script
        return called


@pytest.fixture
def world(stub: HttpStub) -> World:
    return World(stub)


# One POST


async def test_texts_of_a_connection_are_one_post_in_order(world: World) -> None:
    messages = [text(A, "1"), text(B, "4"), text(A, "2"), text(A, "3")]
    assert await world.handle(*messages) == failed()
    assert sorted(world.backend.posts) == [(A, ["1", "2", "3"]), (B, ["4"])]
    assert world.stub.requests == []


async def test_texts_that_were_tried_before_are_the_same_post_again(world: World) -> None:
    tried, new = [(A, text(A, "1"), 2), (A, text(A, "2"), 2)], (A, text(A, "3"), 1)
    assert await world.handle(*tried, new) == failed()
    assert world.backend.texts(A) == [["1", "2"], ["3"]]
    assert world.checkpoints.loaded == ["m0"]


async def test_texts_with_something_between_are_two_posts(world: World) -> None:
    await world.handle(text(A, "1"), Continuation(A, [SendText(A, "hi")]), text(A, "2"), text(A, "3"))
    assert world.backend.texts(A) == [["1"], ["continuation"], ["2", "3"]]


async def test_texts_that_are_more_than_a_post_are_two(world: World) -> None:
    size = MAX_TEXTS_BYTES // 2 - 1
    await world.handle(*(text(A, number, size) for number in "123"))
    assert [[data[0] for data in texts] for texts in world.backend.texts(A)] == [["1", "2"], ["3"]]


async def test_close_comes_after_the_texts(world: World) -> None:
    assert await world.handle(text(A, "1"), text(A, "2"), Disconnected(A, 1001)) == failed()
    assert world.backend.texts(A) == [["1", "2"], ["disconnected"]]


# Failures


async def test_failing_connection_takes_its_later_records_along_and_no_other_ones(world: World) -> None:
    world.backend.down = {A}
    messages = [(A, text(A, "1"), 3), (B, text(B, "1"), 3), (A, text(A, "2"), 3), (A, text(A, "3"), 1)]
    assert await world.handle(*messages, text(B, "2"), Disconnected(A)) == failed("m0", "m2", "m3", "m5")
    assert world.backend.texts(A) == [["1", "2"]]
    assert world.backend.texts(B) == [["1"], ["2"]]
    assert world.put_off() == [{"r0": 4, "r2": 4, "r3": 4, "r5": 4}]
    assert world.deleted() == []


async def test_pauses_are_ten_seconds_at_most(world: World) -> None:
    world.backend.down = {A}
    for attempt in range(1, LAST):
        await world.handle((A, text(A, "1"), attempt))
    assert [timeouts["r0"] for timeouts in world.put_off()] == [1, 2, 4, 8, 10, 10, 10, 10]


async def test_record_that_cannot_be_read_stops_its_group_there_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[Received] = [text(A, "1"), text(A, "2"), (A, "no JSON", 1), text(A, "3"), text(B, "1")]
    assert await world.handle(*messages) == failed("m2", "m3")
    assert sorted(world.backend.posts) == [(A, ["1", "2"]), (B, ["1"])]
    assert world.put_off() == [{"r2": 0, "r3": 0}]
    (line,) = caplog.messages
    assert line.startswith(f"message m2 of group {A} cannot be read: ")


NO_TEXTS = f'{{"type":"texts","connection_id":"{A}","texts":[]}}'
NO_BASE64 = f'{{"type":"texts","connection_id":"{A}","texts":[{{"id":"1","data":"?"}}]}}'


@pytest.mark.parametrize("body", [NO_TEXTS, NO_BASE64])
async def test_texts_that_no_mapping_template_makes_cannot_be_read(world: World, body: str) -> None:
    assert await world.handle((A, body, LAST), text(B, "1")) == failed("m0")
    assert world.backend.posts == [(B, ["1"])]


# A slow connection


async def test_slow_connection_delays_the_release_of_no_other_one(world: World) -> None:
    world.backend.takes[A] = world.once_called("DeleteMessageBatch")
    messages = [text(A, "1"), text(B, "1"), text(A, "2"), text(B, "2"), text(C, "1")]
    assert await world.handle(*messages) == failed()
    assert [sorted(handles) for handles in world.deleted()] == [["r1", "r3", "r4"]], "A's are deleted by Lambda"
    assert len(world.backend.posts) == 3


async def test_connections_are_released_one_after_another(world: World) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def script(request: Request) -> Answer:
        loop.call_soon_threadsafe((second if len(world.deleted()) == 2 else first).set)
        return Answer()

    world.stub.script = script
    world.backend.takes = {A: second, B: first}
    assert await world.handle(text(A, "1"), text(B, "1"), text(C, "1")) == failed()
    assert world.deleted() == [["r2"], ["r1"]]


async def test_failing_connection_is_put_off_while_another_is_slow(world: World) -> None:
    world.backend.takes[A] = world.once_called("ChangeMessageVisibilityBatch")
    world.backend.down = {B}
    assert await world.handle(text(A, "1"), text(B, "1"), text(B, "2")) == failed("m1", "m2")
    assert world.put_off() == [{"r1": 1, "r2": 1}]
    assert world.deleted() == []


async def test_what_a_failing_connection_has_done_is_released_too(world: World) -> None:
    world.backend.takes[A] = world.once_called("ChangeMessageVisibilityBatch")
    assert await world.handle(text(A, "1"), text(B, "1"), (B, "no JSON", 1)) == failed("m2")
    assert (world.deleted(), world.put_off()) == ([["r1"]], [{"r2": 0}])


@pytest.mark.parametrize(
    "answer",
    [
        RESET,
        Answer.error("ThrottlingException"),
        Answer.of({"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}]}),
    ],
)
async def test_release_that_fails_changes_nothing(
    world: World, answer: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    called = world.once_called("DeleteMessageBatch")
    notify = world.stub.script

    def script(request: Request) -> Answer | None:
        notify(request)
        return answer

    world.stub.script = script
    world.backend.takes[A] = called
    assert await world.handle(text(A, "1"), text(B, "1")) == failed()
    (line,) = caplog.messages
    assert line.startswith("a group is released later than it could be: ")


# Time


async def test_with_little_time_nothing_is_begun_but_the_first_of_each_connection(world: World) -> None:
    def pass_time() -> None:
        world.clock.time = DEADLINE - TIME_FOR_ONE_S + 1

    world.backend.on_post = pass_time
    of_a: list[Received] = [text(A, "1"), text(A, "2"), (A, text(A, "3"), 2), Disconnected(A)]
    assert await world.handle(*of_a, text(B, "1"), text(B, "2")) == failed("m2", "m3")
    assert sorted(world.backend.posts) == [(A, ["1", "2"]), (B, ["1", "2"])]
    assert world.put_off() == [{"r2": 0, "r3": 0}]


async def test_with_enough_time_all_are_handled(world: World) -> None:
    world.clock.time = DEADLINE - TIME_FOR_ONE_S
    assert await world.handle(text(A, "1"), Disconnected(A)) == failed()
    assert world.backend.texts(A) == [["1"], ["disconnected"]]


# Dead letters


async def test_texts_that_the_backend_does_not_take_in_time_become_a_dead_letter_and_free_their_group(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.backend.down = {A}

    def be_back() -> None:
        if len(world.backend.posts) == 2:
            world.backend.down.clear()

    world.backend.on_post = be_back
    tried = [(A, text(A, number), LAST) for number in "12"]
    assert await world.handle(*tried, text(A, "3"), Disconnected(A)) == failed()
    assert world.backend.texts(A) == [["1", "2"], ["3"], ["disconnected"]]
    assert world.dead_letters() == [Texts(A, [ReceivedText("id-1", b"1"), ReceivedText("id-2", b"2")])]
    (entry,) = world.entries("SendMessageBatch")[0]
    assert (entry["MessageGroupId"], entry["MessageDeduplicationId"]) == (A, "id-1")
    assert (caplog.records[-1].levelno, caplog.messages[-1]) == (
        logging.ERROR,
        f"connection {A}: 2 texts of {A}: a dead letter",
    )
    assert world.put_off() == []


async def test_dead_letter_that_is_too_large_for_a_message_is_divided(world: World) -> None:
    world.backend.down = {A}
    size = MAX_TEXTS_BYTES // 4 - 1
    large = [(A, text(A, number, size), LAST) for number in "1234"]
    assert await world.handle(*large) == failed()
    assert len(world.backend.posts) == 1
    dead = [received for message in world.dead_letters() for received in getattr(message, "texts", [])]
    assert [received.id for received in dead] == ["id-1", "id-2", "id-3", "id-4"]
    ids = [entry["MessageDeduplicationId"] for entries in world.entries("SendMessageBatch") for entry in entries]
    assert len(set(ids)) == len(ids) > 1


async def test_without_the_queue_of_dead_letters_texts_are_tried_again_and_nothing_overtakes_them(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.backend.down = {A}
    world.stub.script = lambda request: RESET if request.operation == "SendMessageBatch" else Answer()
    messages = [text(A, "1"), text(A, "2")]
    for attempt in (LAST, LAST + 1, 30):
        world.stub.requests.clear()
        assert await world.handle(*((A, message, attempt) for message in messages), Disconnected(A)) == failed(
            "m0", "m1", "m2"
        )
        assert world.put_off() == [dict.fromkeys(("r0", "r1", "r2"), int(MAX_INBOUND_PAUSE_S))]
    assert world.backend.texts(A) == [["1", "2"]] * 3
    assert caplog.messages[-1].startswith(f"connection {A}: it cannot become a dead letter: ")
    world.backend.down.clear()
    assert await world.handle(*((A, message, 31) for message in messages), Disconnected(A)) == failed()
    assert world.backend.texts(A)[3:] == [["1", "2"], ["disconnected"]]


async def test_last_time_that_sqs_hands_out_a_text_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.backend.down = {A}
    world.stub.script = lambda request: RESET if request.operation == "SendMessageBatch" else Answer()
    assert await world.handle((A, text(A, "1"), MAX_RECEIVE_COUNT)) == failed("m0")
    assert caplog.messages[-1] == f"message m0 of group {A}, texts, becomes a dead letter"


def test_sqs_hands_a_text_out_more_often_than_it_is_tried() -> None:
    assert attempts_within(MAX_INBOUND_RETRY_S, MAX_INBOUND_PAUSE_S) + 5 < MAX_RECEIVE_COUNT


async def test_anything_else_goes_on_in_the_queue_of_deferred_messages(world: World) -> None:
    world.backend.down = {A}
    messages: list[Deferred] = [Continuation(A, [SendText(A, "hi")]), Disconnected(A)]
    assert await world.handle(*((A, message, LAST) for message in messages)) == failed()
    assert world.deferred.messages == messages
    assert world.dead_letters() == []
