from __future__ import annotations

import random
import re
import string
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
from slip_sockets.gateway.deferred import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.values import ChannelClose, Publication
from slip_sockets.gateway.worker import retry_pause_s
from slip_sockets.protocol.events import (
    MAX_MESSAGE_ID_BYTES,
    MAX_TEXT_BYTES,
    Action,
    CloseConnection,
    PublishText,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
)
from slip_sockets.protocol.patterns import MAX_CHANNEL_BYTES

from ..gateway.doubles import FakeClock
from .http_stub import RESET, Answer, HttpStub
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="
QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/000000000000/deferred.fifo"


@pytest.fixture
def queue(moto_url: str, queue_url: str, clock: FakeClock) -> SqsQueue:
    return SqsQueue(client("sqs", moto_url), queue_url, clock)


@pytest.fixture
def stubbed(stub: HttpStub, clock: FakeClock) -> SqsQueue:
    return SqsQueue(client("sqs", stub.url), QUEUE_URL, clock)


def taken(sqs: SQSClient, queue_url: str) -> list[Any]:
    """Receive and delete all messages."""
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


def some_ids(number: int) -> list[str]:
    alphabet = string.ascii_letters + string.digits + "-_"
    made = random.Random(number)
    return ["".join(made.choices(alphabet, k=15)) + "=" for _ in range(number)]


def incompressible_text() -> str:
    """Return a text of nearly MAX_TEXT_BYTES of UTF-8 with as much information as its bytes can hold."""
    made = random.Random(4)
    kinds = [range(0x80), range(0x80, 0x800), range(0xE000, 0x10000), range(0x10000, 0x110000)]
    # The weights make each byte carry the same information.
    sizes = made.choices(range(4), [0x80, 0x780 / 143, 0xF000 / 143**2, 0x100000 / 143**3], k=MAX_TEXT_BYTES)
    text = "".join(chr(made.choice(kinds[size])) for size in sizes)
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")


WORST_TEXTS = {
    "incompressible": incompressible_text(),
    "ascii": "".join(random.Random(5).choices([chr(n) for n in range(128)], k=MAX_TEXT_BYTES)),
    "escapes": "".join(random.Random(6).choices([chr(n) for n in range(32)], k=MAX_TEXT_BYTES)),
}
worst_texts = pytest.mark.parametrize("text", WORST_TEXTS.values(), ids=WORST_TEXTS)


def data_of(messages: Sequence[Any]) -> list[str]:
    actions = [action for message in messages for action in msgspec.convert(message, Continuation).actions]
    return [action.data for action in actions if isinstance(action, SendText)]


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


CHANNEL = "Zoë's lobby \x00\uffff"
PUBLISH_ID = "0123456789abcdef0123456789abcdef"
PUBLICATION = Publication(CHANNEL, "hi", "1")


@pytest.mark.parametrize(
    "message",
    [
        texts(ME, "1"),
        CloseNotice(ME, 1000, None, b"null"),
        FanOut(PUBLICATION, PUBLISH_ID),
        FanOut(ChannelClose(CHANNEL), PUBLISH_ID, "a cursor", [ME], [YOU]),
        FanOut(Publication("x" * MAX_CHANNEL_BYTES, "hi"), PUBLISH_ID),
        FanOutChunk(PUBLICATION, PUBLISH_ID, [ME, YOU], 7),
        FanOutChunk(ChannelClose(CHANNEL), PUBLISH_ID, [ME]),
    ],
    ids=lambda message: message.__struct_config__.tag,
)
async def test_each_kind_arrives_under_ids_that_sqs_takes(
    queue: SqsQueue, sqs: SQSClient, queue_url: str, message: Deferred
) -> None:
    await queue.put([message])
    (received,) = taken(sqs, queue_url)
    assert decode(received["Body"]) == message
    attributes = received["Attributes"]
    assert attributes["MessageGroupId"] == message.group
    for id_ in (attributes["MessageGroupId"], attributes["MessageDeduplicationId"]):
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
        assert re.fullmatch(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}", id_)


@pytest.mark.parametrize("connection_id", ["ü", "a b", "x" * 129, "x" * 1_000])
async def test_a_group_that_sqs_does_not_take_has_another_name(
    queue: SqsQueue, sqs: SQSClient, queue_url: str, connection_id: str
) -> None:
    other = f"{connection_id}2"
    await queue.put([texts(connection_id, "1"), texts(other, "2"), texts(connection_id, "3")])
    await queue.put([FanOutChunk(Publication("lobby", "x"), "p", [connection_id])])
    groups = [message["Attributes"]["MessageGroupId"] for message in taken(sqs, queue_url)]
    assert len(set(groups)) == 3
    assert all(re.fullmatch(r"[!-~]{1,128}", group) for group in groups)


async def test_a_fan_out_that_is_put_again_is_taken_for_a_repetition(stubbed: SqsQueue, stub: HttpStub) -> None:
    messages: list[Deferred] = [FanOut(PUBLICATION, PUBLISH_ID), FanOutChunk(PUBLICATION, PUBLISH_ID, [ME], 1)]
    await stubbed.put(messages)
    await stubbed.put([*messages, FanOutChunk(PUBLICATION, PUBLISH_ID, [ME, YOU], 1)])
    entries = [entry for request in stub.requests for entry in request.json["Entries"]]
    ids = [entry["MessageDeduplicationId"] for entry in entries]
    assert ids[:2] == ids[2:4]
    assert len(set(ids)) == 3


async def test_no_messages_need_no_call(stubbed: SqsQueue, stub: HttpStub) -> None:
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


async def test_only_the_first_part_keeps_what_was_recent(queue: SqsQueue, sqs: SQSClient, queue_url: str) -> None:
    recent: list[Subscribe | Unsubscribe] = [Subscribe(ME, "lobby"), Unsubscribe(YOU, "lobby")]
    whole = msgspec.structs.replace(texts(ME, *("x" * 100_000 for _ in range(4))), recent=recent)
    await queue.put([whole])
    parts = [msgspec.convert(decode(message["Body"]), Continuation) for message in taken(sqs, queue_url)]
    assert [part.recent for part in parts] == [recent, *[[]] * (len(parts) - 1)]
    assert len(parts) > 1
    assert [action for part in parts for action in part.actions] == whole.actions


@worst_texts
async def test_a_chunk_of_the_longest_text_fits(stubbed: SqsQueue, stub: HttpStub, text: str) -> None:
    chunk = FanOutChunk(Publication("\x00" * MAX_CHANNEL_BYTES, text), PUBLISH_ID, some_ids(1_200), 3)
    await stubbed.put([chunk])
    (request,) = stub.requests
    (entry,) = request.json["Entries"]
    assert len(entry["MessageBody"]) <= MAX_BATCH_BYTES
    assert decode(entry["MessageBody"]) == chunk


@worst_texts
async def test_a_fan_out_of_the_longest_text_with_many_new_subscribers_fits(
    stubbed: SqsQueue, stub: HttpStub, text: str
) -> None:
    fan_out = FanOut(Publication("\x00" * MAX_CHANNEL_BYTES, text), PUBLISH_ID, "x" * 100, some_ids(3_000))
    await stubbed.put([fan_out])
    (request,) = stub.requests
    (entry,) = request.json["Entries"]
    assert len(entry["MessageBody"]) <= MAX_BATCH_BYTES
    assert decode(entry["MessageBody"]) == fan_out


async def test_a_chunk_that_is_too_large_is_halved(stubbed: SqsQueue, stub: HttpStub) -> None:
    chunk = FanOutChunk(Publication("lobby", WORST_TEXTS["incompressible"]), PUBLISH_ID, some_ids(8_000), 3)
    await stubbed.put([chunk, FanOutChunk(chunk.broadcast, PUBLISH_ID, [ME], 4)])
    entries = [entry for request in stub.requests for entry in request.json["Entries"]]
    assert all(len(entry["MessageBody"]) <= MAX_BATCH_BYTES for entry in entries)
    parts = [msgspec.convert(decode(entry["MessageBody"]), FanOutChunk) for entry in entries]
    assert [part.shard for part in parts] == [3, 3, 3, 3, 4]
    assert [id_ for part in parts for id_ in part.connection_ids] == [*chunk.connection_ids, ME]
    assert [entry["MessageDeduplicationId"] for entry in entries] == [part.deduplication_id for part in parts]


async def test_a_fan_out_that_is_too_large_is_refused(stubbed: SqsQueue, stub: HttpStub) -> None:
    fan_out = FanOut(Publication("lobby", WORST_TEXTS["incompressible"]), PUBLISH_ID, joined=some_ids(8_000))
    with pytest.raises(Unavailable) as error:
        await stubbed.put([fan_out])
    size = len(encode(fan_out))
    assert str(error.value) == f"SQS takes 262144 bytes, and a fan_out has {size}: put less into one batch"
    assert stub.requests == []


@pytest.mark.parametrize(
    "event",
    [
        *(SendText(ME, text) for text in WORST_TEXTS.values()),
        PublishText("\x00" * MAX_CHANNEL_BYTES, "\x00" * MAX_TEXT_BYTES, "\x00" * MAX_MESSAGE_ID_BYTES),
        SetMetadata(ME, "é" * 32_767),
    ],
)
def test_any_single_event_fits_and_comes_back(event: Action) -> None:
    message = Continuation(ME, [event])
    assert len(encode(message)) <= MAX_BODY_BYTES
    assert decode(encode(message)) == message


TOO_DEEP = '{"type":"continuation","connection_id":"x","x":' + "[" * 5_000


@pytest.mark.parametrize("body", ["zlib:", "zlib:?", "zlib:\xe9", "zlib:eJw=", "zlib:e30=", TOO_DEEP, '"\ud800"'])
def test_a_damaged_message_cannot_be_decoded(body: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body)


async def test_calls_hold_ten_messages_and_256_kibibytes(stubbed: SqsQueue, stub: HttpStub) -> None:
    ids = [f"{number:015}=" for number in range(25)]
    await stubbed.put([texts(connection_id, "x") for connection_id in ids])
    assert [len(request.json["Entries"]) for request in stub.requests] == [10, 10, 5]
    stub.requests.clear()
    await stubbed.put([texts(connection_id, "x" * 30_000) for connection_id in ids])
    entries = [request.json["Entries"] for request in stub.requests]
    assert [len(part) for part in entries] == [8, 8, 8, 1]
    assert all(sum(len(entry["MessageBody"]) for entry in part) <= MAX_BATCH_BYTES for part in entries)
    assert [entry["MessageGroupId"] for part in entries for entry in part] == ids


async def test_no_call_holds_two_messages_of_a_group(stubbed: SqsQueue, stub: HttpStub) -> None:
    await stubbed.put([texts(ME, "1"), texts(YOU, "1"), texts(ME, "2"), texts(ME, "3")])
    groups = [[entry["MessageGroupId"] for entry in request.json["Entries"]] for request in stub.requests]
    assert groups == [[ME, YOU], [ME], [ME]]


def refusal(*ids: str, sender_fault: bool = False) -> Answer:
    failed = [{"Id": id_, "Code": "InternalError", "Message": "busy", "SenderFault": sender_fault} for id_ in ids]
    return Answer.of({"Successful": [], "Failed": failed})


async def test_refused_message_is_sent_again_before_any_later_one(
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


async def test_message_that_is_always_refused_is_unavailable(
    stubbed: SqsQueue, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda _: refusal("0")
    with pytest.raises(Unavailable) as error:
        await stubbed.put([texts(ME, "1"), texts(ME, "2")])
    assert str(error.value) == "SQS: 1 of 1 messages were not taken: busy"
    assert clock.sleeps == list(RETRY_PAUSES_S)
    assert len(stub.requests) == 1 + len(RETRY_PAUSES_S)  # and the second message was not sent


async def test_refusal_with_a_sender_fault_is_final(stubbed: SqsQueue, stub: HttpStub) -> None:
    stub.script = lambda _: refusal("0", sender_fault=True)
    with pytest.raises(Unavailable):
        await stubbed.put([texts(ME, "1")])
    assert len(stub.requests) == 1


@pytest.mark.parametrize("answer", [Answer.error("ThrottlingException"), Answer(503), RESET])
async def test_queue_that_is_away_is_unavailable(stubbed: SqsQueue, stub: HttpStub, answer: Answer | None) -> None:
    stub.script = lambda _: answer
    with pytest.raises(Unavailable, match=r"^SQS: "):
        await stubbed.put([texts(ME, "1")])


def test_messages_become_dead_letters_after_the_retry_time() -> None:
    pauses_s = [retry_pause_s(attempt) for attempt in range(1, MAX_RECEIVE_COUNT + 1)]
    assert sum(pauses_s[:-1]) <= RETRY_FOR_S < sum(pauses_s)
