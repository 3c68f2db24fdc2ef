"""Decides how a broadcast reaches its subscribers: at once, by the queue together, or by the queue one by one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from .delivery import Delivery
from .values import ChannelState, Link

MAX_SLOW = 20
"""Up to this number of connections that fail are slow, each for itself; more have a common cause, and wait together."""


class SendNow(msgspec.Struct, frozen=True):
    """Send to `connection_ids` at once, and queue for each of `slow` on its own."""

    connection_ids: Sequence[str]
    slow: Sequence[str]


class QueueAll(msgspec.Struct, frozen=True):
    """Hand the whole broadcast over to the queue."""


def plan_publish(
    state: ChannelState, connection_ids: Sequence[str], inline_limit: int, *, are_all: bool
) -> SendNow | QueueAll:
    """Decide for the subscribers of a channel or, unless they `are_all`, for some of them.

    A broadcast must not overtake earlier ones: where these may be in the queue, it goes there too.
    """
    if state.is_queued or len(connection_ids) > inline_limit or not are_all:
        return QueueAll()
    return plan_shard(state, connection_ids)


def plan_shard(state: ChannelState, connection_ids: Sequence[str]) -> SendNow:
    """Decide for connections that are sent to at once but for the slow ones, such as those of a chunk."""
    return SendNow(
        [id_ for id_ in connection_ids if id_ not in state.slow], [id_ for id_ in connection_ids if id_ in state.slow]
    )


def must_wait(link: Link | None, last_id: str | None) -> bool:
    """Whether a broadcast comes before its forerunner. The first one of a channel has none."""
    if link is None or link.previous_id is None or last_id is None:
        return False
    return last_id not in (link.previous_id, link.id)


class NotReached(msgspec.Struct, frozen=True):
    """Connections that a broadcast has not reached yet: `together` wait as one, `singly` each on its own.

    `reason` is why; `is_for_time` says that nothing failed, and only time was lacking.
    """

    together: Sequence[str]
    singly: Sequence[str]
    reason: str
    is_for_time: bool


def plan_not_reached(delivery: Delivery) -> NotReached:
    """Split by cause: lack of time and a common fault concern all, the fault of one connection concerns it alone."""
    reason = next(iter(delivery.failed.values()), "no time was left")
    is_for_time = not delivery.failed
    if len(delivery.failed) > MAX_SLOW:
        return NotReached([*delivery.unsent, *delivery.failed], [], reason, is_for_time)
    return NotReached(delivery.unsent, list(delivery.failed), reason, is_for_time)
