"""The ports of the store in memory, which fail where a test wants it, and have an index that lags."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from slip_sockets.dev.channels import MemoryChannels
from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.dev.history import MemoryHistory
from slip_sockets.dev.presence import MemoryPresence
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import Clock, MemberChanges
from slip_sockets.gateway.values import Page

PAGE_SIZE = 3
"""As a test can count."""


class _Faulty:
    """Raises Unavailable from the methods that a test names in `away`."""

    away: set[str]

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "away" and name in self.away:
            raise Unavailable(f"the table is away for {name}")
        return super().__getattribute__(name)


class FaultyStore(_Faulty, MemoryConnections, MemoryChannels):
    """All ports of the store but those below.

    Its index lags: it lacks the `unseen`, and shows `ghosts`.
    """

    index_lag_s = 10.0

    def __init__(
        self, clock: Clock, changes: MemberChanges | None = None, presence: MemoryPresence | None = None
    ) -> None:
        MemoryConnections.__init__(self, clock, changes, presence or FaultyPresence(clock), keeps_metadata=True)
        MemoryChannels.__init__(self, clock)
        self.page_size = PAGE_SIZE
        self.away = set()
        self.unseen: set[str] = set()
        self.ghosts: list[str] = []

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int = 1_000, subscribed_before: float | None = None
    ) -> AsyncIterator[Page]:
        shown_first = self.ghosts if after is None else []
        async for page in super().subscribers(
            channel, after=after, page_size=page_size, subscribed_before=subscribed_before
        ):
            shown = [id_ for id_ in page.connection_ids if id_ not in self.unseen]
            yield Page([*shown_first, *shown], page.cursor, page.framed)
            shown_first = []


class FaultyHistory(_Faulty, MemoryHistory):
    """The port History."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.away = set()


class FaultyPresence(_Faulty, MemoryPresence):
    """The port Presence."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.away = set()
