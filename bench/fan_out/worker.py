"""A function of the queue and its event source in one process: `python -m bench.fan_out.worker`.

It runs the deployed function's own module on one message at a time and deletes what did not fail, as Lambda does. The
environment is a function's. It prints `ready`, and, ended by SIGTERM, what it has done, as JSON.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

import boto3
import msgspec

from functions import deliver

from .lambda_calls import DELIVER_TIMEOUT_S, QUEUE_URL, Context, sqs_event
from .reports import footprint, resident_mb

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient

POLL_S = 20


class Worker:
    """Handles messages until it is told to end."""

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
            answer = self._sqs.receive_message(
                QueueUrl=QUEUE_URL, WaitTimeSeconds=POLL_S, MessageSystemAttributeNames=["All"]
            )
            self._is_idle = False
            for message in answer.get("Messages", []):
                failures = deliver.handler(sqs_event(message), Context.lasting(DELIVER_TIMEOUT_S))
                if not failures["batchItemFailures"]:
                    self._sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
                self.handled += 1


def main() -> None:
    worker = Worker(boto3.client("sqs"))
    page_rss_mb: list[float] = []

    query = deliver.dynamodb.query

    def noting_pages(**asked: Any) -> Any:
        answer = query(**asked)
        page_rss_mb.append(resident_mb())
        return answer

    setattr(deliver.dynamodb, "query", noting_pages)  # noqa: B010 - mypy does not let a method be replaced otherwise
    signal.signal(signal.SIGTERM, worker.end)
    print("ready", flush=True)
    try:
        worker.work()
    finally:
        print(msgspec.json.encode(footprint(worker.handled, page_rss_mb)).decode(), flush=True)


if __name__ == "__main__":
    main()
