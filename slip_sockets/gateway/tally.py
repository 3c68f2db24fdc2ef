"""What the gateway counts of its work, for whoever watches it."""

from __future__ import annotations

from typing import Literal, Protocol

Counted = Literal["Failures", "BackendFailures", "Sent", "Gone", "Queued"]
"""`Sent`, `Gone` and `Queued` are numbers of subscribers, of publishes and closes of channels; who was queued is
counted as sent or gone once that is done."""
Sampled = Literal["BackendLatency", "Matched"]
"""`BackendLatency` is of a call, in milliseconds; `Matched` is the number of subscribers that a publish found."""


class Tally(Protocol):
    def count(self, what: Counted, by: int = 1) -> None: ...

    def sample(self, what: Sampled, value: int) -> None: ...


class _NoTally:
    """For nobody: it keeps nothing."""

    def count(self, what: Counted, by: int = 1) -> None:
        pass

    def sample(self, what: Sampled, value: int) -> None:
        pass


NO_TALLY = _NoTally()
