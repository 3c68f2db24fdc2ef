"""The queue of what is deferred: SQS FIFO. `consumer` takes it out again."""

from __future__ import annotations

import base64
import logging
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..gateway.plan import RETRY_FOR_S, attempts_within
from ..gateway.ports import Clock, Continuation, Deferred, FanOutChunk, Unavailable
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
"""Beyond it a continuation is split, and what cannot be split is compressed: see `encode`.

A text of 128 KiB, the largest, takes 198,000 bytes at worst then, and each connection id 18 more: a chunk's fit beside
it, and so do 3,000 that joined or left in the batch of a FanOut. Beyond that a chunk is halved, a FanOut refused."""
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
    try:
        if not body.startswith(_COMPRESSED):
            return _decoder.decode(body)
        return _decoder.decode(zlib.decompress(base64.b64decode(body.removeprefix(_COMPRESSED), validate=True)))
    except (ValueError, zlib.error, RecursionError) as error:  # not UTF-8, not base64, not compressed; too deep
        raise msgspec.DecodeError(f"the message is damaged: {error}") from error


def _escaped(match: re.Match[str]) -> str:
    """Outside of strings JSON is ASCII, so an escape is right wherever a character is not."""
    units = match[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _parts(message: Deferred) -> list[tuple[Deferred, str]]:
    """Return a message's body, or, of one that is too large, its parts with theirs. Raises Unavailable."""
    body = encode(message)
    match message:
        case Continuation(events=events) if len(events) > 1 and body.startswith(_COMPRESSED):
            half = len(events) // 2
            # By the time of the second part the index shows what was recent at the first.
            first = msgspec.structs.replace(message, events=events[:half])
            return [*_parts(first), *_parts(msgspec.structs.replace(message, events=events[half:], recent=[]))]
        case FanOutChunk(connection_ids=ids) if len(ids) > 1 and len(body) > MAX_BATCH_BYTES:
            half = len(ids) // 2
            halves = [msgspec.structs.replace(message, connection_ids=part) for part in (ids[:half], ids[half:])]
            return [part for each in halves for part in _parts(each)]
    if len(body) > MAX_BATCH_BYTES:
        kind = message.__struct_config__.tag
        raise Unavailable(f"SQS takes {MAX_BATCH_BYTES} bytes, and a {kind} has {len(body)}: put less into one batch")
    return [(message, body)]


def _batches(messages: Sequence[Deferred]) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """Yield what goes into one call each.

    Never two messages of one group: if the first were not taken and the second were, their order would be lost.
    """
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    groups: set[str] = set()
    size = 0
    for message in messages:
        for part, body in _parts(message):
            group = part.group
            if group in groups or len(batch) == MAX_BATCH_MESSAGES or (size + len(body) > MAX_BATCH_BYTES and batch):
                yield batch
                batch, groups, size = [], set(), 0
            batch.append(
                {
                    "Id": str(len(batch)),
                    "MessageBody": body,
                    "MessageGroupId": group,
                    "MessageDeduplicationId": part.deduplication_id,
                }
            )
            groups.add(group)
            size += len(body)
    if batch:
        yield batch
