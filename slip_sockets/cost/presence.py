"""What it uses that a member joins a channel or leaves it, as `slip_sockets.gateway.presence` handles it.

Processor times are those of `events`: not measured, as much as of a call of the control API. More frames than
INLINE_LIMIT go by the queue, which is not counted: that many are one number each, every five seconds.
"""

from __future__ import annotations

import math

from ..gateway.plan_presence import COUNT_EVERY_S, MAX_LISTED
from .events import (
    CHUNK_BYTES,
    CONTROL_CPU_MS,
    DATABASE_MS,
    DELIVERY_CPU_MS,
    EVENT_BYTES,
    FRAME_BYTES,
    MANAGEMENT_MS,
    TEXT_CPU_MS,
    TIMER_BYTES,
    TIMER_CPU_MS,
)
from .metering import connection_row_bytes, member_row_bytes
from .usage import Usage
from .workload import Workload

MEMBER_BYTES = 60
"""Of a frame with all members, for each: its name and its info."""
NOTED_BYTES = 40
"""Of what is noted that was sent, for each member: its name, and a digest of its info."""
CHECKPOINT_BYTES = 200


def join(w: Workload) -> Usage:
    """What a connect uses more if its connection becomes a member: its row, which goes with the connection's own, and
    the looks that follow. One is soon, and tells; the other is after the grace, and finds nothing new."""
    usage = Usage(w)
    usage.queue(2 * CHUNK_BYTES)  # both looks together, before the row is written
    usage.write(member_row_bytes(w.channel_bytes), calls=0)
    usage.prolong(cpu_ms=0, waits_ms=DATABASE_MS)
    soon = _alone(_joins_per_s(w))
    _wait(usage, soon)
    _look(usage, w, soon)
    everything = w.members * MEMBER_BYTES if w.members <= MAX_LISTED else 0
    usage.send(1, FRAME_BYTES + everything)
    _tell_others(usage, w, soon)
    _after_grace(usage, w)
    return usage


def leave(w: Workload) -> Usage:
    """What a disconnect uses more if its connection is a member: its row says so, and a look after the grace."""
    usage = Usage(w)
    row = member_row_bytes(w.channel_bytes)
    usage.queue(CHUNK_BYTES)
    usage.write(row)
    usage.prolong(cpu_ms=0, waits_ms=2 * DATABASE_MS)
    _tell_others(usage, w, _after_grace(usage, w))
    usage.write(row)  # forgotten
    return usage


def occupancy(w: Workload) -> Usage:
    """An OCCUPIED or a VACATED, by the queue: the backend is called with what is stored of the connection."""
    usage = Usage(w)
    usage.queue(CHUNK_BYTES, CHUNK_BYTES, 1)  # sent, received and deleted
    usage.read(connection_row_bytes(w.metadata_bytes), consistent=True)
    usage.post(EVENT_BYTES + w.metadata_bytes)
    usage.invoke(cpu_ms=TEXT_CPU_MS, waits_ms=DATABASE_MS, backend_ms=w.backend_ms)
    return usage


def sweep(w: Workload) -> Usage:
    """The sweep of a channel is put off once more. The look that it asks for at last is not counted: one in hours."""
    usage = Usage(w)
    usage.queue(TIMER_BYTES, TIMER_BYTES, 1)  # sent, received and deleted
    usage.invoke(cpu_ms=TIMER_CPU_MS, waits_ms=DATABASE_MS)
    return usage


def _joins_per_s(w: Workload) -> float:
    """Into one channel, where as many join as leave."""
    return w.members / (w.connection_min * 60) if w.connection_min else 0


def _alone(changes: float) -> float:
    """Return how many looks there are for each change, where those of a second share one and they come at random."""
    return -math.expm1(-changes) / changes if changes else 1


def _wait(usage: Usage, looks: float) -> None:
    """A queue cannot put a message off by itself: a function receives it, and once more when it is due."""
    usage.queue(CHUNK_BYTES, 1, CHUNK_BYTES, 1, times=looks)  # received, put off, received, deleted
    usage.invoke(cpu_ms=CONTROL_CPU_MS, waits_ms=DATABASE_MS, times=looks)


def _look(usage: Usage, w: Workload, looks: float) -> None:
    """All members are read in one go."""
    usage.read(*[member_row_bytes(w.channel_bytes)] * w.members, consistent=True, calls=looks)
    usage.invoke(cpu_ms=CONTROL_CPU_MS, waits_ms=DATABASE_MS, times=looks)


def _after_grace(usage: Usage, w: Workload) -> float:
    """The look waits aside, and goes from there to the others of its channel. Return how many there are."""
    looks = _alone(2 * _joins_per_s(w))
    _wait(usage, looks)
    usage.queue(CHUNK_BYTES, CHUNK_BYTES, 1, times=looks)  # sent, received, deleted
    usage.invoke(cpu_ms=CONTROL_CPU_MS, waits_ms=DATABASE_MS, times=looks)
    _look(usage, w, looks)
    return looks


def _tell_others(usage: Usage, w: Workload, looks: float) -> None:
    """A frame to each of the others, and what is noted before and after. A large channel is sent its number alone."""
    noted = w.members * NOTED_BYTES if w.members <= MAX_LISTED else 0
    if w.members > MAX_LISTED:
        looks = _alone(2 * _joins_per_s(w) * COUNT_EVERY_S)
    others = max(0, w.members - 1)
    usage.write(CHECKPOINT_BYTES, CHECKPOINT_BYTES + noted, calls=2, times=looks)
    usage.send(others * looks, FRAME_BYTES)
    cpu_ms, waits_ms = others * DELIVERY_CPU_MS, 2 * DATABASE_MS + MANAGEMENT_MS
    usage.prolong(cpu_ms=cpu_ms, waits_ms=waits_ms, times=looks)
