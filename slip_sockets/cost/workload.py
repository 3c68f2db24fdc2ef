"""The traffic to compute the cost of."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ..aws.timers import MAX_DELAY_S
from ..gateway.fan_out import INLINE_LIMIT
from ..gateway.worker import Inbound
from ..grip.timers import MAX_TIMER_S
from ..protocol.errors import InvalidSettings
from ..protocol.events import MAX_KEPT, MAX_METADATA_BYTES, MAX_TEXT_BYTES
from ..protocol.patterns import MAX_PATTERN_SEGMENTS

MINUTES_A_MONTH = 30 * 24 * 60
SECONDS_A_MONTH = MINUTES_A_MONTH * 60
MAX_CONNECTION_MIN = 120
"""API Gateway closes a socket at this age.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""

_MOST = 1_000_000_000
"""Of anything that is counted: more than AWS's quotas give, and few enough to compute with."""
MAX_SUBSCRIBERS = 10_000_000
MAX_MEMBERS = 100_000
MAX_CHANNELS = 100_000
"""Each is counted one by one, so that more would take minutes."""

MAX_TEXTS_A_POST = 10
"""A FIFO queue's largest batch. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""

Architecture = Literal["arm64", "x86_64"]


class Workload(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A month of 30 days of a deployment.

    `connections` are open at any time, on average, each for `connection_min` minutes. Each sends `sent_per_min`
    texts a minute; `replied` is the share of these (0 to 1) that get a text back. It also sends `pings_per_min`.
    Each of `publishes_per_s` goes to `subscribers`, through the control API or, with `in_replies`, in the backend's
    replies; `pattern_segments` is how many patterns may match its channel, 0 for a deployment without patterns. A
    text has `text_bytes`; the backend responds after `backend_ms`. With `inbound` ordered, `texts_a_post` of a
    client come to it in one POST. `kept` is the share of the publishes (0 to 1) that are kept, and `recovered` that
    of the connects that recover a channel, each after it has missed `missed` messages. `users` is the share of the
    connections that the backend names a user of. `joined` is the share of the connects that join a channel as a member,
    one that has `members` on average; with `occupancy_events` the backend hears when such a channel has its first
    member and when it has none any more. In GRIP, each socket may have a timer that ticks each `timer_s` seconds and
    sends a text; 0 is for none.

    `metadata_bytes` is the size of a connection's metadata: the browser's headers unless the backend sets its own.
    """

    connections: float = 1_000
    connection_min: float = 30
    sent_per_min: float = 1
    replied: float = 0
    pings_per_min: float = 0
    kept: float = 0
    recovered: float = 0
    missed: int = 0
    users: float = 0
    joined: float = 0
    members: int = 10
    occupancy_events: bool = False
    publishes_per_s: float = 1
    pattern_segments: int = 0
    subscribers: int = 20
    in_replies: bool = False
    text_bytes: int = 200
    backend_ms: float = 50
    channels: int = 1
    channel_bytes: int = 16
    metadata_bytes: int = 1_000
    memory_mb: int = 512
    architecture: Architecture = "arm64"
    inbound: Inbound = Inbound.DIRECT
    texts_a_post: float = 1
    timer_s: float = 0
    inline_limit: int = INLINE_LIMIT
    provisioned: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidSettings."""
        ranges = {
            "connections": (0, _MOST),
            "connection_min": (0, MAX_CONNECTION_MIN),
            "sent_per_min": (0, _MOST),
            "replied": (0, 1),
            "pings_per_min": (0, _MOST),
            "kept": (0, 1),
            "recovered": (0, 1),
            "missed": (0, MAX_KEPT),
            "users": (0, 1),
            "joined": (0, 1),
            "members": (1, MAX_MEMBERS),
            "publishes_per_s": (0, _MOST),
            "pattern_segments": (0, MAX_PATTERN_SEGMENTS - 1),
            "subscribers": (0, MAX_SUBSCRIBERS),
            "text_bytes": (0, MAX_TEXT_BYTES),
            "backend_ms": (0, 25_000),
            "channels": (0, MAX_CHANNELS),
            "channel_bytes": (1, 1_024),
            "metadata_bytes": (0, MAX_METADATA_BYTES),
            "memory_mb": (128, 10_240),
            "texts_a_post": (1, MAX_TEXTS_A_POST),
            "timer_s": (0, MAX_TIMER_S),
            "inline_limit": (0, _MOST),
            "provisioned": (0, _MOST),
        }
        problems = []
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if not least <= value <= most:
                shown = f"{value:g}" if abs(value) < 1e15 or isinstance(value, float) else "too large"
                problems.append(f"{_in_words(name)} is {shown}. It must be {least:,} to {most:,}")
        if self.connections and not self.connection_min:
            problems.append("connection minutes is 0. With connections it must be more")
        if problems:
            raise InvalidSettings(problems)

    @property
    def connects(self) -> float:
        """Connects in a month; there are as many disconnects."""
        return self.connections * MINUTES_A_MONTH / self.connection_min if self.connections else 0

    @property
    def texts(self) -> float:
        """Texts from clients in a month."""
        return self.connections * MINUTES_A_MONTH * self.sent_per_min

    @property
    def pings(self) -> float:
        """Pings from clients in a month; there are as many pongs."""
        return self.connections * MINUTES_A_MONTH * self.pings_per_min

    @property
    def ticks(self) -> float:
        """Ticks of timers in a month."""
        return self.connections * SECONDS_A_MONTH / self.timer_s if self.timer_s else 0

    @property
    def publishes(self) -> float:
        return self.publishes_per_s * SECONDS_A_MONTH

    @property
    def kept_publishes(self) -> float:
        return self.publishes * self.kept

    @property
    def recoveries(self) -> float:
        """Connects in a month that recover a channel."""
        return self.connects * self.recovered

    @property
    def joins(self) -> float:
        """Connects in a month that join a channel as a member; as many leave."""
        return self.connects * self.joined

    @property
    def occupancies(self) -> float:
        """OCCUPIED and VACATED in a month: members come at random, so that each finds nobody with this probability."""
        return 2 * self.joins * math.exp(-self.members) if self.occupancy_events else 0

    @property
    def sweeps(self) -> float:
        """In a month, how often a channel with members is looked for in the queue of timers, which delays no longer."""
        if not self.occupancy_events:
            return 0
        return self.connections * self.joined / self.members * SECONDS_A_MONTH / MAX_DELAY_S

    @property
    def deliveries(self) -> float:
        return self.publishes * self.subscribers


def _in_words(name: str) -> str:
    return (
        name.replace("per_min", "a minute")
        .replace("a_post", "a POST")
        .replace("connection_min", "connection minutes")
        .replace("timer_s", "timer seconds")
        .replace("_", " ")
    )
