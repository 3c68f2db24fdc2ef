"""What one event of each kind asks of AWS: calls, and DynamoDB's units. One more changes what everything costs."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from bench.fan_out.cloud import CREDENTIALS
from bench.fan_out.lambda_calls import QUEUE_URL, sqs_event
from bench.fan_out.programs import Stub
from bench.fan_out.subscribers import connection_id
from slip_sockets.gateway.ports import SystemClock

from ..aws.http_stub import HttpStub
from ..aws.moto_server import client
from ..scripted_backend import ScriptedBackend
from .conftest import SECRET, Context, event
from .test_functions import answers, control_event

INLINE_LIMIT = 3


@dataclass(frozen=True)
class Used:
    """Calls of DynamoDB by operation, units (those of the index among the written ones), calls of the others."""

    dynamodb: dict[str, int] = field(default_factory=dict)
    read_units: float = 0
    write_units: float = 0
    sqs: dict[str, int] = field(default_factory=dict)
    management: int = 0
    backend: int = 0


class Account:
    """The functions over stubs that count. `ME` is a connection that nobody has used before."""

    def __init__(self, dynamodb: Stub, sqs: Stub, management: HttpStub, backend: ScriptedBackend, number: int) -> None:
        self.me = connection_id(2**20, number)
        self.channel = f"lobby-{number}"
        self.backend = backend
        self._dynamodb = dynamodb
        self._sqs = sqs
        self._management = management
        self._modules: dict[str, Any] = {}

    def start(self, name: str) -> None:
        sys.modules.pop(f"functions.{name}", None)
        self._modules[name] = importlib.import_module(f"functions.{name}")

    def call(self, name: str, payload: Any) -> Used:
        """Run a warm function on an event, and return what it used."""
        if name not in self._modules:
            self.start(name)
        self.reset()
        answer = self._modules[name].handler(payload, Context(30))
        assert answer.get("statusCode", 200) == 200, answer
        assert answer.get("batchItemFailures", []) == [], answer
        return self.used()

    def reset(self) -> None:
        self._dynamodb.post("/reset")
        self._sqs.post("/reset")
        self._management.requests.clear()
        self.backend.told.clear()

    def used(self) -> Used:
        """Return what was used since `reset`."""
        stats = self._dynamodb.get("/stats")
        return Used(
            {name: used["calls"] for name, used in stats.items()},
            sum(used["read_units"] for used in stats.values()),
            sum(used["write_units"] + used["index_write_units"] for used in stats.values()),
            {name: calls for name, calls in self._sqs.get("/stats")["calls"].items() if name != "ReceiveMessage"},
            len(self._management.requests),
            len(self.backend.told),
        )

    def event(self, name: str) -> Any:
        payload = event(name)
        payload["requestContext"]["connectionId"] = self.me
        return payload

    def of(self, type_: str, **more: Any) -> dict[str, Any]:
        """An event about ME."""
        return {"type": type_, "connectionId": self.me, **more}

    def subscribe(self, channel: str) -> dict[str, Any]:
        return self.of("SUBSCRIBE", channel=channel)

    def connect(self, *events: dict[str, Any]) -> Used:
        self.backend.script = answers(OPEN=[self.of("ACCEPT"), *events])
        return self.call("websocket", self.event("websocket_connect"))

    def frame(self, *events: dict[str, Any]) -> Used:
        self.backend.script = answers(TEXT=list(events))
        return self.call("websocket", self.event("websocket_message"))

    def disconnect(self) -> Used:
        self.backend.script = answers()
        return self.call("websocket", self.event("websocket_disconnect"))

    def publish(self, **more: str) -> Used:
        return self.call("control", control_event(self.publication(**more)))

    def publication(self, **more: str) -> dict[str, Any]:
        return {"type": "PUBLISH_TEXT", "channelId": self.channel, "data": "hi", **more}

    def fill(self, subscribers: int) -> None:
        self._dynamodb.post("/fill", channel=self.channel, subscribers=subscribers)

    def deliver(self) -> Used:
        """Handle the message that the queue holds."""
        sqs = client("sqs", self._sqs.url)
        (message,) = sqs.receive_message(QueueUrl=QUEUE_URL, WaitTimeSeconds=5)["Messages"]
        sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
        return self.call("deliver", sqs_event(message))

    def close(self) -> None:
        for name, module in self._modules.items():
            module.runner.close()
            del sys.modules[f"functions.{name}"]


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
        "AWS_ENDPOINT_URL_SSM": dynamodb.url,
        "AWS_ENDPOINT_URL_SQS": sqs.url,
        "TARGET_URL": backend.url,
        "STACK_NAME": "slip-sockets",
        "TABLE_NAME": "Connections",
        "QUEUE_URL": QUEUE_URL,
        "MANAGEMENT_URL": f"{stub.url}/live",
        "JWT_SECRET_PARAMETER": "/secret",
        "INLINE_LIMIT": str(INLINE_LIMIT),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    number = dynamodb.post("/fill", channel="nobody", subscribers=0)["filling"]
    began_at = time.time()
    # A row whose time changes within an event is a write of the index more: time stands still.
    monkeypatch.setattr(SystemClock, "now", lambda _: began_at)
    made = Account(dynamodb, sqs, stub, backend, number)
    made.reset()
    yield made
    made.close()


# Connects


def test_connect_is_one_write(account: Account) -> None:
    """Of a row: a unit for it, and one for the index, as for each that is written or deleted."""
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


@pytest.mark.parametrize(("channels", "calls"), [(24, 1), (25, 2)])
def test_rows_are_written_and_deleted_by_25(account: Account, channels: int, calls: int) -> None:
    subscribe = [account.subscribe(f"room-{number}") for number in range(channels)]
    units = 2 * (channels + 1)
    assert account.connect(*subscribe) == Used({"BatchWriteItem": calls}, write_units=units, backend=1)
    assert account.disconnect() == Used({"Query": 1, "BatchWriteItem": calls}, 1, units, backend=1)


# Frames


def test_frame_is_a_read_and_its_answer_a_post(account: Account) -> None:
    account.connect()
    assert account.frame() == Used({"GetItem": 1}, read_units=1, backend=1)
    assert account.frame(account.of("TEXT", data="hi")) == Used({"GetItem": 1}, 1, management=1, backend=1)


def test_publish_of_a_frame_is_two_reads_more(account: Account) -> None:
    """Whether something waits in the queue, and who listens."""
    account.connect(account.subscribe(account.channel))
    reads = {"GetItem": 1, "Query": 1, "Query channel-index": 1}
    assert account.frame(account.publication()) == Used(reads, 2.5, management=1, backend=1)


def test_what_a_frame_changes_is_one_write_for_each(account: Account) -> None:
    """A subscription is a transaction, at twice the price: of someone who is leaving nothing must stay."""
    account.connect()
    assert account.frame(account.subscribe("lobby")) == Used({"GetItem": 1, "TransactWriteItems": 1}, 1, 5, backend=1)
    assert account.frame(account.of("UNSUBSCRIBE", channel="lobby")) == Used(
        {"GetItem": 1, "DeleteItem": 1}, 1, 2, backend=1
    )
    assert account.frame(account.of("SET_METADATA", metadata=1)) == Used(
        {"GetItem": 1, "UpdateItem": 1}, 1, 1, backend=1
    )


def test_close_reads_and_deletes_the_subscriptions(account: Account) -> None:
    account.connect(account.subscribe("lobby"))
    assert account.frame(account.of("CLOSE")) == Used(
        {"GetItem": 1, "Query": 1, "BatchWriteItem": 1}, 2, 2, management=1, backend=1
    )


# Disconnects


def test_disconnect_is_a_query_and_a_write(account: Account) -> None:
    account.connect()
    assert account.disconnect() == Used({"Query": 1, "BatchWriteItem": 1}, 1, 2, backend=1)


# Publishes from anywhere


def test_publish_is_two_reads_and_with_an_id_two_writes(account: Account) -> None:
    account.connect(account.subscribe(account.channel))
    reads = {"Query": 1, "Query channel-index": 1}
    assert account.publish() == Used(reads, 1.5, management=1)
    assert account.publish(id="1") == Used({**reads, "PutItem": 1, "UpdateItem": 1}, 1.5, 3, management=1)
    assert account.publish(id="1") == Used({"PutItem": 1}, 0, 1)


def test_publish_to_many_is_one_message_and_a_count(account: Account) -> None:
    account.fill(INLINE_LIMIT + 7)
    reads = {"Query": 1, "Query channel-index": 1, "Query channel-index COUNT": 1}
    assert account.publish() == Used({**reads, "PutItem": 1}, 2, 2, {"SendMessageBatch": 1})
    assert account.deliver() == Used({"Query channel-index": 1, "PutItem": 1}, 0.5, 1, {"SendMessageBatch": 1})


def test_send_to_one_is_one_post(account: Account) -> None:
    payload = control_event(account.of("TEXT", data="hi"))
    assert account.call("control", payload) == Used(management=1)


# Cold starts


@pytest.mark.parametrize("name", ["websocket", "control", "deliver"])
def test_cold_start_asks_for_nothing_but_the_secret(account: Account, name: str) -> None:
    """Which the stub has, and does not count."""
    account.start(name)
    assert account.used() == Used()
