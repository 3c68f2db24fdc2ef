"""One deployment's gateway, put together."""

from __future__ import annotations

import msgspec

from .backend import Backend
from .control import Control
from .deferred import CloseNotice, Continuation, FanOut, FanOutChunk
from .delivery import Deliverer
from .delivery_rate import UNLIMITED
from .dialects import BackendProtocol, PublishProtocol
from .fan_out import INLINE_LIMIT, Broadcaster
from .idempotency import Once
from .observer import NO_OBSERVER, Observer
from .perform import Performer
from .ports import (
    ChannelMarks,
    Claims,
    Clock,
    Connections,
    DeliveryRate,
    HttpClient,
    Queue,
    Secrets,
    Sender,
    Subscriptions,
)
from .sockets import Sockets
from .worker import DeferredWorker, Worker


class Ports(msgspec.Struct, frozen=True):
    """All that a gateway needs of the world. An engine with a sender without a quota leaves out the `rate`."""

    connections: Connections
    subscriptions: Subscriptions
    claims: Claims
    marks: ChannelMarks
    sender: Sender
    queue: Queue
    http: HttpClient
    clock: Clock
    rate: DeliveryRate = UNLIMITED


class Gateway(msgspec.Struct, frozen=True):
    """What a transport calls: `sockets` for what happens on connections, `control` for publishers, `worker` for the
    queue."""

    sockets: Sockets
    control: Control
    worker: Worker


def build_gateway(
    ports: Ports,
    *,
    target_url: str,
    secrets: Secrets,
    backend_protocol: BackendProtocol,
    publish_protocol: PublishProtocol,
    inline_limit: int = INLINE_LIMIT,
    observer: Observer = NO_OBSERVER,
) -> Gateway:
    """Put a gateway together over its ports. Channels with more subscribers than `inline_limit` are sent to by the
    queue."""
    clock = ports.clock
    deliverer = Deliverer(ports.subscriptions, ports.sender, clock)
    broadcaster = Broadcaster(
        ports.subscriptions, ports.marks, deliverer, ports.queue, clock, inline_limit, observer, ports.rate
    )
    once = Once(ports.claims, clock)
    performer = Performer(
        ports.connections, ports.subscriptions, ports.sender, deliverer, broadcaster, once, clock, observer
    )
    backend = Backend(target_url, backend_protocol, secrets, ports.http, clock, observer)
    sockets = Sockets(backend, ports.connections, ports.queue, performer, clock, observer)
    worker = DeferredWorker(
        {
            Continuation: sockets.on_continuation,
            CloseNotice: sockets.on_close_notice,
            FanOut: broadcaster.split,
            FanOutChunk: broadcaster.deliver_chunk,
        }
    )
    return Gateway(sockets, Control(publish_protocol, secrets, performer, observer), worker)
