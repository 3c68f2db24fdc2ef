"""The queue: messages come out as they were put in, and one that cannot be read does not stop other groups."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from slip_sockets.aws.consumer import Consumer
from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, SHARDS, SqsQueue, _batches, decode, encode
from slip_sockets.gateway.deferred import (
    CloseNotice,
    Continuation,
    Deferred,
    Disconnected,
    FanOut,
    ReceivedText,
    Texts,
    plan_chunks,
)
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.gateway.values import Broadcast, ChannelClose, Publication
from slip_sockets.protocol.events import decode_reply

from ..gateway.doubles import ME, START, YOU, RecordingQueue
from .bodies import ABSENT, CHANNELS, an_event
from .mutator import Mutator
from .oracle import REPLY
from .play import play, run_in_loop
from .small_world import SmallWorld
from .test_replies import WHAT_SQS_TAKES

pytestmark = pytest.mark.fuzz

KINDS = tuple(REPLY)


def a_message(mutator: Mutator) -> Deferred:
    kind = mutator.chance()
    if kind < 0.2:
        return Texts(mutator.one_of((ME, YOU, ABSENT)), [a_text(mutator) for _ in range(1 + int(mutator.chance() * 3))])
    if kind < 0.25:
        reason = mutator.one_of((None, b"", a_text(mutator).data))
        return Disconnected(mutator.one_of((ME, YOU, ABSENT)), mutator.one_of((None, 1000, 4999)), reason)
    if kind < 0.5:
        events = [an_event(mutator, KINDS) for _ in range(1 + int(mutator.chance() * 3))]
        return Continuation(mutator.one_of((ME, YOU)), list(decode_reply(json.dumps({"events": events}).encode())))
    if kind < 0.6:
        metadata = mutator.one_of((None, b"null", json.dumps(mutator.json()).encode()))
        code, said = mutator.one_of((None, 1000, 4999)), mutator.one_of((None, mutator.text()))
        return CloseNotice(ME, code, said, metadata, mutator.one_of((None, "ann", mutator.text())))
    channel = mutator.one_of(CHANNELS)
    kind = mutator.chance()
    broadcast: Broadcast = ChannelClose(channel, except_connection_id=mutator.one_of((None, ME)))
    if kind >= 0.3:
        broadcast = Publication(channel, mutator.text(), mutator.one_of((None, "1")))
    if kind < 0.6:
        return FanOut(broadcast, "p", after=mutator.one_of((None, "0")), joined=[ME], left=[YOU], recent_until=START)
    return mutator.one_of(plan_chunks(broadcast, "p", [ME, YOU, ABSENT], shards=SHARDS))


def a_text(mutator: Mutator) -> ReceivedText:
    data = mutator.text().encode()
    if mutator.chance() < 0.2:
        data = mutator.spoilt_bytes(data)
    return ReceivedText(f"{mutator.random.getrandbits(64):x}", data)


@dataclass
class Records:
    """Records as Lambda gets them of one of the two queues, and a checkpoint of an earlier attempt."""

    is_inbound: bool
    messages: list[Deferred]
    records: list[dict[str, Any]]
    remaining: str | None


@dataclass
class Receiving:
    """The consumer's own queue."""

    timeouts_s: dict[str, float] = field(default_factory=dict)

    async def delete(self, handles: Sequence[str]) -> None:
        pass

    async def change_visibility(self, timeouts_s: Mapping[str, float]) -> None:
        self.timeouts_s |= timeouts_s


@dataclass
class OneCheckpoint:
    """Checkpoints: the same one for all messages."""

    remaining: str | None

    async def save(self, message_id: str, remaining: str) -> None:
        self.remaining = remaining

    async def load(self, message_id: str) -> str | None:
        return self.remaining


class Queue:
    def draw(self, mutator: Mutator, faults: int) -> Records:
        messages = [a_message(mutator) for _ in range(1 + int(mutator.chance() * 3))]
        records = []
        for number, message in enumerate(messages):
            body = encode(message)
            for _ in range(faults if mutator.chance() < 0.7 else 0):
                body = self._spoilt(mutator, body)
            is_of_connection = isinstance(message, Texts | Disconnected)
            attributes = {
                "MessageGroupId": message.group if is_of_connection else mutator.one_of(("a", "b")),
                "ApproximateReceiveCount": mutator.one_of(("1", "1", "2", "40")),
            }
            records.append(
                {"messageId": str(number), "receiptHandle": str(number), "body": body, "attributes": attributes}
            )
        remaining = self._spoilt(mutator, encode(messages[0])) if mutator.chance() < 0.2 else None
        return Records(mutator.chance() < 0.5, messages, records, remaining)

    def _spoilt(self, mutator: Mutator, body: str) -> str:
        try:
            body = json.dumps(mutator.spoilt(json.loads(body)), ensure_ascii=False)
        except (ValueError, RecursionError):  # it has a fault already
            body = mutator.spoilt_bytes(body.encode(errors="surrogatepass")).decode(errors="replace")
        if mutator.chance() < 0.2:
            body = mutator.spoilt_bytes(body.encode(errors="surrogatepass")).decode(errors="replace")
        return body

    def play(self, given: Records) -> bool:
        self._holds_serialisation(given.messages)
        world, queue, dead_letters = SmallWorld(), Receiving(), RecordingQueue()
        before = world.seen()
        gateway, checkpoint = world.gateway, OneCheckpoint(given.remaining)
        consumer = Consumer(
            gateway.inbound if given.is_inbound else gateway.worker,
            cast(SqsQueue, queue),
            checkpoint,
            SystemClock(),
            dead_letters if given.is_inbound else None,
        )
        batch = run_in_loop(consumer.handle({"Records": given.records}, deadline=math.inf))
        failed = [failure["itemIdentifier"] for failure in batch["batchItemFailures"]]
        assert sorted(queue.timeouts_s) == sorted(failed)
        unreadable = [record for record in given.records if not _is_readable(record["body"])]
        assert {record["messageId"] for record in unreadable} <= set(failed)
        if given.remaining is None:
            self._holds_others_done(given, failed)
        if checkpoint.remaining is None:
            self._holds_texts_posted(given, world)
        if len(unreadable) == len(given.records):
            assert world.seen() == before
        assert dead_letters.messages == []
        return not unreadable

    def _holds_others_done(self, given: Records, failed: Sequence[str]) -> None:
        """A message without a fault is done, unless one before it in its group is not."""
        blocked: set[str] = set()
        for record in given.records:
            group = record["attributes"]["MessageGroupId"]
            is_sound = _is_readable(record["body"]) and decode(record["body"]) in given.messages
            if record["messageId"] not in failed:
                assert group not in blocked
            elif is_sound:
                assert group in blocked
            else:
                blocked.add(group)

    def _holds_texts_posted(self, given: Records, world: SmallWorld) -> None:
        """Where no record has a fault, the backend has each text once, those of a connection in order."""
        sound = [decode(record["body"]) for record in given.records if _is_readable(record["body"])]
        if sound != given.messages or any(isinstance(message, Texts) for message in world.queue.messages):
            return  # the second is for one that a client has numbered, and that waits for its forerunners
        for connection_id in (ME, YOU, ABSENT):
            posted = [
                event["id"]
                for request in world.client.requests
                for event in request["events"]
                if request["connectionId"] == connection_id and event["type"] == "TEXT"
            ]
            texts = [
                message.texts for message in sound if isinstance(message, Texts) and message.group == connection_id
            ]
            assert posted == [text.id for some in texts for text in some]

    def _holds_serialisation(self, messages: Sequence[Deferred]) -> None:
        for message in messages:
            body = encode(message)
            assert WHAT_SQS_TAKES.fullmatch(body)
            assert decode(body) == message
        for batch in _batches(messages):
            assert len(batch) <= MAX_BATCH_MESSAGES
            assert sum(len(entry["MessageBody"]) for entry in batch) <= MAX_BATCH_BYTES
            groups = [entry["MessageGroupId"] for entry in batch]
            assert len(set(groups)) == len(groups)
            assert all(0 < len(group) <= 128 and group.isascii() for group in groups)


def _is_readable(body: str) -> bool:
    try:
        decode(body)
    except msgspec.DecodeError:
        return False
    return True


def test_messages_of_the_queue_are_done_or_come_again() -> None:
    play("queue", Queue, accepted=(0.3, 0.8), is_log_strict=False)
