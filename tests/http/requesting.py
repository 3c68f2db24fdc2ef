"""Requests of the tests, and what comes of them."""

from __future__ import annotations

import pytest

from slip_sockets.gateway.errors import HttpError, HttpFailure
from slip_sockets.http.client import Client, Request, Timeouts
from slip_sockets.http.reader import Response

from ..gateway.doubles import FakeClock

MAX_BYTES = 1024 * 1024
PATIENT = Timeouts(connect_s=20, first_byte_s=20, total_s=20)
IDLE_S = 20.0
SHORT_S = 0.05
NOT_WITHIN = (HttpFailure.TIMEOUT, f"not within {SHORT_S:g} s")


def short(clock: FakeClock, *, connect_s: float = 20, first_byte_s: float = 20, total_s: float = 20) -> Client:
    return Client(clock, Timeouts(connect_s, first_byte_s, total_s), idle_s=IDLE_S)


async def get(client: Client, url: str, *, is_repeatable: bool = False, whole_errors: bool = True) -> Response:
    request = Request("GET", url, {}, None, is_repeatable=is_repeatable)
    return await client.request(request, max_bytes=MAX_BYTES, whole_errors=whole_errors)


async def post(client: Client, url: str, body: bytes = b"body", *, is_repeatable: bool = False) -> Response:
    request = Request("POST", url, {"Content-Type": "text/plain"}, body, is_repeatable=is_repeatable)
    return await client.request(request, max_bytes=MAX_BYTES)


async def fails(client: Client, url: str, *, is_repeatable: bool = False) -> tuple[HttpFailure, str]:
    """Return the failure and the text of the error that a request ends in."""
    with pytest.raises(HttpError) as error:
        await get(client, url, is_repeatable=is_repeatable)
    return error.value.failure, str(error.value)
