"""The dead letters of a deployment: what they are about, and sending them again."""

from __future__ import annotations

import asyncio
import datetime as dt
import http
import logging
import uuid
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)

from ..errors import InvalidSettings
from ..gateway.ports import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk, SystemClock
from .calls import calling
from .consumer import Progress
from .progress import DynamoDbProgress
from .queue import MAX_BATCH_MESSAGES, decode
from .table import slices

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

log = logging.getLogger("slip_sockets.aws")

HELD_FOR_S = 5 * 60
"""How long dead letters stay hidden from others if this program is killed. Otherwise it shows them itself."""
WAIT_S = 1
"""From one second on SQS asks all of its servers: an empty answer means that nothing is visible.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""

UNREADABLE = "unreadable"

_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


class DeadLetter(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an operator may know of a dead letter: whom it is about, and how much it is; nothing of its content.

    `kind` is the tag of what was deferred, or `unreadable`. `sent_at` and `attempts` are SQS's: of a FIFO queue the
    time may be that of its death, and each look at it is an attempt more. With `is_rest` the numbers are of what was
    left to do.
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
    """The dead-letter queue at `url`, and the queue at `deferred_url` where its messages came from.

    SQS FIFO hands out at most ten messages of a group, and no more of it until these are deleted or shown again. All
    methods raise Unavailable, and block.
    """

    def __init__(
        self, client: SQSClient, url: str, deferred_url: str, progress: Progress, *, wait_s: int = WAIT_S
    ) -> None:
        self._client = client
        self._url = url
        self._deferred_url = deferred_url
        self._progress = progress
        self._wait_s = wait_s

    def count(self) -> int:
        """Return about how many there are, those included that somebody has in hand."""
        with calling("SQS"):
            attributes = self._client.get_queue_attributes(
                QueueUrl=self._url,
                AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
            )["Attributes"]
        return sum(map(int, attributes.values()))

    async def look(self) -> AsyncGenerator[DeadLetter]:
        """Yield each once, the first ten of a group alone, and show them all again at the end."""
        handles: dict[str, str] = {}  # by message id
        try:
            while messages := self._receive():
                new = [message for message in messages if message["MessageId"] not in handles]
                handles |= _handles(messages)
                if not new:  # held for too long: they come round again
                    return
                for message in new:
                    letter, _ = await self._read(message)
                    yield letter
                    await asyncio.sleep(0)  # lets Ctrl-C in
        finally:
            self._show(handles.values())

    async def send_again(self) -> AsyncGenerator[DeadLetter]:
        """Put each into the queue where it came from, in the order of its group, and yield it when that is done.

        One that cannot be read stays, and is yielded as well. It is hidden until nothing else is visible, then shown
        again, and whatever stood behind it in its group follows.
        """
        handles: dict[str, str] = {}  # by message id, of what was received and not deleted
        unreadable: set[str] = set()
        try:
            while True:
                has_sent = False
                while messages := self._receive():
                    handles |= _handles(messages)
                    for message in messages:
                        letter, body = await self._read(message)
                        if body is not None:
                            self._move(message, body)
                            del handles[letter.message_id]
                            has_sent = True
                            yield letter
                        elif letter.message_id not in unreadable:
                            unreadable.add(letter.message_id)
                            yield letter
                        await asyncio.sleep(0)  # lets Ctrl-C in, and never between putting and deleting
                if not has_sent or not handles:
                    return
                self._show(handles.values())
                handles.clear()
        finally:
            self._show(handles.values())

    def _receive(self) -> list[MessageTypeDef]:
        with calling("SQS"):
            return self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MAX_BATCH_MESSAGES,
                VisibilityTimeout=HELD_FOR_S,
                WaitTimeSeconds=self._wait_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId", "SentTimestamp"],
                # So that boto3's own repetition of a call gets the messages of the first one.
                ReceiveRequestAttemptId=uuid.uuid4().hex,
            ).get("Messages", [])

    async def _read(self, message: MessageTypeDef) -> tuple[DeadLetter, str | None]:
        """Return what a message is about, and the body that is to be sent: None where it cannot be read."""
        body = message["Body"]
        whole = _decoded(body)
        if whole is None:
            return _letter(message, None), None
        rest = await self._progress.kept(message["MessageId"])
        left = None if rest is None else _decoded(rest)
        if rest is None or left is None:
            return _letter(message, whole), body
        return _letter(message, left, is_rest=True), rest

    def _move(self, message: MessageTypeDef, body: str) -> None:
        """Put it first, then delete it: a crash between the two sends it twice, and never loses it."""
        with calling("SQS"):
            self._client.send_message(
                QueueUrl=self._deferred_url,
                MessageBody=body,
                MessageGroupId=message["Attributes"]["MessageGroupId"],
                # A fresh one: with its own it would be dropped if that was used within five minutes.
                MessageDeduplicationId=uuid.uuid4().hex,
            )
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def _show(self, handles: Iterable[str]) -> None:
        """Make received messages visible at once. Failing does no harm: they become so by themselves."""
        for part in slices(list(handles), MAX_BATCH_MESSAGES):
            try:
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(index), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                        for index, handle in enumerate(part)
                    ],
                )
            except (ClientError, BotoCoreError) as error:
                log.warning("%d dead letters stay hidden for up to %d s: SQS: %s", len(part), HELD_FOR_S, error)


def open_dead_letters(stack_name: str, region: str) -> DeadLetters:
    """Return those of a deployment, with the credentials of the environment.

    Raises InvalidSettings where the user can mend it: the stack, the region, the credentials. Raises Unavailable.
    """
    with calling("AWS"), _mendable():
        session = boto3.session.Session(region_name=region)
        sqs = session.client("sqs", config=_CONFIG)
        dynamodb = session.client("dynamodb", config=_CONFIG)
        url = _queue_url(sqs, f"{stack_name}-dead-letters.fifo")
        deferred_url = _queue_url(sqs, f"{stack_name}-deferred.fifo")
    return DeadLetters(sqs, url, deferred_url, DynamoDbProgress(dynamodb, f"{stack_name}-Connections", SystemClock()))


@contextmanager
def _mendable() -> Iterator[None]:
    """Tell AWS's errors that are the user's as InvalidSettings."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        how = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise InvalidSettings([f"there are no credentials for AWS. {how}"]) from error
    except (ProfileNotFound, InvalidRegionError) as error:
        raise InvalidSettings([str(error)]) from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != http.HTTPStatus.FORBIDDEN:
            raise
        raise InvalidSettings([f"AWS refuses these credentials: {error}"]) from error


def _queue_url(sqs: SQSClient, name: str) -> str:
    """Raises InvalidSettings."""
    try:
        return sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist as error:
        where = f"{sqs.meta.region_name} has no queue {name}"
        raise InvalidSettings([f"{where}. Check --stack and the region, and whose credentials these are"]) from error


def _handles(messages: Iterable[MessageTypeDef]) -> dict[str, str]:
    return {message["MessageId"]: message["ReceiptHandle"] for message in messages}


def _decoded(body: str) -> Deferred | None:
    try:
        return decode(body)
    except (ValueError, RecursionError):
        return None


def _letter(message: MessageTypeDef, content: Deferred | None, *, is_rest: bool = False) -> DeadLetter:
    attributes = message["Attributes"]
    letter = DeadLetter(
        message_id=message["MessageId"],
        sent_at=dt.datetime.fromtimestamp(int(attributes["SentTimestamp"]) // 1000, dt.UTC),
        attempts=int(attributes["ApproximateReceiveCount"]),
        kind=UNREADABLE if content is None else str(content.__struct_config__.tag),
        is_rest=is_rest,
    )
    match content:
        case Continuation(connection_id=whose, events=events):
            return msgspec.structs.replace(letter, connection_id=whose, events=len(events))
        case CloseNotice(connection_id=whose):
            return msgspec.structs.replace(letter, connection_id=whose)
        case FanOut(event=event):
            return msgspec.structs.replace(letter, channel=event.channel)
        case FanOutChunk(event=event, connection_ids=ids):
            return msgspec.structs.replace(letter, channel=event.channel, connections=len(ids))
        case None:
            return letter
