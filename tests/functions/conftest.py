"""The three functions in this process: their environment is moto's AWS, a real backend and a stub management API."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.watch import line_fields

from ..aws.http_stub import HttpStub, stub
from ..aws.moto_server import ENVIRONMENT, client, dynamodb, moto_url, queue_url, sqs, table_name
from ..scripted_backend import ScriptedBackend

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

__all__ = ["dynamodb", "moto_url", "queue_url", "sqs", "stub", "table_name"]

STACK_NAME = "slip-sockets"
SECRET = "a-secret-of-more-than-thirty-two-bytes"
EVENTS = Path(__file__).parents[1] / "events"


def event(name: str) -> Any:
    """Return one of the events in `tests/events`."""
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The functions change what outlives them here: a logger, and the handlers, which are pytest's."""
    yield
    logging.getLogger("slip_sockets").setLevel(logging.NOTSET)
    for handler in logging.getLogger().handlers:
        handler.removeFilter(line_fields)


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


class Context:
    """What Lambda hands to a function beside the event."""

    aws_request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"

    def __init__(self, left_s: float) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return round(self._left_s * 1000)


@dataclass(frozen=True)
class Deployment:
    """`start` runs the function of that name on an event, with so many seconds left."""

    start: Callable[[str, Any, float], Any]
    backend: ScriptedBackend
    management: HttpStub
    dynamodb: DynamoDBClient
    sqs: SQSClient
    table_name: str
    queue_url: str

    def call(self, name: str, payload: Any, *, left_s: float = 30) -> Any:
        return self.start(name, payload, left_s)

    def channels(self) -> list[str]:
        """The sort keys of all rows."""
        return sorted(item["channel"]["S"] for item in self.dynamodb.scan(TableName=self.table_name)["Items"])

    def sqs_event(self) -> Any:
        """What Lambda would hand to `deliver` now."""
        received = self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
        )
        (template,) = event("sqs")["Records"]
        records = [
            template
            | {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
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
    table_name: str,
    queue_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    secrets = json.dumps([SECRET])
    client("ssm", moto_url).put_parameter(Name=f"/{table_name}", Value=secrets, Type="SecureString")
    variables = {
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": moto_url,
        "TARGET_URL": backend.url,
        "TABLE_NAME": table_name,
        "QUEUE_URL": queue_url,
        "MANAGEMENT_URL": f"{stub.url}/live",
        "JWT_SECRET_PARAMETER": f"/{table_name}",
        "STACK_NAME": STACK_NAME,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    modules: dict[str, Any] = {}

    def start(name: str, payload: Any, left_s: float) -> Any:
        if name not in modules:  # a cold start
            sys.modules.pop(f"functions.{name}", None)
            modules[name] = importlib.import_module(f"functions.{name}")
        return modules[name].handler(payload, Context(left_s))

    yield Deployment(start, backend, stub, dynamodb, sqs, table_name, queue_url)
    for name, module in modules.items():
        module.runner.close()
        del sys.modules[f"functions.{name}"]
