"""The messages of the queue about who is in a channel: see `presence`, `occupancy` and `sweeps`."""

from __future__ import annotations

from .deferred_base import DeferredMessage, Summary, digest_of
from .values import Announced


class _AboutChannel(DeferredMessage, frozen=True, omit_defaults=True):
    channel: str

    @property
    def subject(self) -> str:
        return f"channel {self.channel!r:.60}"

    @property
    def summary(self) -> Summary:
        return Summary(channel=self.channel)


class Look(_AboutChannel, frozen=True, tag="look", omit_defaults=True):
    """Looks at `due_at` (Unix seconds) who is in a channel, and notifies those who are there.

    Looks at a channel are one after another. Those after the grace wait aside, since others are due before them, and so
    do those that are only there because an earlier one could not send everything (`is_later`).

    Where an earlier attempt may have sent frames that were not noted, it `is_repeated`; what that one was about to
    announce to the backend is `announced`.
    """

    due_at: float
    is_after_grace: bool = False
    is_later: bool = False
    is_repeated: bool = False
    announced: Announced | None = None

    @property
    def is_aside(self) -> bool:
        return self.is_after_grace or self.is_later

    @property
    def group(self) -> str:
        lane = "grace" if self.is_after_grace else "later" if self.is_later else "look"
        return f"{lane}:{digest_of(self.channel)}"

    @property
    def deduplication_id(self) -> str:
        return f"{self.due_at:.3f}"

    @property
    def title(self) -> str:
        return f"a look who is in {self.channel!r}"


class Sweep(_AboutChannel, frozen=True, tag="sweep"):
    """Waits until `due_at` (Unix seconds) for a Look at a channel. Each is a group of its own."""

    due_at: float

    @property
    def group(self) -> str:
        return f"sweep:{digest_of(self.channel)}:{self.due_at:.3f}"

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
        return f"occupancy:{digest_of(self.channel)}"

    @property
    def deduplication_id(self) -> str:
        return f"{self.version}:{self.event_name}"

    @property
    def title(self) -> str:
        return f"{self.event_name} of {self.channel!r}, for the backend"

    @property
    def summary(self) -> Summary:
        return Summary(connection_id=self.connection_id, channel=self.channel)
