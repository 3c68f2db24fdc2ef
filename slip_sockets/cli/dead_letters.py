"""The dead letters of a deployment: list them, or put them back into the queue that they came from."""

from __future__ import annotations

import asyncio
import datetime as dt
import http
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from ..aws.checkpoints import Checkpoints, DynamoDbCheckpoints
from ..aws.errors import AwsError, calling, error_code
from ..aws.queue import MAX_BATCH_MESSAGES, decode
from ..aws.table import slices
from ..gateway.deferred import Deferred
from ..gateway.deferred_base import Summary
from ..gateway.errors import Unavailable
from ..gateway.ports import SystemClock
from ..protocol.errors import InvalidSettings
from .aws_account import Account

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef

log = logging.getLogger("slip_sockets.aws")

HELD_FOR_S = 5 * 60
"""The visibility timeout of received dead letters. At its end this program makes them visible itself; if it is killed,
other programs receive them after this time."""
WAIT_S = 1
"""From one second on SQS asks all of its servers, so that an empty response means that no message is visible.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""

UNREADABLE = "unreadable"

_NO_QUEUE = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
"""SQS's names of one error: in its JSON protocol, and in the older query protocol."""


class DeadLetter(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an operator may know of a dead letter: its subject and its size, nothing of its content.

    `kind` is the kind of the deferred message, or `unreadable`. `sent_at` and `attempts` are SQS's: in a FIFO queue
    the time may be when it became a dead letter, and each receive counts as an attempt. With `is_rest` the numbers are
    of the part that remained to be done.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
    """

    message_id: str
    sent_at: dt.datetime
    attempts: int
    kind: str
    connection_id: str | None = None
    channel: str | None = None
    events: int | None = None
    connections: int | None = None
    is_rest: bool = False

    @property
    def is_readable(self) -> bool:
        return self.kind != UNREADABLE


class DeadLetters:
    """The dead-letter queue at `url`, and the queue at `deferred_url` that its messages came from.

    SQS FIFO returns at most ten messages of a group, and no more of it until these are deleted or visible again. All
    methods raise Unavailable.
    """

    def __init__(
        self, client: SQSClient, url: str, deferred_url: str, checkpoints: Checkpoints, *, wait_s: int = WAIT_S
    ) -> None:
        self._client = client
        self._url = url
        self._deferred_url = deferred_url
        self._checkpoints = checkpoints
        self._wait_s = wait_s

    async def count(self) -> int:
        """Return approximately how many there are, including messages in flight."""
        with calling("SQS"):
            response = await self._client.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )
        return sum(map(int, response["Attributes"].values()))

    async def peek(self) -> AsyncGenerator[DeadLetter]:
        """Yield each once, but of a group only the first ten, and make all visible again at the end."""
        handles: dict[str, str] = {}  # by message id
        try:
            while messages := await self._receive():
                new = [message for message in messages if message["MessageId"] not in handles]
                handles |= _handles(messages)
                if not new:  # the visibility timeout of the first has passed: they are received again
                    return
                for message in new:
                    letter, _ = await self._read(message)
                    yield letter
        finally:
            await self._make_visible(handles.values())

    async def redrive(self) -> AsyncGenerator[DeadLetter]:
        """Put each into the queue that it came from, in the order of its group, and yield it when that is done.

        A letter that cannot be read is yielded too, and stays. It is hidden until no other message is visible, then
        made visible again, and the messages behind it in its group follow.
        """
        handles: dict[str, str] = {}  # by message id, of messages received and not deleted
        unreadable: set[str] = set()
        try:
            while True:
                has_sent = False
                while messages := await self._receive():
                    handles |= _handles(messages)
                    for message in messages:
                        letter, body = await self._read(message)
                        if body is not None:
                            await _completed(self._move(message, body))
                            del handles[letter.message_id]
                            has_sent = True
                            yield letter
                        elif letter.message_id not in unreadable:
                            unreadable.add(letter.message_id)
                            yield letter
                if not has_sent or not handles:
                    return
                await self._make_visible(handles.values())
                handles.clear()
        finally:
            await self._make_visible(handles.values())

    async def _receive(self) -> list[MessageTypeDef]:
        with calling("SQS"):
            response = await self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MAX_BATCH_MESSAGES,
                VisibilityTimeout=HELD_FOR_S,
                WaitTimeSeconds=self._wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId", "SentTimestamp"],
                # So that a repetition of the call by the client receives the messages of the first one.
                ReceiveRequestAttemptId=uuid.uuid4().hex,
            )
        return response.get("Messages", [])

    async def _read(self, message: MessageTypeDef) -> tuple[DeadLetter, str | None]:
        """Return what a message is about, and the body to be sent: None where the message cannot be read."""
        body = message["Body"]
        whole = _decoded(body)
        if whole is None:
            return _letter(message, None), None
        saved = await self._checkpoints.load(message["MessageId"])
        remaining = None if saved is None else _decoded(saved)
        if saved is None or remaining is None:
            return _letter(message, whole), body
        return _letter(message, remaining, is_rest=True), saved

    async def _move(self, message: MessageTypeDef, body: str) -> None:
        """Send first, then delete: a crash between the two duplicates the message, and never loses it."""
        with calling("SQS"):
            await self._client.send_message(
                QueueUrl=self._deferred_url,
                MessageBody=body,
                MessageGroupId=message["Attributes"]["MessageGroupId"],
                # A fresh one: with its own the message would be dropped if that was used within five minutes.
                MessageDeduplicationId=uuid.uuid4().hex,
            )
            await self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    async def _make_visible(self, handles: Iterable[str]) -> None:
        """Make received messages visible at once. A failure does no harm: their visibility timeout does the same."""
        for part in slices(list(handles), MAX_BATCH_MESSAGES):
            try:
                with calling("SQS"):
                    await self._client.change_message_visibility_batch(
                        QueueUrl=self._url,
                        Entries=[
                            {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                            for index, handle in enumerate(part)
                        ],
                    )
            except Unavailable as error:
                log.warning("%d dead letters stay hidden for up to %d s: %s", len(part), HELD_FOR_S, error)


@asynccontextmanager
async def open_dead_letters(stack_name: str, region: str) -> AsyncIterator[DeadLetters]:
    """Yield the dead letters of a deployment, with the credentials of the environment.

    Raises InvalidSettings where the user can fix it: the stack, the region, the credentials. Raises Unavailable.
    """
    async with Account(region) as account:
        sqs: SQSClient = account.client("sqs")
        url = await _queue_url(sqs, f"{stack_name}-dead-letters.fifo", region)
        deferred_url = await _queue_url(sqs, f"{stack_name}-deferred.fifo", region)
        checkpoints = DynamoDbCheckpoints(account.client("dynamodb"), f"{stack_name}-Channels", SystemClock())
        yield DeadLetters(sqs, url, deferred_url, checkpoints)


async def _completed(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` to its end, also when this task is cancelled meanwhile, as by Ctrl-C."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _queue_url(sqs: SQSClient, name: str, region: str) -> str:
    """Raises InvalidSettings, and Unavailable."""
    with calling("SQS"):
        try:
            return (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
        except AwsError as error:
            if error_code(error) in _NO_QUEUE:
                how = "Check --stack and the region, and which account these credentials are for"
                raise InvalidSettings([f"{region} has no queue {name}. {how}"]) from error
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == http.HTTPStatus.FORBIDDEN:
                raise InvalidSettings([f"AWS refuses these credentials: {error}"]) from error
            raise


def _handles(messages: Iterable[MessageTypeDef]) -> dict[str, str]:
    return {message["MessageId"]: message["ReceiptHandle"] for message in messages}


def _decoded(body: str) -> Deferred | None:
    try:
        return decode(body)
    except msgspec.DecodeError:
        return None


def _letter(message: MessageTypeDef, content: Deferred | None, *, is_rest: bool = False) -> DeadLetter:
    attributes = message["Attributes"]
    summary = Summary() if content is None else content.summary
    return DeadLetter(
        message_id=message["MessageId"],
        sent_at=dt.datetime.fromtimestamp(int(attributes["SentTimestamp"]) // 1000, dt.UTC),
        attempts=int(attributes["ApproximateReceiveCount"]),
        kind=UNREADABLE if content is None else content.kind,
        connection_id=summary.connection_id,
        channel=summary.channel,
        events=summary.events,
        connections=summary.connections,
        is_rest=is_rest,
    )
