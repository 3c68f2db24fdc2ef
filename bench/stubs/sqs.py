"""A stub of one SQS FIFO queue in high-throughput mode: `python -m bench.stubs.sqs`.

A group is locked while one of its messages is in flight, messages are deduplicated within their group, and a receipt
handle expires with the visibility timeout. What it cannot show: quotas, the redrive policy (`ApproximateReceiveCount`
counts on), and Lambda's event source, which lies between SQS and a function.

`POST /drop?type=fan_out_chunk` makes it count messages of that type and keep none. `GET /stats` has calls by operation,
messages and bytes by type; `POST /reset` resets all that, and leaves the messages.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from .aws_json import Operation, Response, Service, ServiceError, run
from .http import Query

DEDUPLICATION_S = 300
VISIBILITY_TIMEOUT_S = 120.0
"""As the stacks deploy the queue."""
_TYPE = re.compile(r'"type":"(\w+)"')


@dataclass(slots=True, eq=False)
class Message:
    """`receipt` is the handle of the last receive while the message is in flight, else empty."""

    message_id: str
    group: str
    deduplication_id: str
    body: str
    sent_at: float
    receive_count: int = 0
    receipt: str = ""
    timer: asyncio.TimerHandle | None = None

    @property
    def type(self) -> str:
        """The first type in the body is the message's own; others are those of events in it."""
        match = _TYPE.search(self.body)
        return match[1] if match else "compressed"


@dataclass(slots=True, eq=False)
class Receive:
    """A ReceiveMessage that waits for messages."""

    response: asyncio.Future[Response]
    limit: int
    visibility_s: float


@dataclass(slots=True)
class Stats:
    calls: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    message_bytes: Counter[str] = field(default_factory=Counter)


class Sqs(Service):
    def __init__(self) -> None:
        self._groups: dict[str, deque[Message]] = {}
        self._free: OrderedDict[str, None] = OrderedDict()
        """Groups with messages and none in flight, in the order of service."""
        self._in_flight: dict[str, Message] = {}
        self._sent: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._receives: deque[Receive] = deque()
        self._dropped_type = ""
        self._stats = Stats()
        operations: dict[str, Operation] = {
            "SendMessageBatch": self._send_message_batch,
            "ReceiveMessage": self._receive_message,
            "DeleteMessage": self._delete_message,
            "ChangeMessageVisibilityBatch": self._change_message_visibility_batch,
        }
        self.operations = {name: self._counted(name, operation) for name, operation in operations.items()}
        self.controls = {"/drop": self._drop, "/stats": self._show_stats, "/reset": self._reset}

    def _counted(self, name: str, operation: Operation) -> Operation:
        def counted(request: Any) -> Response | asyncio.Future[Response]:
            self._stats.calls[name] += 1
            return operation(request)

        return counted

    def _drop(self, query: Query) -> Response:
        self._dropped_type = query["type"]
        return {}

    def _show_stats(self, _: Query) -> Response:
        messages = sum(map(len, self._groups.values()))
        return {
            "waiting": messages - len(self._in_flight),
            "in_flight": len(self._in_flight),
            **{name: dict(getattr(self._stats, name)) for name in Stats.__slots__},
        }

    def _reset(self, _: Query) -> Response:
        self._stats = Stats()
        self._dropped_type = ""
        return {}

    def _send_message_batch(self, request: Any) -> Response:
        now = time.time()
        while self._sent and next(iter(self._sent.values()))[0] < now - DEDUPLICATION_S:
            self._sent.popitem(last=False)
        successful = [self._send(entry, now) for entry in request["Entries"]]
        self._serve_receives()
        return {"Successful": successful, "Failed": []}

    def _send(self, entry: dict[str, str], now: float) -> Response:
        body = entry["MessageBody"]
        message = Message(uuid.uuid4().hex, entry["MessageGroupId"], entry["MessageDeduplicationId"], body, now)
        known = self._sent.get((message.group, message.deduplication_id))
        if known is not None:
            return _accepted(entry, known[1])
        self._sent[message.group, message.deduplication_id] = (now, message.message_id)
        self._stats.messages[message.type] += 1
        self._stats.message_bytes[message.type] += len(body)
        if message.type != self._dropped_type:
            self._groups.setdefault(message.group, deque()).append(message)
            if len(self._groups[message.group]) == 1:
                self._free[message.group] = None
        return _accepted(entry, message.message_id)

    def _receive_message(self, request: Any) -> Response | asyncio.Future[Response]:
        loop = asyncio.get_running_loop()
        visibility_s = request.get("VisibilityTimeout", VISIBILITY_TIMEOUT_S)
        receive = Receive(loop.create_future(), request.get("MaxNumberOfMessages", 1), visibility_s)
        self._receives.append(receive)
        self._serve_receives()
        if not receive.response.done():
            loop.call_later(request.get("WaitTimeSeconds", 0), self._give_up, receive)
        return receive.response

    def _give_up(self, receive: Receive) -> None:
        if not receive.response.done():
            receive.response.set_result({})
            self._receives.remove(receive)

    def _serve_receives(self) -> None:
        while self._receives and self._free:
            receive = self._receives.popleft()
            if not receive.response.done():  # else its client has disconnected
                receive.response.set_result({"Messages": self._take(receive.limit, receive.visibility_s)})

    def _take(self, limit: int, visibility_s: float) -> list[Response]:
        taken: list[Response] = []
        while self._free and len(taken) < limit:
            group, _ = self._free.popitem(last=False)
            for message in list(self._groups[group])[: limit - len(taken)]:
                message.receive_count += 1
                message.receipt = uuid.uuid4().hex
                self._in_flight[message.receipt] = message
                self._hide(message, visibility_s)
                taken.append(_received(message))
        return taken

    def _hide(self, message: Message, seconds: float) -> None:
        """Make the message visible after some seconds: by a timer for 0 too, so that the response goes out first."""
        if message.timer is not None:
            message.timer.cancel()
        message.timer = asyncio.get_running_loop().call_later(seconds, self._show, message)

    def _show(self, message: Message) -> None:
        """Take the message out of flight. Its group is free unless another message of it is in flight."""
        if message.timer is not None:
            message.timer.cancel()
        self._in_flight.pop(message.receipt)
        message.receipt = ""
        group = self._groups[message.group]
        if not any(each.receipt for each in group):
            self._free[message.group] = None
        self._serve_receives()

    def _delete_message(self, request: Any) -> Response:
        message = self._of_receipt(request["ReceiptHandle"])
        group = self._groups[message.group]
        if message.timer is not None:
            message.timer.cancel()
        del self._in_flight[message.receipt]
        group.remove(message)
        if not group:
            del self._groups[message.group]
        elif not any(each.receipt for each in group):
            self._free[message.group] = None
        self._serve_receives()
        return {}

    def _change_message_visibility_batch(self, request: Any) -> Response:
        for entry in request["Entries"]:
            self._hide(self._of_receipt(entry["ReceiptHandle"]), entry["VisibilityTimeout"])
        return {"Successful": [{"Id": entry["Id"]} for entry in request["Entries"]], "Failed": []}

    def _of_receipt(self, receipt: str) -> Message:
        try:
            return self._in_flight[receipt]
        except KeyError:
            raise ServiceError("InvalidParameterValue", f"The receipt handle has expired: {receipt}") from None


def _accepted(entry: dict[str, str], message_id: str) -> Response:
    return {"Id": entry["Id"], "MessageId": message_id, "MD5OfMessageBody": _md5(entry["MessageBody"])}


def _received(message: Message) -> Response:
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
    run(Sqs())
