"""The rate of fan-outs in memory, for one process."""

from __future__ import annotations

from ..gateway.ports import Clock


class MemoryDeliveryRate:
    """The port DeliveryRate, for `rate` calls a second. Nothing here suspends, so each method is atomic."""

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._reserved_until = 0.0

    async def reserve(self, calls: int, *, wait_at_most_s: float) -> float:
        now = self._clock.now()
        begins_at = max(now, self._reserved_until)
        wait_s = begins_at - now
        if wait_s <= wait_at_most_s:
            self._reserved_until = begins_at + calls / self._rate
        return wait_s
