"""What Lambda hands to a function: contexts, and the events of both event sources."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from slip_sockets.tokens import mint

SECRET = "a-secret-for-benchmarks-of-32-bytes-or-more"
QUEUE_URL = "http://sqs.invalid/000000000000/bench.fifo"
"""A name to the stub, whose address is the client's endpoint."""
CONTROL_TIMEOUT_S = 29.0
DELIVER_TIMEOUT_S = 60.0
"""The functions' timeouts, as `stacks` deploys them."""


@dataclass(frozen=True, slots=True)
class Context:
    """A call that Lambda ends at `ends_at` (Unix seconds)."""

    ends_at: float

    @classmethod
    def lasting(cls, seconds: float) -> Context:
        return cls(time.time() + seconds)

    def get_remaining_time_in_millis(self) -> int:
        return round((self.ends_at - time.time()) * 1000)


def sqs_event(message: Any) -> dict[str, Any]:
    """Return the event for a message that ReceiveMessage gave."""
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
    }
    return {"Records": [record]}


def control_event(body: str) -> dict[str, Any]:
    """Return an HTTP API's event (payload format 2.0) with a fresh token."""
    return {
        "version": "2.0",
        "headers": {"authorization": f"Bearer {mint('ControlEvent', SECRET)}"},
        "requestContext": {"http": {"method": "POST", "path": "/"}},
        "body": body,
        "isBase64Encoded": False,
    }
