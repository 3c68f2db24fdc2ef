"""The queue: what is put in comes out again, and what cannot be read takes nobody else along."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from slip_sockets.aws.consumer import handle_batch
from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, SqsQueue, _batches, decode, encode
from slip_sockets.events import CloseChannel, PublishText, decode_answer
from slip_sockets.gateway.plan import plan_chunks
from slip_sockets.gateway.ports import CloseNotice, Continuation, Deferred, FanOut

from ..gateway.doubles import ME, START, YOU
from .bodies import CHANNELS, NOBODY, an_event
from .mutator import Mutator
from .oracle import ANSWER
from .play import play, run
from .small_world import SmallWorld
from .test_answers import WHAT_SQS_TAKES

pytestmark = pytest.mark.fuzz

KINDS = tuple(ANSWER)


def a_message(mutator: Mutator) -> Deferred:
    kind = mutator.chance()
    if kind < 0.4:
        events = [an_event(mutator, KINDS) for _ in range(1 + int(mutator.chance() * 3))]
        return Continuation(mutator.one_of((ME, YOU)), list(decode_answer(json.dumps({"events": events}).encode())))
    if kind < 0.6:
        metadata = mutator.one_of((None, b"null", json.dumps(mutator.json()).encode()))
        return CloseNotice(ME, mutator.one_of((None, 1000, 4999)), mutator.one_of((None, mutator.text())), metadata)
    channel = mutator.one_of(CHANNELS)
    event = CloseChannel(channel) if kind < 0.7 else PublishText(channel, mutator.text(), mutator.one_of((None, "1")))
    if kind < 0.85:
        return FanOut(event, "p", after=mutator.one_of((None, "0")), joined=[ME], left=[YOU], recent_until=START)
    return mutator.one_of(plan_chunks(event, "p", [ME, YOU, NOBODY]))


@dataclass
class Letters:
    """Records as Lambda gets them, and what an earlier attempt has left of one."""

    messages: list[Deferred]
    records: list[dict[str, Any]]
    left: str | None


@dataclass
class Rested:
    pauses_s: dict[str, float] = field(default_factory=dict)

    def rest(self, pauses_s: Mapping[str, float]) -> None:
        self.pauses_s |= pauses_s


@dataclass
class Progress:
    left: str | None

    async def keep(self, message_id: str, rest: str) -> None:
        self.left = rest

    async def kept(self, message_id: str) -> str | None:
        return self.left


class Queue:
    def draw(self, mutator: Mutator, faults: int) -> Letters:
        messages = [a_message(mutator) for _ in range(1 + int(mutator.chance() * 3))]
        records = []
        for number, message in enumerate(messages):
            body = encode(message)
            for _ in range(faults if mutator.chance() < 0.7 else 0):
                body = self._spoilt(mutator, body)
            attributes = {
                "MessageGroupId": mutator.one_of(("a", "b")),
                "ApproximateReceiveCount": mutator.one_of(("1", "1", "2", "40")),
            }
            records.append(
                {"messageId": str(number), "receiptHandle": str(number), "body": body, "attributes": attributes}
            )
        left = self._spoilt(mutator, encode(messages[0])) if mutator.chance() < 0.2 else None
        return Letters(messages, records, left)

    def _spoilt(self, mutator: Mutator, body: str) -> str:
        try:
            body = json.dumps(mutator.spoilt(json.loads(body)), ensure_ascii=False)
        except (ValueError, RecursionError):  # it was spoilt before
            body = mutator.spoilt_bytes(body.encode(errors="surrogatepass")).decode(errors="replace")
        if mutator.chance() < 0.2:
            body = mutator.spoilt_bytes(body.encode(errors="surrogatepass")).decode(errors="replace")
        return body

    def play(self, given: Letters) -> bool:
        self._holds_serialisation(given.messages)
        world, queue = SmallWorld(), Rested()
        before = world.seen()
        batch = run(
            handle_batch(
                {"Records": given.records},
                world.gateway.on_deferred,
                cast(SqsQueue, queue),
                Progress(given.left),
                deadline=math.inf,
            )
        )
        failed = [failure["itemIdentifier"] for failure in batch["batchItemFailures"]]
        assert sorted(queue.pauses_s) == sorted(failed)
        unreadable = [record for record in given.records if not _is_readable(record["body"])]
        assert {record["messageId"] for record in unreadable} <= set(failed)
        if given.left is None:
            self._holds_others_done(given, failed)
        if len(unreadable) == len(given.records):
            assert world.seen() == before
        return not unreadable

    def _holds_others_done(self, given: Letters, failed: Sequence[str]) -> None:
        """What is as it was put in is done, unless one before it in its group is not."""
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
