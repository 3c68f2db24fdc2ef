"""The context of a call, which Lambda passes to a function beside the event."""

from __future__ import annotations

import time
from typing import Protocol


class LambdaContext(Protocol):
    """https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...


def deadline_of(context: LambdaContext) -> float:
    """Return when Lambda ends this call, in Unix seconds."""
    return time.time() + context.get_remaining_time_in_millis() / 1000
