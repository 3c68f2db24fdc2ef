"""How much of the sender's capacity fan-outs may take, so that connects and small publishes find some left."""

from __future__ import annotations

DEFAULT_FAN_OUT_RATE = 8_000
"""Calls a second. An account has 10,000 for all its APIs, and their callers.
https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
MIN_FAN_OUT_RATE = 100
"""At this rate a chunk of a thousand takes 10 seconds, which fits into one call of a function."""
MAX_FAN_OUT_RATE = 100_000
"""Ten times an account's default quota."""
MIN_RESERVED_CALLS = 100
"""Fewer calls are made without a reservation, which is a call itself."""


class _Unlimited:
    """The port DeliveryRate, without a limit."""

    async def reserve(self, calls: int, *, wait_at_most_s: float) -> float:
        return 0.0


UNLIMITED = _Unlimited()
