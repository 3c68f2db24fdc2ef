"""The three functions in this process, over moto's AWS, a real backend and a stub of the management API."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.lambda_function import Handler
from slip_sockets.aws.log_fields import LogFields

from ..aws.http_stub import HttpStub, stub
from ..aws.moto_server import (
    ENVIRONMENT,
    channels_table,
    connections_table,
    dynamodb,
    moto_url,
    queue_url,
    queues_beside,
    sqs,
    stored_secrets,
)
from ..aws.service_models import calls_are_as_modelled
from ..scripted_backend import ScriptedBackend

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

__all__ = [
    "calls_are_as_modelled",
    "channels_table",
    "connections_table",
    "dynamodb",
    "moto_url",
    "queue_url",
    "sqs",
    "stub",
]

STACK_NAME = "slip-sockets"
SECRET = "a-secret-of-more-than-thirty-two-bytes"
EVENTS = Path(__file__).parents[1] / "events"


def event(name: str) -> Any:
    """Return one of the events in `tests/events`."""
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The functions change a logger, and the root logger's handlers, which are pytest's."""
    yield
    logging.getLogger("slip_sockets").setLevel(logging.NOTSET)
    for handler in logging.getLogger().handlers:
        handler.filters[:] = [each for each in handler.filters if not isinstance(each, LogFields)]


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    """A backend in a thread of its own, since the functions block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    backend = ScriptedBackend()
    asyncio.run_coroutine_threadsafe(backend.start(), loop).result()
    yield backend
    asyncio.run_coroutine_threadsafe(backend.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


LEFT_S = {"websocket": 29, "control": 29, "deliver": 60}
"""The functions' timeouts, as the stacks deploy them."""


class Functions:
    """The functions in this process. Each has a cold start: at `start`, or at its first event."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def start(self, name: str) -> None:
        sys.modules.pop(f"functions.{name}", None)
        self._handlers[name] = importlib.import_module(f"functions.{name}").handler

    def is_started(self, name: str) -> bool:
        return name in self._handlers

    def call(self, name: str, payload: Any, *, left_s: float | None = None) -> Any:
        """Run a function on an event, with `left_s` seconds until its timeout, or all of them."""
        if not self.is_started(name):
            self.start(name)
        return self._handlers[name](payload, Context(LEFT_S[name] if left_s is None else left_s))

    def close(self) -> None:
        for name, handler in self._handlers.items():
            handler.close()
            del sys.modules[f"functions.{name}"]


class Context:
    """What Lambda passes to a function beside the event."""

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return round(self._left_s * 1000)


@dataclass(frozen=True)
class Deployment:
    """The functions, and everything that they call."""

    functions: Functions
    backend: ScriptedBackend
    management: HttpStub
    dynamodb: DynamoDBClient
    sqs: SQSClient
    connections_table: str
    channels_table: str
    queue_url: str

    def call(self, name: str, payload: Any, *, left_s: float | None = None) -> Any:
        return self.functions.call(name, payload, left_s=left_s)

    def channels(self) -> list[str]:
        """The sort keys of all rows of Connections."""
        return sorted(item["channel"]["S"] for item in self.dynamodb.scan(TableName=self.connections_table)["Items"])

    def remembered(self) -> list[tuple[str, str]]:
        """The keys of all rows of Channels."""
        rows = self.dynamodb.scan(TableName=self.channels_table)["Items"]
        return sorted((row["channel"]["S"], row["key"]["S"]) for row in rows)

    @property
    def inbound_url(self) -> str:
        return queues_beside(self.queue_url)["INBOUND_QUEUE_URL"]

    @property
    def dead_letters_url(self) -> str:
        return queues_beside(self.queue_url)["DEAD_LETTERS_URL"]

    def sqs_event(self, queue_url: str | None = None) -> Any:
        """The event with which Lambda would call `deliver` now, with the messages of a queue."""
        url = queue_url or self.queue_url
        received = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"])
        (template,) = event("sqs")["Records"]
        records = [
            template
            | {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{url.rpartition('/')[2]}",
            }
            for message in received.get("Messages", [])
        ]
        return {"Records": records}


@pytest.fixture
def deployment(
    backend: ScriptedBackend,
    stub: HttpStub,
    moto_url: str,
    dynamodb: DynamoDBClient,
    sqs: SQSClient,
    connections_table: str,
    channels_table: str,
    queue_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    variables = {
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": moto_url,
        "TARGET_URL": backend.url,
        "CONNECTIONS_TABLE": connections_table,
        "CHANNELS_TABLE": channels_table,
        "QUEUE_URL": queue_url,
        **queues_beside(queue_url),
        "MANAGEMENT_URL": f"{stub.url}/live",
        **stored_secrets(moto_url, json.dumps([SECRET])),
        "STACK_NAME": STACK_NAME,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    functions = Functions()
    yield Deployment(functions, backend, stub, dynamodb, sqs, connections_table, channels_table, queue_url)
    functions.close()
