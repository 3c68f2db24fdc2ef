"""An event for a function, and its outcome."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Limit of an event and of a response.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


class FunctionFailed(Exception):
    """A function raised, crashed, timed out or did not start. The message is Lambda's JSON about it."""


class TooManyRequests(Exception):
    """An event beyond the account's concurrency: Lambda refuses it, and no function runs."""

    def __init__(self) -> None:
        super().__init__("Rate Exceeded.")


class Failure(NamedTuple):
    """`error_type` is Lambda's name, such as `Sandbox.Timedout`."""

    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an event. `error` is Lambda's name for the kind of failure, None where the function returned."""

    payload: bytes
    error: str | None = None

    @classmethod
    def of(cls, failure: Failure) -> Outcome:
        body = {"errorType": failure.error_type, "errorMessage": failure.message}
        return cls(json.dumps(body).encode(), "Unhandled")

    def raise_for_error(self) -> None:
        """Raises FunctionFailed."""
        if self.error is not None:
            raise FunctionFailed(self.payload.decode(errors="replace"))


@dataclass(slots=True, eq=False)
class Invocation:
    """An event that waits for its outcome."""

    event: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def finish(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def fail(self, failure: Failure) -> None:
        self.finish(Outcome.of(failure))
