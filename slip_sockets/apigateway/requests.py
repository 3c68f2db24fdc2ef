"""The parts that the events of both kinds of API have in common."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

ProxyEvent = dict[str, Any]
"""An event, as Lambda passes it to a function."""
ProxyResponse = dict[str, Any]
"""A response, as a Lambda function returns it."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class ApiIdentity(msgspec.Struct, frozen=True):
    """The API that events come from."""

    api_id: str
    stage: str
    domain_name: str


def proxy_response(status: int, headers: Mapping[str, str] | None = None, body: str = "") -> ProxyResponse:
    return {"statusCode": int(status), "headers": dict(headers or {}), "body": body}


def new_request_id() -> str:
    return base64.b64encode(secrets.token_bytes(11)).decode()


def clf_time(now: float) -> str:
    """Return a time (Unix seconds) in the Common Log Format: `29/Nov/2026:12:00:00 +0000`."""
    at = time.gmtime(now)
    return f"{at.tm_mday:02}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{time.strftime('%H:%M:%S', at)} +0000"


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the values of each name, in order."""
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups
