"""The queue's function and its event source in one process: `python -m bench.fan_out.worker`.

It passes one message at a time to the deployed function's own module and deletes it if it did not fail, as Lambda does.
The environment is a function's. It prints `ready`, and at SIGTERM what it has used, as JSON.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import boto3
import msgspec

from functions import deliver
from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.gateway.values import Page

from ..stubs.lambda_calls import DELIVER_TIMEOUT_S, QUEUE_URL, Context, sqs_event
from .reports import footprint, resident_mb

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

POLL_S = 20


class Worker:
    """Handles messages until `end` is called."""

    def __init__(self, sqs: SQSClient) -> None:
        self._sqs = sqs
        self._is_idle = False
        self._is_ending = False
        self.handled = 0

    def end(self, signal_number: int, frame: FrameType | None) -> None:
        self._is_ending = True
        if self._is_idle:
            raise SystemExit

    def work(self) -> None:
        while not self._is_ending:
            self._is_idle = True
            received = self._sqs.receive_message(
                QueueUrl=QUEUE_URL, WaitTimeSeconds=POLL_S, MessageSystemAttributeNames=["All"]
            )
            self._is_idle = False
            for message in received.get("Messages", []):
                response = deliver.handler(sqs_event(message), Context.lasting(DELIVER_TIMEOUT_S))
                if not response["batchItemFailures"]:
                    self._sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
                self.handled += 1


def note_memory_at_each_page() -> list[float]:
    """Return a list that grows by the resident memory (MB) with each page of subscribers that the function reads."""
    page_rss_mb: list[float] = []
    read = DynamoDbConnections.subscribers

    async def subscribers(
        self: DynamoDbConnections, channel: str, *, page_size: int, **where: Any
    ) -> AsyncIterator[Page]:
        async for page in read(self, channel, page_size=page_size, **where):
            page_rss_mb.append(resident_mb())
            yield page

    setattr(DynamoDbConnections, "subscribers", subscribers)  # noqa: B010 - mypy refuses to replace a method otherwise
    return page_rss_mb


def main() -> None:
    worker = Worker(boto3.client("sqs"))
    page_rss_mb = note_memory_at_each_page()
    signal.signal(signal.SIGTERM, worker.end)
    print("ready", flush=True)
    try:
        worker.work()
    finally:
        print(msgspec.json.encode(footprint(worker.handled, page_rss_mb)).decode(), flush=True)


if __name__ == "__main__":
    main()
