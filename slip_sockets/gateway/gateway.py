"""One deployment's gateway, put together."""

from __future__ import annotations

from typing import Any

import msgspec

from .backend import Backend
from .content_filters import FilteredDeliverer
from .control import Control
from .deferred import (
    CatchUp,
    CloseNotice,
    Continuation,
    Disconnected,
    FanOut,
    FanOutChunk,
    Held,
    LateLook,
    Texts,
    Timer,
    TimerDue,
)
from .deferred_presence import Look, OccupancyNotice, Sweep
from .delivery import Deliverer
from .delivery_rate import UNLIMITED
from .dialects import BackendProtocol, PublishProtocol
from .fan_out import INLINE_LIMIT, Broadcaster
from .framed import FrameAnswers
from .idempotency import Once
from .listeners import Listeners
from .observer import NO_OBSERVER, Observer
from .occupancy import Occupancy
from .pattern_use import PatternUse
from .perform import Performer
from .ports import (
    ChannelMarks,
    Claims,
    Clock,
    Connections,
    DeliveryRate,
    History,
    HttpClient,
    Presence,
    Queue,
    Secrets,
    Sender,
    Subscriptions,
)
from .presence import Looker
from .recovery import Recoverer
from .replies import Replies
from .sockets import Sockets
from .sweeps import Sweeps
from .worker import DEFAULT_INBOUND_RETRY_S, DeferredWorker, Handler, InboundWorker, Worker


class Ports(msgspec.Struct, frozen=True):
    """All that a gateway needs of the world. An engine with a sender without a quota leaves out the `rate`.

    Where texts come by a queue, `inbound` is that one. An engine with a queue for timers alone has `timers`.
    """

    connections: Connections
    subscriptions: Subscriptions
    claims: Claims
    marks: ChannelMarks
    history: History
    presence: Presence
    sender: Sender
    queue: Queue
    http: HttpClient
    clock: Clock
    rate: DeliveryRate = UNLIMITED
    inbound: Queue | None = None
    timers: Queue | None = None


class Gateway(msgspec.Struct, frozen=True):
    """What a transport calls: `sockets` for what happens on connections, `control` for publishers, `worker` for the
    queue, `inbound` for the queue of what clients send."""

    sockets: Sockets
    control: Control
    worker: Worker
    inbound: Worker


def build_gateway(
    ports: Ports,
    *,
    target_url: str,
    secrets: Secrets,
    backend_protocol: BackendProtocol,
    publish_protocol: PublishProtocol,
    inline_limit: int = INLINE_LIMIT,
    inbound_retry_s: float = DEFAULT_INBOUND_RETRY_S,
    occupancy_events: bool = False,
    observer: Observer = NO_OBSERVER,
) -> Gateway:
    """Put a gateway together over its ports. Channels with more subscribers than `inline_limit` are sent to by the
    queue. Texts that come by a queue are tried again for `inbound_retry_s` seconds. With `occupancy_events` the backend
    hears of channels that have their first member, or none any more."""
    clock = ports.clock
    timers = ports.queue if ports.timers is None else ports.timers
    deliverer = Deliverer(ports.subscriptions, ports.sender, clock)
    filtered = FilteredDeliverer(ports.connections, backend_protocol, deliverer)
    lag_s = ports.subscriptions.index_lag_s
    patterns = PatternUse(ports.marks, clock, lag_s=lag_s, is_allowed=backend_protocol.has_patterns)
    broadcaster = Broadcaster(
        Listeners(ports.subscriptions, patterns, clock),
        ports.marks,
        ports.history,
        deliverer,
        ports.queue,
        clock,
        inline_limit,
        observer,
        ports.rate,
        filtered,
    )
    recoverer = Recoverer(ports.connections, ports.subscriptions, ports.history, deliverer, ports.queue, clock)
    once = Once(ports.claims, clock)
    performer = Performer(
        ports.connections,
        ports.subscriptions,
        ports.marks,
        ports.presence,
        timers,
        ports.sender,
        deliverer,
        broadcaster,
        recoverer,
        once,
        clock,
        observer,
        patterns,
    )
    backend = Backend(target_url, backend_protocol, secrets, ports.http, clock, observer)
    inbound = ports.queue if ports.inbound is None else ports.inbound
    frames = FrameAnswers(ports.subscriptions, recoverer, deliverer)
    replies = Replies(backend, performer, ports.queue, observer)
    sockets = Sockets(ports.connections, ports.queue, inbound, performer, replies, frames, clock)
    occupancy, sweeps = Occupancy(ports.connections, ports.queue, replies), Sweeps(timers, ports.queue, clock)
    looker = Looker(
        ports.presence,
        ports.marks,
        deliverer,
        ports.queue,
        clock,
        inline_limit,
        observer,
        occupancy if occupancy_events else None,
        sweeps if occupancy_events else None,
    )
    handlers: dict[type[Any], Handler] = {
        Continuation: sockets.on_continuation,
        CloseNotice: sockets.on_close_notice,
        Texts: sockets.on_texts,
        Disconnected: sockets.on_disconnected,
        Timer: sockets.on_timer,
        TimerDue: sockets.on_timer_due,
        CatchUp: recoverer.on_catch_up,
        LateLook: recoverer.on_late_look,
        Look: looker.on_look,
        Sweep: sweeps.on_sweep,
        OccupancyNotice: occupancy.on_notice,
        FanOut: broadcaster.split,
        FanOutChunk: broadcaster.deliver_chunk,
        Held: broadcaster.broadcast_held,
    }
    return Gateway(
        sockets,
        Control(publish_protocol, secrets, performer, observer),
        DeferredWorker(handlers),
        InboundWorker(handlers, ports.queue, retry_for_s=inbound_retry_s),
    )
