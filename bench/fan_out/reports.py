"""What the processes of a case send each other. Megabytes are 10^6 bytes, times are Unix seconds."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import msgspec


class Publish(msgspec.Struct):
    """A text for a channel, which begins with its number. `count` of them, one after another."""

    channel: str
    number: int = 0
    text_bytes: int = 200
    message_id: str | None = None
    is_kept: bool = False
    count: int = 1

    @property
    def text(self) -> str:
        return f"{self.number} ".ljust(self.text_bytes, "x")


class Published(msgspec.Struct):
    """The response to a call of the control API, and its times."""

    status: int
    body: str
    began_at: float
    ended_at: float


class Sent(msgspec.Struct):
    """The number of texts that were sent, and the time that it took: of the clock, and of the processor."""

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
    with open("/proc/self/statm") as file:  # noqa: PTH123 - at each page, and a Path costs more than the reading
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6
