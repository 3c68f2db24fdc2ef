"""The queues of a deployed stage, as its operator sees and changes them, and as Lambda's event source uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .deployment import PRODUCTION, Deployment

WAITING = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


class StageQueue:
    """An SQS queue. Its methods block, each for one call."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self._sqs = deployment.client("sqs")
        self.url = str(self._sqs.get_queue_url(QueueName=name)["QueueUrl"])

    @property
    def waiting(self) -> int:
        """How many messages are in it, those included that are being handled."""
        attributes = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=WAITING)["Attributes"]
        return sum(int(attributes[name]) for name in WAITING)

    @property
    def arn(self) -> str:
        return self._attribute("QueueArn")

    def clear(self) -> None:
        """Delete all messages. SQS purges a queue only once a minute: this is for messages that are being handled."""
        while messages := self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        if self.waiting:
            self._sqs.purge_queue(QueueUrl=self.url)

    def send(self, body: str, *, group: str) -> None:
        self._sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=group)

    def receive(self) -> dict[str, Any]:
        """Receive a message. Until it is shown again, no one else receives it, nor a later one of its group."""
        (message,) = self._sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=1, MessageSystemAttributeNames=["All"], WaitTimeSeconds=20
        )["Messages"]
        return dict(message)

    def show_again(self, message: dict[str, Any]) -> None:
        self._sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )

    @contextmanager
    def changed(self, attribute: str, value: str) -> Iterator[None]:
        deployed = self._attribute(attribute)
        self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={attribute: value})
        try:
            yield
        finally:
            self._sqs.set_queue_attributes(QueueUrl=self.url, Attributes={attribute: deployed})

    def dead_after(self, receives: int, dead_letters: StageQueue) -> Any:
        """Return a context in which messages become dead letters after so few receives."""
        policy = {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": receives}
        return self.changed("RedrivePolicy", json.dumps(policy))

    def _attribute(self, name: str) -> str:
        attributes = self._sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"]
        return str(attributes[name])


def deferred(deployment: Deployment, stack: str = PRODUCTION) -> StageQueue:
    return StageQueue(deployment, f"{stack}-deferred.fifo")


def inbound(deployment: Deployment, stack: str = PRODUCTION) -> StageQueue:
    return StageQueue(deployment, f"{stack}-inbound.fifo")


def dead_letters(deployment: Deployment, stack: str = PRODUCTION) -> StageQueue:
    return StageQueue(deployment, f"{stack}-dead-letters.fifo")


class PausedWorkers:
    """Handles messages as Lambda's event source does, while that is switched off."""

    def __init__(self, deployment: Deployment) -> None:
        self._lambda = deployment.client("lambda")
        self._function = f"{PRODUCTION}-deliver"
        ((self._mapping, self._queue_arn),) = [
            (mapping["UUID"], mapping["EventSourceArn"])
            for mapping in self._lambda.list_event_source_mappings()["EventSourceMappings"]
            if mapping["FunctionArn"].endswith(f":{self._function}") and "-deferred" in mapping["EventSourceArn"]
        ]

    def __enter__(self) -> PausedWorkers:
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=False)
        return self

    def __exit__(self, *error: object) -> None:
        self._lambda.update_event_source_mapping(UUID=self._mapping, Enabled=True)

    def handle(self, message: dict[str, Any]) -> None:
        """Have the deployed function handle a message. It is not deleted."""
        record = {name[0].lower() + name[1:]: value for name, value in message.items()}
        record["eventSourceARN"] = self._queue_arn
        response = self._lambda.invoke(FunctionName=self._function, Payload=json.dumps({"Records": [record]}).encode())
        assert json.load(response["Payload"]) == {"batchItemFailures": []}
