"""A stub of one SQS FIFO queue in high-throughput mode: `python -m bench.fan_out.sqs --visibility-timeout 120`.

Groups are locked while one of their messages is in flight, messages deduplicated within their group, and receipt
handles expire with the visibility timeout. What it cannot show: quotas, redrive (`ApproximateReceiveCount` counts on),
and what lies between SQS and a function, Lambda's event source.

`POST /twice?type=fan_out` has the next message of that type come again though it was deleted, as one does whose
deletion was lost; `POST /drop?type=fan_out_chunk` counts those that are sent and keeps none. `GET /stats` has calls by
operation, messages and bytes by type, `POST /reset` begins anew.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import time
import uuid
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from .aws_json import Answer, AwsError, Operation, Service, serve

DEDUPLICATION_S = 300
_TYPE = re.compile(r'"type":"(\w+)"')


@dataclass(slots=True, eq=False)
class Message:
    """`receipt` is that of the last receive while it is in flight, else empty."""

    message_id: str
    group: str
    deduplication_id: str
    body: str
    sent_at: float
    receive_count: int = 0
    receipt: str = ""
    comes_again: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def type(self) -> str:
        """The first in the body is the message's own."""
        match = _TYPE.search(self.body)
        return match[1] if match else "compressed"


@dataclass(slots=True, eq=False)
class Waiting:
    answer: asyncio.Future[Answer]
    limit: int
    visibility_s: float


@dataclass(slots=True)
class Stats:
    calls: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    message_bytes: Counter[str] = field(default_factory=Counter)
    deduplicated: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    received_again: Counter[str] = field(default_factory=Counter)


class Sqs(Service):
    """The queue. `visibility_timeout_s` is its own, where a receive names none."""

    def __init__(self, visibility_timeout_s: float) -> None:
        self._visibility_timeout_s = visibility_timeout_s
        self._groups: dict[str, deque[Message]] = {}
        self._free: OrderedDict[str, None] = OrderedDict()
        """Groups with messages and none in flight, in the order of service."""
        self._in_flight: dict[str, Message] = {}
        self._sent: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._waiting: deque[Waiting] = deque()
        self._dropped_type = ""
        self._twice: Counter[str] = Counter()
        self._stats = Stats()
        operations: dict[str, Operation] = {
            "SendMessageBatch": self._send_message_batch,
            "ReceiveMessage": self._receive_message,
            "DeleteMessage": self._delete_message,
            "ChangeMessageVisibilityBatch": self._change_message_visibility_batch,
        }
        self.operations = {name: self._counted(name, operation) for name, operation in operations.items()}
        self.controls = {
            "/twice": self._have_come_twice,
            "/drop": self._have_dropped,
            "/stats": self._tell_stats,
            "/reset": self._reset,
        }

    def _counted(self, name: str, operation: Operation) -> Operation:
        def counted(asked: Any) -> Answer | asyncio.Future[Answer]:
            self._stats.calls[name] += 1
            return operation(asked)

        return counted

    def _have_come_twice(self, query: dict[str, str]) -> Answer:
        self._twice[query["type"]] += 1
        return {}

    def _have_dropped(self, query: dict[str, str]) -> Answer:
        self._dropped_type = query["type"]
        return {}

    def _tell_stats(self, _: dict[str, str]) -> Answer:
        waiting = sum(map(len, self._groups.values()))
        return {
            "waiting": waiting - len(self._in_flight),
            "in_flight": len(self._in_flight),
            **{name: dict(getattr(self._stats, name)) for name in Stats.__slots__},
        }

    def _reset(self, _: dict[str, str]) -> Answer:
        """What is under way stays."""
        self._stats = Stats()
        self._dropped_type = ""
        self._twice.clear()
        return {}

    def _send_message_batch(self, asked: Any) -> Answer:
        now = time.time()
        while self._sent and next(iter(self._sent.values()))[0] < now - DEDUPLICATION_S:
            self._sent.popitem(last=False)
        successful = [self._send(entry, now) for entry in asked["Entries"]]
        self._serve_waiting()
        return {"Successful": successful, "Failed": []}

    def _send(self, entry: dict[str, str], now: float) -> Answer:
        body = entry["MessageBody"]
        message = Message(uuid.uuid4().hex, entry["MessageGroupId"], entry["MessageDeduplicationId"], body, now)
        known = self._sent.get((message.group, message.deduplication_id))
        if known is not None:
            self._stats.deduplicated[message.type] += 1
            return _taken(entry, known[1])
        self._sent[message.group, message.deduplication_id] = (now, message.message_id)
        self._stats.messages[message.type] += 1
        self._stats.message_bytes[message.type] += len(body)
        if message.type != self._dropped_type:
            if self._twice[message.type] > 0:
                self._twice[message.type] -= 1
                message.comes_again = True
            self._groups.setdefault(message.group, deque()).append(message)
            if len(self._groups[message.group]) == 1:
                self._free[message.group] = None
        return _taken(entry, message.message_id)

    def _receive_message(self, asked: Any) -> Answer | asyncio.Future[Answer]:
        loop = asyncio.get_running_loop()
        visibility_s = asked.get("VisibilityTimeout", self._visibility_timeout_s)
        waiting = Waiting(loop.create_future(), asked.get("MaxNumberOfMessages", 1), visibility_s)
        self._waiting.append(waiting)
        self._serve_waiting()
        if not waiting.answer.done():
            loop.call_later(asked.get("WaitTimeSeconds", 0), self._give_up, waiting)
        return waiting.answer

    def _give_up(self, waiting: Waiting) -> None:
        if not waiting.answer.done():
            waiting.answer.set_result({})
            self._waiting.remove(waiting)

    def _serve_waiting(self) -> None:
        while self._waiting and self._free:
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # else whoever waited has gone
                waiting.answer.set_result({"Messages": self._take(waiting.limit, waiting.visibility_s)})

    def _take(self, limit: int, visibility_s: float) -> list[Answer]:
        taken: list[Answer] = []
        while self._free and len(taken) < limit:
            group, _ = self._free.popitem(last=False)
            for message in list(self._groups[group])[: limit - len(taken)]:
                message.receive_count += 1
                message.receipt = uuid.uuid4().hex
                self._in_flight[message.receipt] = message
                self._stats.received[message.type] += 1
                self._stats.received_again[message.type] += message.receive_count > 1
                self._hide(message, visibility_s)
                taken.append(_received(message))
        return taken

    def _hide(self, message: Message, seconds: float) -> None:
        """Time the message out. An answer that is under way comes before whatever follows."""
        if message.timer is not None:
            message.timer.cancel()
        message.timer = asyncio.get_running_loop().call_later(seconds, self._show, message)

    def _show(self, message: Message) -> None:
        """The message is no longer in flight; its group is free where no other one of it is."""
        if message.timer is not None:
            message.timer.cancel()
        self._in_flight.pop(message.receipt)
        message.receipt = ""
        group = self._groups[message.group]
        if not any(each.receipt for each in group):
            self._free[message.group] = None
        self._serve_waiting()

    def _delete_message(self, asked: Any) -> Answer:
        message = self._of_receipt(asked["ReceiptHandle"])
        if message.comes_again:
            message.comes_again = False
            self._show(message)
            return {}
        group = self._groups[message.group]
        if message.timer is not None:
            message.timer.cancel()
        del self._in_flight[message.receipt]
        group.remove(message)
        if not group:
            del self._groups[message.group]
        elif not any(each.receipt for each in group):
            self._free[message.group] = None
        self._serve_waiting()
        return {}

    def _change_message_visibility_batch(self, asked: Any) -> Answer:
        for entry in asked["Entries"]:
            self._hide(self._of_receipt(entry["ReceiptHandle"]), entry["VisibilityTimeout"])
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}

    def _of_receipt(self, receipt: str) -> Message:
        try:
            return self._in_flight[receipt]
        except KeyError:
            raise AwsError("InvalidParameterValue", f"The receipt handle has expired: {receipt}") from None


def _taken(entry: dict[str, str], message_id: str) -> Answer:
    return {"Id": entry["Id"], "MessageId": message_id, "MD5OfMessageBody": _md5(entry["MessageBody"])}


def _received(message: Message) -> Answer:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
        "Attributes": {
            "ApproximateReceiveCount": str(message.receive_count),
            "SentTimestamp": str(round(message.sent_at * 1000)),
            "MessageGroupId": message.group,
            "MessageDeduplicationId": message.deduplication_id,
        },
    }


def _md5(body: str) -> str:
    return hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visibility-timeout", type=float, default=120, help="seconds (%(default)s)")
    asyncio.run(serve(Sqs(parser.parse_args().visibility_timeout)))
