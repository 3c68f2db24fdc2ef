"""Messages and queues that SQS refuses.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..api_request import ApiRequest, ApiResponse
from .refused import Refused

MAX_DELAY_S = 900
_BODY = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
_ID = re.compile(r"[!-~]{1,128}")
"""Alphanumeric characters and punctuation: ASCII without control characters and the space."""
ATTRIBUTE_RANGES = {
    "DelaySeconds": (0, MAX_DELAY_S),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""


def check_sqs(request: ApiRequest) -> None:
    match request.operation:
        case "SendMessage":
            _check_message(request.parameters)
        case "CreateQueue" | "SetQueueAttributes":
            for name, value in (request.parameters.get("Attributes") or {}).items():
                least, most = ATTRIBUTE_RANGES.get(name, (None, None))
                if least is not None and most is not None and not (value.isdecimal() and least <= int(value) <= most):
                    raise Refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.")


def without_refused_entries(request: ApiRequest) -> tuple[ApiRequest, list[dict[str, Any]]]:
    """Return a SendMessageBatch without the messages that SQS refuses, and the failures that it reports for them."""
    entries, failed = [], []
    for entry in request.parameters.get("Entries") or []:
        try:
            _check_message(entry)
        except Refused as refused:
            failed.append({"Id": entry.get("Id"), "SenderFault": True, "Code": refused.code, "Message": str(refused)})
        else:
            entries.append(entry)
    body = json.dumps(request.parameters | {"Entries": entries}).encode()
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return replace(request, body=body, headers=headers), failed


def with_failures(response: ApiResponse, failed: list[dict[str, Any]]) -> ApiResponse:
    body = json.loads(response.body)
    body["Failed"] = [*body.get("Failed", ()), *failed]
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    return replace(response, body=json.dumps(body).encode(), headers=headers)


def _check_message(message: Mapping[str, Any]) -> None:
    body = message.get("MessageBody")
    if not body:
        raise Refused("MissingParameter", "The request must contain the parameter MessageBody.")
    if not _BODY.fullmatch(body):
        raise Refused(
            "InvalidMessageContents",
            "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | "
            "#xE000 to #xFFFD | #x10000 to #x10FFFF",
        )
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        value = message.get(name)
        if value is not None and not _ID.fullmatch(value):
            raise Refused(
                "InvalidParameterValue",
                f"Value {value} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and "
                "punctuation characters. 1 to 128 in length.",
            )
    delay_s = message.get("DelaySeconds")
    if delay_s is not None and not 0 <= delay_s <= MAX_DELAY_S:
        raise Refused(
            "InvalidParameterValue",
            f"Value {delay_s} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and "
            f"<= {MAX_DELAY_S}.",
        )
