"""Lambda's event source mappings, which feed functions from SQS queues.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any

from .api_request import ApiRequest
from .apis import AwsApis
from .deployed import Deployed, Function, QueueMapping
from .functions import Functions
from .invocation import Outcome, TooManyRequests
from .permissions import AccessControl, AccessKey

log = logging.getLogger("local_aws.poller")

POLL_INTERVAL_S = 0.2
"""The longest delay of a message after its visibility timeout or delay has passed. New messages are seen at once."""
THROTTLED_PAUSE_S = 0.5
"""Between attempts while Lambda refuses the events."""
MAX_RECEIVED = 10
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
DEFAULT_CONCURRENCY = 5

_MAKES_MESSAGES_VISIBLE = ("SendMessage", "DeleteMessage", "ChangeMessageVisibility")  # and their batches


class Poller:
    """Takes batches from the queues of all enabled mappings, several at once."""

    def __init__(
        self, apis: AwsApis, deployed: Deployed, functions: Functions, access: AccessControl, host: str
    ) -> None:
        self._apis = apis
        self._deployed = deployed
        self._functions = functions
        self._access = access
        self._host = host
        self._wake = asyncio.Event()
        self._batches: dict[str, set[asyncio.Task[None]]] = {}
        self._keys: dict[tuple[str, str], AccessKey] = {}
        self._reported: set[str] = set()
        self._permitted: set[str] = set()
        self._task = asyncio.create_task(self._run())
        apis.observers.append(self._on_call)

    async def aclose(self) -> None:
        tasks = [self._task, *(task for batches in self._batches.values() for task in batches)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_call(self, request: ApiRequest) -> None:
        if request.service == "lambda" or (
            request.service == "sqs" and request.operation.startswith(_MAKES_MESSAGES_VISIBLE)
        ):
            self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                for mapping in await self._apis.run(self._deployed.waiting_mappings):
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
        """Start batches until the queue is empty, or the mapping's concurrency is reached."""
        running = self._batches.setdefault(mapping.uuid, set())
        limit = min(mapping.max_concurrency or DEFAULT_CONCURRENCY, self._functions.max_environments)
        while len(running) < limit and await self._apis.run(self._deployed.has_visible_messages, mapping):
            function = await self._apis.run(self._deployed.function, mapping.function_arn)
            if function is None or not await self._may_feed(mapping, function):
                return
            messages = await self._receive(mapping, function)
            if not messages:
                return
            task = asyncio.create_task(self._deliver(mapping, function, messages))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: self._wake.set())

    async def _may_feed(self, mapping: QueueMapping, function: Function) -> bool:
        """Lambda feeds a function only if its role may read the queue's attributes.
        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
        if mapping.uuid not in self._permitted and await self._call(
            mapping, function, "GetQueueAttributes", AttributeNames=["VisibilityTimeout"]
        ):
            self._permitted.add(mapping.uuid)
        return mapping.uuid in self._permitted

    async def _receive(self, mapping: QueueMapping, function: Function) -> list[dict[str, Any]]:
        response = await self._call(
            mapping,
            function,
            "ReceiveMessage",
            MaxNumberOfMessages=min(mapping.batch_size, MAX_RECEIVED),
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=0,
        )
        messages: list[dict[str, Any]] = response.get("Messages") or []
        return messages

    async def _deliver(self, mapping: QueueMapping, function: Function, messages: list[dict[str, Any]]) -> None:
        try:
            await self._hand_over(mapping, function, messages)
        except Exception:
            log.exception("%s: delivering failed", function.name)

    async def _hand_over(self, mapping: QueueMapping, function: Function, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [_record(mapping, message) for message in messages]}
        outcome = await self._invoke(mapping, function, json.dumps(event).encode())
        if outcome is None:
            return
        ids = [message["MessageId"] for message in messages]
        failed = _failed(outcome, ids) if mapping.reports_failures else set(ids if outcome.error else ())
        done = [message for message in messages if message["MessageId"] not in failed]
        if failed:
            log.info("%s: %d of %d messages will be delivered again", function.name, len(failed), len(messages))
        if done:
            entries = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(done)]
            await self._call(mapping, function, "DeleteMessageBatch", Entries=entries)

    async def _invoke(self, mapping: QueueMapping, function: Function, event: bytes) -> Outcome | None:
        """Where Lambda refuses, try again until the messages are visible again; then return None."""
        deadline = time.monotonic() + mapping.visibility_timeout_s
        while time.monotonic() < deadline:
            try:
                return await self._functions.invoke(function, event)
            except TooManyRequests:
                await asyncio.sleep(THROTTLED_PAUSE_S)
        log.warning("%s: beyond the account's concurrency; its messages return to the queue", function.name)
        return None

    async def _call(
        self, mapping: QueueMapping, function: Function, operation: str, **parameters: Any
    ) -> dict[str, Any]:
        """Call SQS with the function's role: Lambda has no other permission for the queue."""
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
        response = await self._apis.call(request)
        body: dict[str, Any] = json.loads(response.body) if response.body else {}
        if response.ok:
            return body
        problem = f"{function.name} cannot be fed from {mapping.queue_arn}: {body.get('message')}"
        if problem not in self._reported:
            self._reported.add(problem)
            log.error("%s", problem)
        return {}

    def _authorization(self, function: Function) -> str:
        owner = (function.role_arn, function.name)
        if owner not in self._keys:
            self._keys[owner] = self._access.issue(*owner)
        return f"AWS4-HMAC-SHA256 Credential={self._keys[owner].key_id}/20000101/{function.region}/sqs/aws4_request"


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
    """Return the ids of messages to deliver again: all of them where the response is not valid."""
    if outcome.error is not None:
        return set(ids)
    try:
        response = json.loads(outcome.payload)
        failures = (response or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, TypeError, LookupError, AttributeError):
        return set(ids)
    return failed if failed.issubset(ids) else set(ids)
