"""The queue of deferred messages: SQS FIFO. `consumer` handles the messages that it delivers."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..gateway.deferred import Deferred
from ..gateway.deferred_base import RETRY_FOR_S
from ..gateway.errors import Unavailable
from ..gateway.ports import Clock
from ..gateway.worker import attempts_within
from .errors import calling
from .table import slices

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient
    from types_aiobotocore_sqs.type_defs import (
        DeleteMessageBatchRequestEntryTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

log = logging.getLogger("slip_sockets.aws")

MAX_RECEIVE_COUNT = attempts_within(RETRY_FOR_S)
"""The redrive policy's maxReceiveCount: with it, a message that keeps failing is dead after RETRY_FOR_S."""
SHARDS = 8
"""Groups of the queue that share a channel's subscribers. Each is handled by one function at a time, which sends some
1,250 a second; all of them together reach the account's quota of 10,000.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
MAX_BATCH_MESSAGES = 10
MAX_BATCH_BYTES = 256 * 1024
"""Of all bodies of a call together, and of one message. SQS takes 1 MiB by now; the stacks' Terraform provider does
not yet.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
MAX_BODY_BYTES = 200_000
"""A longer message is divided if it can be, and compressed if not: see `encode`.

Compressed, the largest text, 128 KiB, takes 198,000 bytes at worst, and each connection id 18 more. The ids of a chunk
fit beside it, and so do 3,000 that joined or left just before a FanOut. With more of them a chunk is halved, and a
FanOut is refused."""
RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4)

_COMPRESSED = "zlib:"
_SQS_ID = re.compile(r"[!-~]{1,128}")  # letters, digits and punctuation of ASCII, which is all but the space
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Deferred] = msgspec.json.Decoder(Deferred)


class SqsQueue:
    """The port Queue."""

    shards = SHARDS

    def __init__(self, client: SQSClient, queue_url: str, clock: Clock) -> None:
        self._client = client
        self._queue_url = queue_url
        self._clock = clock

    def is_source_of(self, event: Mapping[str, Any]) -> bool:
        """Return whether Lambda received a batch from this queue."""
        name = self._queue_url.rpartition("/")[2]
        return any(record["eventSourceARN"].rpartition(":")[2] == name for record in event["Records"])

    async def put(self, messages: Sequence[Deferred]) -> None:
        for batch in _batches(messages):
            with calling("SQS"):
                await self._send(batch)

    async def change_visibility(self, timeouts_s: Mapping[str, float]) -> None:
        """Set the visibility timeout (seconds, by receipt handle) of received messages, in whole seconds, rounded up.

        A failure does no harm and is only logged: they come back after the queue's own visibility timeout.
        """
        for handles in slices(list(timeouts_s), MAX_BATCH_MESSAGES):
            try:
                with calling("SQS"):
                    response = await self._client.change_message_visibility_batch(
                        QueueUrl=self._queue_url,
                        Entries=[
                            {"Id": str(index), "ReceiptHandle": each, "VisibilityTimeout": math.ceil(timeouts_s[each])}
                            for index, each in enumerate(handles)
                        ],
                    )
            except Unavailable as error:
                log.warning("a retry comes later than it could: %s", error)
            else:
                for failed in response.get("Failed", []):
                    log.warning("a retry comes later than it could: SQS: %s", failed.get("Message", failed["Code"]))

    async def delete(self, handles: Sequence[str]) -> None:
        """Delete received messages by their receipt handles.

        A failure does no harm and is only logged: Lambda deletes them after the batch.
        """
        for some in slices(handles, MAX_BATCH_MESSAGES):
            entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": handle} for index, handle in enumerate(some)
            ]
            try:
                with calling("SQS"):
                    response = await self._client.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except Unavailable as error:
                log.warning("a group is released later than it could be: %s", error)
            else:
                for failed in response.get("Failed", []):
                    log.warning("a group is released later than it could be: SQS: %s", failed["Code"])

    async def _send(self, entries: list[SendMessageBatchRequestEntryTypeDef]) -> None:
        for pause_s in (*RETRY_PAUSES_S, None):
            response = await self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            failed = response.get("Failed", [])
            if not failed:
                return
            if pause_s is None or any(failure["SenderFault"] for failure in failed):
                reason = failed[0].get("Message", failed[0]["Code"])
                raise Unavailable(f"SQS: {len(failed)} of {len(entries)} messages were not taken: {reason}")
            again = {failure["Id"] for failure in failed}
            # If SQS did take one of them, it drops the second by its deduplication id.
            entries = [entry for entry in entries if entry["Id"] in again]
            await self._clock.sleep(pause_s)


def encode(message: Deferred) -> str:
    """Return a message's body: JSON in ASCII, or `zlib:` and base64 if that would be too long.

    SQS refuses characters that XML 1.0 cannot contain, some beyond ASCII among them.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    """
    encoded = _encoder.encode(message)
    body = _NOT_ASCII.sub(_escaped, encoded.decode())
    return body if len(body) <= MAX_BODY_BYTES else _COMPRESSED + base64.b64encode(zlib.compress(encoded)).decode()


def decode(body: str) -> Deferred:
    """Raises msgspec.DecodeError."""
    try:
        if not body.startswith(_COMPRESSED):
            return _decoder.decode(body)
        return _decoder.decode(zlib.decompress(base64.b64decode(body.removeprefix(_COMPRESSED), validate=True)))
    except (ValueError, zlib.error, RecursionError) as error:  # not UTF-8, not base64, not compressed; too deep
        raise msgspec.DecodeError(f"the message is damaged: {error}") from error


def _escaped(match: re.Match[str]) -> str:
    """Outside of strings JSON is ASCII, so a character that is not ASCII is in a string, where an escape may be."""
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _sqs_id(text: str) -> str:
    """Return a group or deduplication id as SQS takes it: a digest of one that is too long, or of other characters.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    """
    return text if _SQS_ID.fullmatch(text) else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _parts(message: Deferred) -> list[tuple[Deferred, str]]:
    """Return a message, or the parts of one that is too large, each with its body. Raises Unavailable."""
    body = encode(message)
    is_over_limit = len(body) > MAX_BATCH_BYTES
    if body.startswith(_COMPRESSED) and (halves := message.halves(is_over_limit=is_over_limit)) is not None:
        return [part for half in halves for part in _parts(half)]
    if is_over_limit:
        size = len(body)
        raise Unavailable(
            f"SQS takes {MAX_BATCH_BYTES} bytes, and a {message.kind} has {size}: put less into one batch"
        )
    return [(message, body)]


def _batches(messages: Sequence[Deferred]) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """Yield the entries of each call.

    No call has two messages of one group: if SQS refused the first and took the second, their order would be lost.
    """
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    groups: set[str] = set()
    size = 0
    for message in messages:
        for part, body in _parts(message):
            group = _sqs_id(part.group)
            if group in groups or len(batch) == MAX_BATCH_MESSAGES or (size + len(body) > MAX_BATCH_BYTES and batch):
                yield batch
                batch, groups, size = [], set(), 0
            batch.append(
                {
                    "Id": str(len(batch)),
                    "MessageBody": body,
                    "MessageGroupId": group,
                    "MessageDeduplicationId": _sqs_id(part.deduplication_id),
                }
            )
            groups.add(group)
            size += len(body)
    if batch:
        yield batch
