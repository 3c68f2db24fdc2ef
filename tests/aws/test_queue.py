from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from slip_sockets.aws.queue import (
    MAX_BATCH_BYTES,
    MAX_BODY_BYTES,
    MAX_RECEIVE_COUNT,
    RETRY_PAUSES_S,
    SqsQueue,
    decode,
    encode,
)
from slip_sockets.events import (
    MAX_CHANNEL_BYTES,
    MAX_MESSAGE_ID_BYTES,
    MAX_TEXT_BYTES,
    AnswerEvent,
    CloseConnection,
    PublishText,
    SendText,
    SetMetadata,
    Subscribe,
)
from slip_sockets.gateway.plan import RETRY_FOR_S, retry_pause_s
from slip_sockets.gateway.ports import CloseNotice, Continuation, Deferred, Unavailable

from ..gateway.doubles import FakeClock
from .http_stub import RESET, Answer, HttpStub
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/deferred.fifo"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(sqs: SQSClient, queue_url: str, clock: FakeClock) -> SqsQueue:
    return SqsQueue(sqs, queue_url, clock)


@pytest.fixture
def stubbed(stub: HttpStub, clock: FakeClock) -> SqsQueue:
    return SqsQueue(client("sqs", stub.url), QUEUE_URL, clock)


def taken(sqs: SQSClient, queue_url: str) -> list[Any]:
    """Receive and delete until nothing is left."""
    messages: list[Any] = []
    while batch := sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    ).get("Messages"):
        messages += batch
        for message in batch:
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
    return messages


def texts(connection_id: str, *data: str) -> Continuation:
    return Continuation(connection_id, [SendText(connection_id, text) for text in data])


def data_of(messages: Sequence[Any]) -> list[str]:
    events = [event for message in messages for event in msgspec.convert(message, Continuation).events]
    return [event.data for event in events if isinstance(event, SendText)]


async def test_messages_arrive_in_the_group_of_their_connection(
    queue: SqsQueue, sqs: SQSClient, queue_url: str
) -> None:
    notice = CloseNotice(YOU, 1005, "gone", b'{"a": [1]}')
    await queue.put([texts(ME, "1"), notice, texts(ME, "2")])
    messages = taken(sqs, queue_url)
    assert [(message["Attributes"]["MessageGroupId"], decode(message["Body"])) for message in messages] == [
        (ME, texts(ME, "1")),
        (YOU, notice),
        (ME, texts(ME, "2")),
    ]
    assert len({message["Attributes"]["MessageDeduplicationId"] for message in messages}) == 3


async def test_equal_messages_are_not_taken_for_repetitions(queue: SqsQueue, sqs: SQSClient, queue_url: str) -> None:
    await queue.put([texts(ME, "1")])
    await queue.put([texts(ME, "1"), texts(ME, "1")])
    assert len(taken(sqs, queue_url)) == 3


async def test_nothing_is_put_without_a_call(stubbed: SqsQueue, stub: HttpStub) -> None:
    await stubbed.put([])
    assert stub.requests == []


EVERYTHING = "".join(map(chr, range(0x300))) + "\u2028\ud7ff\ue000\ufdd0\ufffd\ufffe\uffff\U0001f600\U0010ffff"


@pytest.mark.parametrize(
    "message",
    [
        texts(ME, EVERYTHING),
        Continuation(ME, [Subscribe(ME, EVERYTHING), PublishText(EVERYTHING, "x", EVERYTHING), CloseConnection(ME)]),
        Continuation(ME, [SetMetadata(ME, {EVERYTHING: [1, None, EVERYTHING]})]),
        CloseNotice(ME, None, EVERYTHING, None),
    ],
)
async def test_any_character_survives(queue: SqsQueue, sqs: SQSClient, queue_url: str, message: Deferred) -> None:
    await queue.put([message])
    (received,) = taken(sqs, queue_url)
    assert received["Body"].isascii()
    assert all(character >= " " for character in received["Body"])
    assert decode(received["Body"]) == message


@pytest.mark.parametrize("metadata", [None, b"null", '{ "Zoë": "\uffff\U0001f600 \\u0000", "n": 1e400}'.encode()])
def test_metadata_of_a_close_notice_comes_back_byte_for_byte(metadata: bytes | None) -> None:
    notice = CloseNotice(ME, 1000, None, metadata)
    assert decode(encode(notice)) == notice


async def test_long_continuation_is_split_in_order(queue: SqsQueue, sqs: SQSClient, queue_url: str) -> None:
    data = [f"{number}:" + "x" * 100_000 for number in range(25)]
    await queue.put([texts(ME, *data), texts(YOU, "1"), texts(ME, "last")])
    messages = taken(sqs, queue_url)
    assert all(len(message["Body"]) <= MAX_BODY_BYTES for message in messages)
    mine = [decode(message["Body"]) for message in messages if message["Attributes"]["MessageGroupId"] == ME]
    assert len(mine) > 3
    assert data_of(mine) == [*data, "last"]


@pytest.mark.parametrize(
    "event",
    [
        PublishText("\x00" * MAX_CHANNEL_BYTES, "\x00" * MAX_TEXT_BYTES, "\x00" * MAX_MESSAGE_ID_BYTES),
        SendText(ME, "".join(random.Random(1).choices([chr(n) for n in range(32)], k=MAX_TEXT_BYTES))),
        SendText(ME, "".join(random.Random(2).choices([chr(n) for n in range(128)], k=MAX_TEXT_BYTES))),
        SendText(
            ME, "".join(random.Random(3).choices([chr(n) for n in range(0xE000, 0x10000)], k=MAX_TEXT_BYTES // 3))
        ),
        SetMetadata(ME, "é" * 32_767),
    ],
)
def test_any_single_event_fits_and_comes_back(event: AnswerEvent) -> None:
    message = Continuation(ME, [event])
    assert len(encode(message)) <= MAX_BODY_BYTES
    assert decode(encode(message)) == message


@pytest.mark.parametrize("body", ["zlib:", "zlib:?", "zlib:eJw=", "zlib:e30="])
def test_a_damaged_message_cannot_be_decoded(body: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body)


async def test_calls_hold_ten_messages_and_256_kibibytes(stubbed: SqsQueue, stub: HttpStub) -> None:
    whose = [f"{number:015}=" for number in range(25)]
    await stubbed.put([texts(connection_id, "x") for connection_id in whose])
    assert [len(request.json["Entries"]) for request in stub.requests] == [10, 10, 5]
    stub.requests.clear()
    await stubbed.put([texts(connection_id, "x" * 30_000) for connection_id in whose])
    entries = [request.json["Entries"] for request in stub.requests]
    assert [len(part) for part in entries] == [8, 8, 8, 1]
    assert all(sum(len(entry["MessageBody"]) for entry in part) <= MAX_BATCH_BYTES for part in entries)
    assert [entry["MessageGroupId"] for part in entries for entry in part] == whose


async def test_no_call_holds_two_messages_of_a_group(stubbed: SqsQueue, stub: HttpStub) -> None:
    await stubbed.put([texts(ME, "1"), texts(YOU, "1"), texts(ME, "2"), texts(ME, "3")])
    groups = [[entry["MessageGroupId"] for entry in request.json["Entries"]] for request in stub.requests]
    assert groups == [[ME, YOU], [ME], [ME]]


def refusal(*ids: str, sender_fault: bool = False) -> Answer:
    failed = [{"Id": id_, "Code": "InternalError", "Message": "busy", "SenderFault": sender_fault} for id_ in ids]
    return Answer.of({"Successful": [], "Failed": failed})


async def test_message_not_taken_is_sent_again_before_any_later_one(
    stubbed: SqsQueue, stub: HttpStub, clock: FakeClock
) -> None:
    answers = [refusal("0", "2"), refusal("2"), Answer(), Answer()]
    stub.script = lambda _: answers.pop(0)
    await stubbed.put([texts(ME, "1"), texts(YOU, "1"), texts("CCCCCCCCCCCCCCC=", "1"), texts(ME, "2")])
    sent = [request.json["Entries"] for request in stub.requests]
    first = sent[0]
    assert sent[1:3] == [[first[0], first[2]], [first[2]]]  # with their deduplication ids
    assert [decode(entry["MessageBody"]) for entry in sent[3]] == [texts(ME, "2")]
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])


async def test_message_never_taken_is_unavailable(stubbed: SqsQueue, stub: HttpStub, clock: FakeClock) -> None:
    stub.script = lambda _: refusal("0")
    with pytest.raises(Unavailable) as error:
        await stubbed.put([texts(ME, "1"), texts(ME, "2")])
    assert str(error.value) == "SQS: 1 of 1 messages were not taken: busy"
    assert clock.sleeps == list(RETRY_PAUSES_S)
    assert len(stub.requests) == 1 + len(RETRY_PAUSES_S)  # and the second message was not tried


async def test_message_that_is_at_fault_is_not_sent_again(stubbed: SqsQueue, stub: HttpStub) -> None:
    stub.script = lambda _: refusal("0", sender_fault=True)
    with pytest.raises(Unavailable):
        await stubbed.put([texts(ME, "1")])
    assert len(stub.requests) == 1


@pytest.mark.parametrize("answer", [Answer.error("ThrottlingException"), Answer(503), RESET])
async def test_queue_that_is_away_is_unavailable(stubbed: SqsQueue, stub: HttpStub, answer: Answer | None) -> None:
    stub.script = lambda _: answer
    with pytest.raises(Unavailable, match=r"^SQS: "):
        await stubbed.put([texts(ME, "1")])


def test_messages_die_after_the_time_that_they_are_tried() -> None:
    pauses_s = [retry_pause_s(attempt) for attempt in range(1, MAX_RECEIVE_COUNT + 1)]
    assert sum(pauses_s[:-1]) <= RETRY_FOR_S < sum(pauses_s)
