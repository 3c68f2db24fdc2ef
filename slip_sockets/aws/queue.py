"""The queue of what is deferred: SQS FIFO, one message group for each connection. `consumer` takes it out again."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..gateway.plan import RETRY_FOR_S, attempts_within
from ..gateway.ports import Clock, Continuation, Deferred, Unavailable
from .calls import calling

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

log = logging.getLogger("slip_sockets.aws")

MAX_RECEIVE_COUNT = attempts_within(RETRY_FOR_S)
"""The redrive policy's maxReceiveCount: with it, a message that keeps failing is dead after RETRY_FOR_S."""
MAX_BATCH_MESSAGES = 10
MAX_BATCH_BYTES = 256 * 1024
"""Of all bodies of a call together, and of one message. SQS would take 1 MiB by now; the stacks' Terraform provider
cannot say so yet.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
MAX_BODY_BYTES = 200_000
"""Beyond it a continuation is split, and a single event, 128 KiB of text at most, is compressed: see `encode`."""
RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4)

_COMPRESSED = "zlib:"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Deferred] = msgspec.json.Decoder(Deferred)


class SqsQueue:
    """A Queue. It blocks, as `connections` does."""

    def __init__(self, client: SQSClient, queue_url: str, clock: Clock) -> None:
        self._client = client
        self._queue_url = queue_url
        self._clock = clock

    async def put(self, messages: Sequence[Deferred]) -> None:
        for batch in _batches(messages):
            with calling("SQS"):
                await self._send(batch)

    def rest(self, pauses_s: Mapping[str, float]) -> None:
        """Hide received messages, named by receipt handle, from the consumer for so long.

        Failing does no harm and is only logged: they come back after the queue's own visibility timeout.
        """
        handles = list(pauses_s)
        for start in range(0, len(handles), MAX_BATCH_MESSAGES):
            part = handles[start : start + MAX_BATCH_MESSAGES]
            try:
                with calling("SQS"):
                    answer = self._client.change_message_visibility_batch(
                        QueueUrl=self._queue_url,
                        Entries=[
                            {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": int(pauses_s[handle])}
                            for index, handle in enumerate(part)
                        ],
                    )
            except Unavailable as error:
                log.warning("a retry comes later than it could: %s", error)
            else:
                for failed in answer.get("Failed", []):
                    log.warning("a retry comes later than it could: SQS: %s", failed.get("Message", failed["Code"]))

    async def _send(self, entries: list[SendMessageBatchRequestEntryTypeDef]) -> None:
        for pause_s in (*RETRY_PAUSES_S, None):
            failed = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries).get("Failed", [])
            if not failed:
                return
            if pause_s is None or any(failure["SenderFault"] for failure in failed):
                reason = failed[0].get("Message", failed[0]["Code"])
                raise Unavailable(f"SQS: {len(failed)} of {len(entries)} messages were not taken: {reason}")
            again = {failure["Id"] for failure in failed}
            # With its deduplication id a message that was taken after all is not doubled.
            entries = [entry for entry in entries if entry["Id"] in again]
            await self._clock.sleep(pause_s)


def encode(message: Deferred) -> str:
    """Return a message's body: JSON in ASCII, or `zlib:` and base64 where escapes would make it too long.

    SQS refuses characters that XML 1.0 cannot say, some beyond ASCII among them.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    """
    encoded = _encoder.encode(message)
    body = _NOT_ASCII.sub(_escaped, encoded.decode())
    return body if len(body) <= MAX_BODY_BYTES else _COMPRESSED + base64.b64encode(zlib.compress(encoded)).decode()


def decode(body: str) -> Deferred:
    """Raises msgspec.DecodeError."""
    if not body.startswith(_COMPRESSED):
        return _decoder.decode(body)
    try:
        return _decoder.decode(zlib.decompress(base64.b64decode(body.removeprefix(_COMPRESSED), validate=True)))
    except (binascii.Error, zlib.error) as error:
        raise msgspec.DecodeError(f"the message is damaged: {error}") from error


def _escaped(match: re.Match[str]) -> str:
    """Outside of strings JSON is ASCII, so an escape is right wherever a character is not."""
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _bodies(message: Deferred) -> list[str]:
    body = encode(message)
    if not body.startswith(_COMPRESSED) or not isinstance(message, Continuation) or len(message.events) < 2:
        return [body]
    half = len(message.events) // 2
    parts = (message.events[:half], message.events[half:])
    return [body for part in parts for body in _bodies(Continuation(message.connection_id, part))]


def _batches(messages: Sequence[Deferred]) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """Yield what goes into one call each.

    Never two messages of one group: if the first were not taken and the second were, their order would be lost.
    """
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    groups: set[str] = set()
    size = 0
    for message in messages:
        for body in _bodies(message):
            group = message.connection_id
            if group in groups or len(batch) == MAX_BATCH_MESSAGES or (size + len(body) > MAX_BATCH_BYTES and batch):
                yield batch
                batch, groups, size = [], set(), 0
            batch.append(
                {
                    "Id": str(len(batch)),
                    "MessageBody": body,
                    "MessageGroupId": group,
                    "MessageDeduplicationId": uuid.uuid4().hex,
                }
            )
            groups.add(group)
            size += len(body)
    if batch:
        yield batch
