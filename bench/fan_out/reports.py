"""What the processes of a case tell each other. Megabytes are 10^6 bytes, times are Unix seconds."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence

import msgspec


class Publish(msgspec.Struct):
    """Texts for a channel, published one after another: each begins with its number, from `first` on."""

    channel: str
    first: int = 0
    times: int = 1
    text_bytes: int = 200
    message_id: str | None = None

    def texts(self) -> Iterator[str]:
        for number in range(self.first, self.first + self.times):
            yield f"{number} ".ljust(self.text_bytes, "x")


class Published(msgspec.Struct):
    """The last call's status and body, when the first began and the last was answered."""

    status: int
    body: str
    began_at: float
    answered_at: float


class Received(msgspec.Struct):
    """What the stub of the management API has seen. `connections` got something, `statuses` are its answers."""

    calls: int
    statuses: dict[int, int]
    delivered: int
    connections: int
    duplicates: int
    out_of_order: int
    first_at: float | None
    last_at: float | None

    @property
    def last(self) -> float:
        return self.last_at or 0.0

    @property
    def seconds(self) -> float:
        """From the first delivery to the last."""
        return self.last - (self.first_at or 0.0)


class Sent(msgspec.Struct):
    """`done` texts were sent within so many seconds, of the clock and of the processor."""

    done: int
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.done / self.seconds

    @property
    def cpu_s_per_1000(self) -> float:
        return self.cpu_s / self.done * 1000


class Footprint(msgspec.Struct):
    """What a process has used. `handled` are messages or calls, `page_rss_mb` its memory at each page that it read."""

    handled: int
    peak_rss_mb: float
    cpu_s: float
    page_rss_mb: Sequence[float] = ()


def footprint(handled: int, page_rss_mb: Sequence[float] = ()) -> Footprint:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Footprint(handled, used.ru_maxrss * 1024 / 1e6, used.ru_utime + used.ru_stime, page_rss_mb)


def resident_mb() -> float:
    """Return the resident memory now."""
    with open("/proc/self/statm") as told:  # noqa: PTH123 - at each page, and a Path costs more than the reading
        return int(told.read().split()[1]) * resource.getpagesize() / 1e6
