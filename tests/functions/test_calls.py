"""The calls of AWS for one event of each kind, and DynamoDB's units: they are what everything costs.

Longer than 400 lines, since it is one list of events, counted by the same meter.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.stubs.cloud import CREDENTIALS
from bench.stubs.connection_ids import connection_id
from bench.stubs.lambda_calls import DEAD_LETTERS_URL, INBOUND_QUEUE_URL, QUEUE_URL, sqs_event
from bench.stubs.programs import Stub
from slip_sockets.aws.connections import INDEX_LAG_S
from slip_sockets.aws.queue import SHARDS, encode
from slip_sockets.gateway.deferred import Deferred, Disconnected, ReceivedText, Texts
from slip_sockets.gateway.deferred_presence import OccupancyNotice
from slip_sockets.gateway.delivery_rate import MIN_RESERVED_CALLS
from slip_sockets.gateway.ports import SystemClock

from ..aws.http_stub import HttpStub
from ..aws.moto_server import boto3_client
from ..scripted_backend import ScriptedBackend
from .conftest import SECRET, Functions, event
from .test_functions import control_event, replies

INLINE_LIMIT = 3


@dataclass(frozen=True)
class Used:
    """Calls of DynamoDB by operation, its units (the written ones with those of the index), and calls of the others."""

    dynamodb: dict[str, int] = field(default_factory=dict)
    read_units: float = 0
    write_units: float = 0
    sqs: dict[str, int] = field(default_factory=dict)
    management: int = 0
    backend: int = 0


class Account:
    """The functions over stubs that count. `me` is the id of a connection that no other test uses."""

    def __init__(self, dynamodb: Stub, sqs: Stub, management: HttpStub, backend: ScriptedBackend, number: int) -> None:
        self.me = connection_id(2**20, number)
        self.channel = f"lobby-{number}"
        self.backend = backend
        self._dynamodb = dynamodb
        self._sqs = sqs
        self._management = management
        self.functions = Functions()

    def call(self, name: str, payload: Any) -> Used:
        """Run a warm function on an event, and return what it used."""
        if not self.functions.is_started(name):
            self.functions.start(name)
        self.reset()
        response = self.functions.call(name, payload)
        assert response.get("statusCode", 200) == 200, response
        assert response.get("batchItemFailures", []) == [], response
        return self.used()

    def reset(self) -> None:
        self._dynamodb.post("/reset")
        self._sqs.post("/reset")
        self._management.requests.clear()
        self.backend.posts.clear()

    def url(self, service: str) -> str:
        return {"dynamodb": self._dynamodb, "sqs": self._sqs}[service].url

    def used(self) -> Used:
        """Return what was used since `reset`."""
        stats = self._dynamodb.get("/stats")
        return Used(
            {name: used["calls"] for name, used in stats.items()},
            sum(used["read_units"] for used in stats.values()),
            sum(used["write_units"] + used["index_write_units"] for used in stats.values()),
            {name: calls for name, calls in self._sqs.get("/stats")["calls"].items() if name != "ReceiveMessage"},
            len(self._management.requests),
            len(self.backend.posts),
        )

    def event(self, name: str) -> Any:
        payload = event(name)
        payload["requestContext"]["connectionId"] = self.me
        return payload

    def of(self, type_: str, **more: Any) -> dict[str, Any]:
        """An event about `me`."""
        return {"type": type_, "connectionId": self.me, **more}

    def subscribe(self, channel: str) -> dict[str, Any]:
        return self.of("SUBSCRIBE", channel=channel)

    def connect(self, *events: dict[str, Any]) -> Used:
        self.backend.script = replies(OPEN=[self.of("ACCEPT"), *events])
        return self.call("websocket", self.event("websocket_connect"))

    def text(self, *events: dict[str, Any]) -> Used:
        self.backend.script = replies(TEXT=list(events))
        return self.call("websocket", self.event("websocket_message"))

    def disconnect(self) -> Used:
        self.backend.script = replies()
        return self.call("websocket", self.event("websocket_disconnect"))

    def publish(self, **more: Any) -> Used:
        return self.call("control", control_event(self.publication(**more)))

    def publication(self, **more: Any) -> dict[str, Any]:
        return {"type": "PUBLISH_TEXT", "channelId": self.channel, "data": "hi", **more}

    def fill(self, subscribers: int) -> None:
        self._dynamodb.post("/fill", channel=self.channel, subscribers=subscribers)

    def deliver(self) -> Used:
        """Handle the message that the queue holds."""
        sqs = boto3_client("sqs", self._sqs.url)
        (message,) = sqs.receive_message(QueueUrl=QUEUE_URL, WaitTimeSeconds=5)["Messages"]
        sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
        return self.call("deliver", sqs_event(message))

    def deliver_inbound(self, *messages: Deferred, attempt: int = 1, queue_url: str = INBOUND_QUEUE_URL) -> Used:
        """Handle a batch of the queue of what clients send, or of another queue."""
        records = []
        for number, message in enumerate(messages):
            attributes = {
                "MessageGroupId": message.group,
                "ApproximateReceiveCount": str(attempt),
                "SentTimestamp": str(round(time.time() * 1000)),
            }
            received = {
                "MessageId": f"m{number}",
                "ReceiptHandle": f"r{number}",
                "Body": encode(message),
                "MD5OfBody": "",
                "Attributes": attributes,
            }
            records += sqs_event(received, queue_url)["Records"]
        self.backend.script = replies()
        return self.call("deliver", {"Records": records})

    def received_text(self, data: str) -> Texts:
        return Texts(self.me, [ReceivedText(uuid.uuid4().hex, data.encode())])

    def drop_messages(self) -> None:
        """Leave none to the next test."""
        sqs = boto3_client("sqs", self._sqs.url)
        while messages := sqs.receive_message(QueueUrl=QUEUE_URL).get("Messages", []):
            sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=messages[0]["ReceiptHandle"])


@pytest.fixture(scope="module")
def stubs() -> Iterator[tuple[Stub, Stub]]:
    with Stub("dynamodb", environment={"JWT_SECRET": SECRET}) as dynamodb, Stub("sqs") as sqs:
        yield dynamodb, sqs


@pytest.fixture
def account(
    stubs: tuple[Stub, Stub],
    stub: HttpStub,
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Account]:
    dynamodb, sqs = stubs
    variables = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb.url,
        "AWS_ENDPOINT_URL_SECRETSMANAGER": dynamodb.url,
        "AWS_ENDPOINT_URL_SQS": sqs.url,
        "TARGET_URL": backend.url,
        "STACK_NAME": "slip-sockets",
        "CONNECTIONS_TABLE": "Connections",
        "CHANNELS_TABLE": "Channels",
        "QUEUE_URL": QUEUE_URL,
        "INBOUND_QUEUE_URL": INBOUND_QUEUE_URL,
        "DEAD_LETTERS_URL": DEAD_LETTERS_URL,
        "MANAGEMENT_URL": f"{stub.url}/live",
        "JWT_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:name-AbCdEf",
        "JWT_SECRET_VERSION": "0" * 32,
        "INLINE_LIMIT": str(INLINE_LIMIT),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    number = dynamodb.post("/fill", channel="empty", subscribers=0)["filling"]
    began_at = time.time()
    # Time stands still: a row with a new time of expiry would be one more write of the index.
    monkeypatch.setattr(SystemClock, "now", lambda _: began_at)
    made = Account(dynamodb, sqs, stub, backend, number)
    made.reset()
    yield made
    made.functions.close()
    made.drop_messages()


# Connects


def test_connect_is_one_write(account: Account) -> None:
    """Each row that is written or deleted is a unit, and one more for the index."""
    once = Used({"BatchWriteItem": 1}, write_units=2, backend=1)
    assert account.connect() == once
    account.disconnect()
    assert account.connect(account.of("SET_METADATA", metadata={"name": "Zoë"})) == once


def test_connect_that_subscribes_is_one_call_and_nothing_else(account: Account) -> None:
    assert account.connect(account.subscribe("lobby")) == Used({"BatchWriteItem": 1}, write_units=4, backend=1)


def test_connect_with_a_text_is_a_message_more(account: Account) -> None:
    text = account.of("TEXT", data="hi")
    assert account.connect(text) == Used({"BatchWriteItem": 1}, 0, 2, {"SendMessageBatch": 1}, backend=1)
    assert account.deliver() == Used(management=1)


def test_connect_with_a_user_is_a_row_more_and_no_call(account: Account) -> None:
    account.backend.script = replies(OPEN=[account.of("ACCEPT", user="ann"), account.subscribe("lobby")])
    connected = account.call("websocket", account.event("websocket_connect"))
    assert connected == Used({"BatchWriteItem": 1}, write_units=6, backend=1)
    assert account.text() == Used({"GetItem": 1}, read_units=1, backend=1)
    assert account.backend.posts[0].body["user"] == "ann"
    assert account.disconnect() == Used({"Query": 1, "BatchWriteItem": 1}, 1, 6, backend=1)
    assert account.backend.posts[0].body["user"] == "ann"


@pytest.mark.parametrize(("channels", "calls"), [(24, 1), (25, 2)])
def test_rows_are_written_and_deleted_by_25(account: Account, channels: int, calls: int) -> None:
    subscribe = [account.subscribe(f"room-{number}") for number in range(channels)]
    units = 2 * (channels + 1)
    assert account.connect(*subscribe) == Used({"BatchWriteItem": calls}, write_units=units, backend=1)
    assert account.disconnect() == Used({"Query": 1, "BatchWriteItem": calls}, 1, units, backend=1)


# Texts


def test_text_is_a_read_and_its_reply_a_post(account: Account) -> None:
    account.connect()
    assert account.text() == Used({"GetItem": 1}, read_units=1, backend=1)
    assert account.text(account.of("TEXT", data="hi")) == Used({"GetItem": 1}, 1, management=1, backend=1)


def test_publish_in_the_reply_to_a_text_is_two_reads_more(account: Account) -> None:
    """One of the channel's marks, and one of its subscribers."""
    account.connect(account.subscribe(account.channel))
    reads = {"GetItem": 1, "Query": 1, "Query channel-index": 1}
    assert account.text(account.publication()) == Used(reads, 2.5, management=1, backend=1)


def test_each_change_in_the_reply_to_a_text_is_one_write(account: Account) -> None:
    """A subscription is a transaction, at twice the price: a connection that is leaving must not gain a row."""
    account.connect()
    assert account.text(account.subscribe("lobby")) == Used({"GetItem": 1, "TransactWriteItems": 1}, 1, 5, backend=1)
    assert account.text(account.of("UNSUBSCRIBE", channel="lobby")) == Used(
        {"GetItem": 1, "DeleteItem": 1}, 1, 2, backend=1
    )
    assert account.text(account.of("SET_METADATA", metadata=1)) == Used(
        {"GetItem": 1, "UpdateItem": 1}, 1, 1, backend=1
    )


def test_close_reads_and_deletes_the_subscriptions(account: Account) -> None:
    account.connect(account.subscribe("lobby"))
    assert account.text(account.of("CLOSE")) == Used(
        {"GetItem": 1, "Query": 1, "BatchWriteItem": 1}, 2, 2, management=1, backend=1
    )


# Texts in order


def test_text_in_order_is_a_read_and_a_post(account: Account) -> None:
    account.connect()
    assert account.deliver_inbound(account.received_text("hi")) == Used({"GetItem": 1}, 1, backend=1)


def test_texts_of_a_batch_are_a_read_and_a_post_together(account: Account) -> None:
    account.connect()
    texts = [account.received_text(str(number)) for number in range(10)]
    assert account.deliver_inbound(*texts) == Used({"GetItem": 1}, 1, backend=1)
    assert len(account.backend.posts[0].events) == 10


def test_texts_that_are_tried_again_are_a_read_more(account: Account) -> None:
    """Of what an earlier attempt has left."""
    account.connect()
    assert account.deliver_inbound(account.received_text("hi"), attempt=2) == Used({"GetItem": 2}, 2, backend=1)


def test_numbered_texts_of_a_batch_are_one_write_more(account: Account) -> None:
    account.connect()
    texts = [account.received_text(f"\x01{number}\x01hi") for number in (1, 2, 3)]
    assert account.deliver_inbound(*texts) == Used({"GetItem": 1, "UpdateItem": 1}, 1, 1, backend=1)


def test_disconnect_in_order_is_a_read_more(account: Account) -> None:
    """The metadata is read first, and the rows go last, so that a CLOSE is not lost."""
    account.connect()
    left = Disconnected(account.me, 1001, b"bye")
    once = {"GetItem": 1, "Query": 1, "BatchWriteItem": 1}
    assert account.deliver_inbound(left) == Used(once, 2, 2, backend=1)
    account.connect()
    both = account.deliver_inbound(account.received_text("hi"), left)
    assert both == Used(once | {"GetItem": 2}, 3, 2, backend=2)


def test_a_channel_that_is_occupied_is_a_read_and_one_that_is_vacated_is_none(account: Account) -> None:
    account.connect()
    occupied = OccupancyNotice("lobby", True, account.me, 1)
    assert account.deliver_inbound(occupied, queue_url=QUEUE_URL) == Used({"GetItem": 1}, 1, backend=1)
    vacated = OccupancyNotice("lobby", False, account.me, 2, b"null")
    assert account.deliver_inbound(vacated, queue_url=QUEUE_URL) == Used(backend=1)


def test_connect_with_a_text_is_a_message_in_either_queue(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INBOUND", "ordered")
    used = account.connect(account.of("TEXT", data="hi"))
    assert used == Used({"BatchWriteItem": 1}, 0, 2, {"SendMessageBatch": 1}, backend=1)


# Disconnects


def test_disconnect_is_a_query_and_a_write(account: Account) -> None:
    account.connect()
    assert account.disconnect() == Used({"Query": 1, "BatchWriteItem": 1}, 1, 2, backend=1)


# Publishes by the control API


def test_publish_is_two_reads_and_with_an_id_two_writes(account: Account) -> None:
    account.connect(account.subscribe(account.channel))
    reads = {"Query": 1, "Query channel-index": 1}
    assert account.publish() == Used(reads, 1.5, management=1)
    assert account.publish(id="1") == Used({**reads, "PutItem": 1, "UpdateItem": 1}, 1.5, 2, management=1)
    assert account.publish(id="1") == Used({"PutItem": 1}, 0, 1)


def test_publish_to_a_user_and_close_of_one_are_two_reads(account: Account) -> None:
    user = account.channel
    account.backend.script = replies(OPEN=[account.of("ACCEPT", user=user)])
    account.call("websocket", account.event("websocket_connect"))
    reads = {"Query": 1, "Query channel-index": 1}
    assert account.publish(channelId=f"$user:{user}") == Used(reads, 1.5, management=1)
    close = {"type": "CLOSE_CHANNEL", "channelId": f"$user:{user}"}
    assert account.call("control", control_event(close | {"exceptConnectionId": account.me})) == Used(reads, 1.5)
    assert account.call("control", control_event(close)) == Used(reads, 1.5, management=1)


def test_publish_where_there_are_no_patterns_is_one_read_more_in_ten_seconds(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the mark that there are some. A channel without a colon in its name has no patterns."""
    reads = {"Query": 1, "Query channel-index": 1}
    account.channel += ":eu:1"
    account.connect(account.subscribe(account.channel))
    assert account.publish() == Used({**reads, "GetItem": 1}, 2.5, management=1)
    assert [account.publish() for _ in range(3)] == [Used(reads, 1.5, management=1)] * 3
    began_at = SystemClock().now()
    monkeypatch.setattr(SystemClock, "now", lambda _: began_at + INDEX_LAG_S)
    assert account.publish() == Used({**reads, "GetItem": 1}, 2.5, management=1)


def test_subscription_to_a_pattern_is_one_write_more_in_an_hour(account: Account) -> None:
    """The mark that there are patterns, once for each instance of the function."""
    account.connect()
    pattern, other = (account.subscribe(f"{account.channel}:{end}") for end in ("*", "a:*"))
    once = {"GetItem": 1, "TransactWriteItems": 1}
    assert account.text(pattern) == Used({**once, "PutItem": 1}, 1, 6, backend=1)
    assert account.text(other) == Used(once, 1, 5, backend=1)
    assert account.connect(pattern) == Used({"BatchWriteItem": 1}, write_units=4, backend=1)


def test_publish_with_patterns_is_a_query_more_for_each_that_may_match(account: Account) -> None:
    """Side by side; and those that match a name of any number of segments are four at most."""
    account.connect(account.subscribe(f"{account.channel}:*"))
    channel = account.channel
    for segments in range(1, 7):
        account.channel = ":".join([channel, *"abcde"[: segments - 1]])
        account.publish()
        queries = 1 + min(segments - 1, 4)
        reads = {"Query": 1, "Query channel-index": queries}
        assert account.publish() == Used(reads, 1 + queries / 2, management=1 if segments > 1 else 0)


def test_kept_publish_is_two_calls_and_three_units_more_and_four_for_every_sixteenth(account: Account) -> None:
    account.connect(account.subscribe(account.channel))
    keep, data = {"count": 100, "seconds": 60}, "x" * 1_024
    plain = account.publish(data=data)
    account.publish(data=data, keep=keep)  # the first of a channel puts the head
    several = [account.publish(data=data, keep=keep) for _ in range(49)]
    calls = {**plain.dynamodb, "BatchWriteItem": 1, "UpdateItem": 1}
    assert [used.dynamodb for used in several] == [calls] * 49
    assert {used.read_units for used in several} == {plain.read_units}
    pages = [index for index, used in enumerate(several) if used.write_units == 4]
    assert pages == [31, 47]
    assert {used.write_units for index, used in enumerate(several) if index not in pages} == {3}


def test_publish_to_many_is_one_message_and_a_count(account: Account) -> None:
    account.fill(INLINE_LIMIT + 7)
    reads = {"Query": 1, "Query channel-index": 1, "Query channel-index COUNT": 1}
    assert account.publish() == Used({**reads, "PutItem": 1}, 2, 1, {"SendMessageBatch": 1})
    assert account.deliver() == Used({"Query channel-index": 1, "PutItem": 1}, 0.5, 1, {"SendMessageBatch": 1})


def test_chunk_is_a_read_and_a_mark_and_a_large_one_reserves_its_calls(account: Account) -> None:
    """One write more, so that all functions together leave room for other callers of the management API."""
    account.fill(SHARDS * MIN_RESERVED_CALLS // 2)
    account.publish()
    account.deliver()
    for _ in range(SHARDS):
        used = account.deliver()
        assert used == Used({"Query": 1, "PutItem": 1}, 1, 1, management=used.management)
        assert used.management < MIN_RESERVED_CALLS
    account.channel += "-large"
    account.fill(SHARDS * MIN_RESERVED_CALLS * 3 // 2)
    account.publish()
    account.deliver()
    for _ in range(SHARDS):
        used = account.deliver()
        assert used.management >= MIN_RESERVED_CALLS
        assert used == Used({"Query": 1, "PutItem": 1, "UpdateItem": 1}, 1, 2, management=used.management)


def test_send_to_one_is_one_post_and_a_read_of_its_form(account: Account) -> None:
    payload = control_event(account.of("TEXT", data="hi"))
    assert account.call("control", payload) == Used({"GetItem": 1}, 1, management=1)


# Cold starts


@pytest.mark.parametrize("name", ["websocket", "control", "deliver"])
def test_cold_start_reads_only_the_secret(account: Account, name: str) -> None:
    """The stub has it, and does not count that call."""
    account.functions.start(name)
    assert account.used() == Used()
