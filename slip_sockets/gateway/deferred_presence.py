"""The messages of the queue that tell the backend who is in a channel: see `occupancy` and `sweeps`."""

from __future__ import annotations

import hashlib

from .deferred_base import DeferredMessage, Summary


class _AboutChannel(DeferredMessage, frozen=True, omit_defaults=True):
    channel: str

    @property
    def subject(self) -> str:
        return f"channel {self.channel!r:.60}"

    @property
    def summary(self) -> Summary:
        return Summary(channel=self.channel)


class Sweep(_AboutChannel, frozen=True, tag="sweep"):
    """Waits until `due_at` (Unix seconds) for a Look at a channel. Each is a group of its own."""

    due_at: float

    @property
    def group(self) -> str:
        return f"sweep:{_digest(self.channel)}:{self.due_at:.3f}"

    @property
    def title(self) -> str:
        return f"a later look who is in {self.channel!r}"


class OccupancyNotice(_AboutChannel, frozen=True, tag="occupancy_notice", omit_defaults=True):
    """An OCCUPIED or VACATED that the backend has not had yet. Those of a channel are one after another.

    The connection is that of the first member to come, or the last to go. `metadata` is JSON, None where it is still to
    be read; `user` is None where the backend did not say who is at the connection.
    """

    is_occupied: bool
    connection_id: str
    version: int
    metadata: bytes | None = None
    user: str | None = None

    @property
    def kind(self) -> str:
        return self.event_name.lower()

    @property
    def event_name(self) -> str:
        return "OCCUPIED" if self.is_occupied else "VACATED"

    @property
    def group(self) -> str:
        return f"occupancy:{_digest(self.channel)}"

    @property
    def deduplication_id(self) -> str:
        return f"{self.version}:{self.event_name}"

    @property
    def title(self) -> str:
        return f"{self.event_name} of {self.channel!r}, for the backend"

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id, channel=self.channel)


def _digest(channel: str) -> str:
    return hashlib.sha256(channel.encode()).hexdigest()[:32]
