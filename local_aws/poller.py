"""Lambda's event source mappings: what feeds functions from SQS queues.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from .apis import AwsApis
from .deployed import Deployed, Function, QueueMapping
from .permissions import AccessKey, Permissions
from .runtime import Lambda, Outcome
from .wire import ApiRequest

log = logging.getLogger("local_aws.poller")

POLL_INTERVAL_S = 0.05
"""How late a message is seen whose visibility timeout or delay has passed; a new one is seen at once."""
MAX_RECEIVED = 10
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
DEFAULT_CONCURRENCY = 5

_LETS_MESSAGES_SHOW = ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")  # or their batches


class Poller:
    """Takes batches from the queues of all enabled mappings; several batches are under way at once."""

    def __init__(
        self, apis: AwsApis, deployed: Deployed, functions: Lambda, permissions: Permissions, host: str
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._functions = functions
        self._permissions = permissions
        self._host = host
        self._wake = asyncio.Event()
        self._batches: dict[str, set[asyncio.Task[None]]] = {}
        self._keys: dict[tuple[str, str], AccessKey] = {}
        self._complaints: set[str] = set()
        self._known: set[str] = set()
        self._task = asyncio.create_task(self._run())
        apis.observers.append(self._on_call)

    async def aclose(self) -> None:
        tasks = [self._task, *(task for batches in self._batches.values() for task in batches)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_call(self, request: ApiRequest) -> None:
        if request.service == "lambda" or (
            request.service == "sqs" and request.operation.startswith(_LETS_MESSAGES_SHOW)
        ):
            self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                for mapping in await self._apis.run(self._deployed.queue_mappings):
                    await self._poll(mapping)
            except Exception:
                log.exception("polling failed")
            try:
                async with asyncio.timeout(POLL_INTERVAL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _poll(self, mapping: QueueMapping) -> None:
        """Start batches until there is nothing to receive, or as many are under way as may be."""
        under_way = self._batches.setdefault(mapping.uuid, set())
        limit = min(mapping.max_concurrency or DEFAULT_CONCURRENCY, self._functions.max_environments)
        while len(under_way) < limit and await self._apis.run(self._deployed.has_visible_messages, mapping):
            function = await self._apis.run(self._deployed.function, mapping.function_arn)
            if function is None or not await self._may_feed(mapping, function):
                return
            messages = await self._receive(mapping, function)
            if not messages:
                return
            task = asyncio.create_task(self._deliver(mapping, function, messages))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(lambda _: self._wake.set())

    async def _may_feed(self, mapping: QueueMapping, function: Function) -> bool:
        """Lambda feeds no function whose role may not read the queue's attributes.
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
        if mapping.uuid not in self._known and await self._call(
            mapping, function, "GetQueueAttributes", AttributeNames=["VisibilityTimeout"]
        ):
            self._known.add(mapping.uuid)
        return mapping.uuid in self._known

    async def _receive(self, mapping: QueueMapping, function: Function) -> list[dict[str, Any]]:
        told = await self._call(
            mapping,
            function,
            "ReceiveMessage",
            MaxNumberOfMessages=min(mapping.batch_size, MAX_RECEIVED),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=0,
        )
        messages: list[dict[str, Any]] = told.get("Messages") or []
        return messages

    async def _deliver(self, mapping: QueueMapping, function: Function, messages: list[dict[str, Any]]) -> None:
        try:
            await self._hand_over(mapping, function, messages)
        except Exception:
            log.exception("%s: delivering failed", function.name)

    async def _hand_over(self, mapping: QueueMapping, function: Function, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [_record(mapping, message) for message in messages]}
        outcome = await self._functions.invoke(function, json.dumps(event).encode())
        ids = [message["MessageId"] for message in messages]
        failed = _failed(outcome, ids) if mapping.reports_failures else set(ids if outcome.error else ())
        done = [message for message in messages if message["MessageId"] not in failed]
        if failed:
            log.info("%s: %d of %d messages will come again", function.name, len(failed), len(messages))
        if done:
            entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(done)]
            await self._call(mapping, function, "DeleteMessageBatch", Entries=entries)

    async def _call(
        self, mapping: QueueMapping, function: Function, operation: str, **parameters: Any
    ) -> dict[str, Any]:
        """Call SQS as the function's role: Lambda has no other right to the queue."""
        request = ApiRequest(
            "POST",
            "/",
            {
                "host": self._host,
                "content-type": "application/x-amz-json-1.0",
                "x-amz-target": f"AmazonSQS.{operation}",
                "authorization": self._authorization(function),
            },
            json.dumps({"QueueUrl": mapping.queue_url} | parameters).encode(),
        )
        answer = await self._apis.call(request)
        told: dict[str, Any] = json.loads(answer.body) if answer.body else {}
        if answer.ok:
            return told
        complaint = f"{function.name} cannot be fed from {mapping.queue_arn}: {told.get('message')}"
        if complaint not in self._complaints:
            self._complaints.add(complaint)
            log.error("%s", complaint)
        return {}

    def _authorization(self, function: Function) -> str:
        of = (function.role_arn, function.name)
        if of not in self._keys:
            self._keys[of] = self._permissions.issue(*of)
        return f"AWS4-HMAC-SHA256 Credential={self._keys[of].key_id}/20000101/{function.region}/sqs/aws4_request"


def _record(mapping: QueueMapping, message: dict[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    attributes = {
        name: {
            "stringValue": value.get("StringValue"),
            "binaryValue": value.get("BinaryValue"),
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": value["DataType"],
        }
        for name, value in (message.get("MessageAttributes") or {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": attributes,
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": mapping.queue_arn,
        "awsRegion": mapping.region,
    }


def _failed(outcome: Outcome, ids: list[str]) -> set[str]:
    """Return which messages come again. An answer that is wrong in any way means all of them."""
    if outcome.error is not None:
        return set(ids)
    try:
        told = json.loads(outcome.payload)
        failures = (told or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, TypeError, LookupError, AttributeError):
        return set(ids)
    return failed if failed.issubset(ids) else set(ids)
