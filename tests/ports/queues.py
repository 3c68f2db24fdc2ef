"""The engines of the port Queue: SQS in moto, with a driver in the place of Lambda's event source, and memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from moto.backends import get_backend

from local_aws.fifo_queues import correct_fifo_queues
from slip_sockets.aws.checkpoints import Checkpoints
from slip_sockets.aws.consumer import Consumer
from slip_sockets.aws.queue import MAX_RECEIVE_COUNT, SqsQueue, decode
from slip_sockets.dev.queue import MemoryQueue
from slip_sockets.gateway.deferred import Deferred
from slip_sockets.gateway.ports import Clock, Queue
from slip_sockets.gateway.worker import Worker

from ..gateway.doubles import FakeClock

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient as OurSqsClient
    from types_boto3_sqs.client import SQSClient

TIMEOUT_S = 20
BATCH_SIZE = 10
FUNCTIONS = 2
"""Functions that Lambda runs side by side for the queue."""


class YieldingClock(FakeClock):
    """Other tasks run during a sleep, as during a real one."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(0)


class QueueEngine(Protocol):
    """A queue, and a worker that has its messages."""

    @property
    def queue(self) -> Queue: ...

    async def settle(self) -> None:
        """Wait until the queue is empty."""

    async def aclose(self) -> None: ...

    def dead_letters(self) -> Sequence[Deferred]: ...


class Memory:
    def __init__(self, worker: Worker, clock: Clock) -> None:
        self.queue = MemoryQueue(clock)
        self.queue.worker = worker

    async def settle(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.queue):  # noqa: ASYNC110 - the queue has no event for it
                await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self.queue.aclose()

    def dead_letters(self) -> Sequence[Deferred]:
        return self.queue.dead_letters


def set_motos_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is visible at the end of its timeout; moto itself shows it a moment later."""
    monkeypatch.setattr("moto.sqs.models.unix_time", clock.now)
    for module in ("moto.sqs.models", "local_aws.fifo_queues"):
        monkeypatch.setattr(f"{module}.unix_time_millis", lambda: clock.now() * 1000)
    visible = property(lambda message: clock.now() * 1000 >= message.visible_at)
    monkeypatch.setattr("moto.sqs.models.Message.visible", visible)


class Sqs:
    """Receives batches and hands them over, in FUNCTIONS tasks; deletes the messages that did not fail.

    With `gives_up` the consumer itself puts what the worker gives up into the dead-letter queue.

    moto's time must be that of `clock`. While all is idle it moves on, to the moment when the next message is visible.
    """

    def __init__(
        self,
        sqs: SQSClient,
        client: OurSqsClient,
        queue_url: str,
        checkpoints: Checkpoints,
        worker: Worker,
        clock: FakeClock,
        *,
        gives_up: bool = False,
    ) -> None:
        self.queue = SqsQueue(client, queue_url, clock)
        self._sqs = sqs
        self._url = queue_url
        self._checkpoints = checkpoints
        self._worker = worker
        self._clock = clock
        self._busy = 0
        self._dead_letters_url = f"{queue_url.removesuffix('.fifo')}-dead.fifo"
        self._dead_letters = SqsQueue(client, self._dead_letters_url, clock) if gives_up else None
        sqs.create_queue(QueueName=self._dead_letters_url.rpartition("/")[2], Attributes={"FifoQueue": "true"})
        arn = sqs.get_queue_attributes(QueueUrl=self._dead_letters_url, AttributeNames=["QueueArn"])
        redrive = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVE_COUNT}
        attributes: Any = {
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
            "RedrivePolicy": json.dumps(redrive),
        }
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes=attributes)
        self._moto_queue = _motos(queue_url)

    async def settle(self) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(self._poll() for _ in range(FUNCTIONS)))

    async def aclose(self) -> None:
        pass

    def dead_letters(self) -> Sequence[Deferred]:
        received = self._sqs.receive_message(QueueUrl=self._dead_letters_url, MaxNumberOfMessages=BATCH_SIZE)
        return [decode(message["Body"]) for message in received.get("Messages", [])]

    async def _poll(self) -> None:
        while self._moto_queue._messages:
            if received := self._receive():
                self._busy += 1
                await self._handle(received)
                self._busy -= 1
            elif not self._busy:  # those that are visible wait for another of their group
                later = [message.visible_at for message in self._moto_queue._messages if not message.visible]
                self._clock.time = min(later, default=self._clock.time * 1000) / 1000
            await asyncio.sleep(0)

    def _receive(self) -> list[Any]:
        received = self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=BATCH_SIZE, MessageSystemAttributeNames=["All"]
        )
        return list(received.get("Messages", []))

    async def _handle(self, received: list[Any]) -> None:
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in received
        ]
        event = {"Records": records}
        consumer = Consumer(self._worker, self.queue, self._checkpoints, self._clock, self._dead_letters)
        response = await consumer.handle(event, deadline=float("inf"))
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        for message in received:
            if message["MessageId"] not in failed:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def _motos(queue_url: str) -> Any:
    *_, account, name = queue_url.split("/")
    backend = get_backend("sqs")[account]["us-east-1"]
    correct_fifo_queues(backend)
    return backend.queues[name]
