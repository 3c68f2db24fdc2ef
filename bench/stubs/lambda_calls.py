"""What Lambda passes to a function: contexts, and the events of two event sources."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from slip_sockets.apigateway.http_events import http_event
from slip_sockets.apigateway.requests import ApiIdentity
from slip_sockets.protocol.tokens import mint

SECRET = "a-secret-for-benchmarks-of-32-bytes-or-more"
QUEUE_URL = "http://sqs.invalid/000000000000/bench.fifo"
INBOUND_QUEUE_URL = "http://sqs.invalid/000000000000/inbound.fifo"
DEAD_LETTERS_URL = "http://sqs.invalid/000000000000/dead-letters.fifo"
"""Only names: functions send to the stub by AWS_ENDPOINT_URL_SQS."""
CONTROL_TIMEOUT_S = 29.0
DELIVER_TIMEOUT_S = 60.0
"""The functions' timeouts, as the stacks deploy them."""

_API = ApiIdentity("abcd1234", "$default", "abcd1234.execute-api.us-east-1.amazonaws.com")


@dataclass(frozen=True, slots=True)
class Context:
    """A call that Lambda ends at `ends_at` (Unix seconds)."""

    ends_at: float
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    @classmethod
    def lasting(cls, seconds: float) -> Context:
        return cls(time.time() + seconds)

    def get_remaining_time_in_millis(self) -> int:
        return round((self.ends_at - time.time()) * 1000)


def sqs_event(message: Any, queue_url: str = QUEUE_URL) -> dict[str, Any]:
    """Return the event for a message of ReceiveMessage."""
    record = {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue_url.rpartition('/')[2]}",
    }
    return {"Records": [record]}


def control_event(body: bytes) -> dict[str, Any]:
    """Return the HTTP API's event for a call of the control API, with a fresh token."""
    return http_event(
        _API,
        method="POST",
        path="/",
        query="",
        headers=[("Authorization", f"Bearer {mint('ControlEvent', SECRET)}"), ("Content-Type", "application/json")],
        source_ip="192.0.2.1",
        body=body,
    )
