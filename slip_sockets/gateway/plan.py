"""Decisions: pure functions over plain values. `execute` performs what they say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ..errors import InvalidEvents
from ..events import (
    Accept,
    Action,
    AnswerEvent,
    CloseChannel,
    CloseConnection,
    PublishText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
    encode_metadata,
)
from .ports import Continuation, FanOutChunk, shard_of

ACCEPT_WINDOW_S = 60.0
"""A connection accepted so recently may not be open yet: the management API's 410 may mean "not yet" then. API Gateway
opens it once the $connect function has answered, which may take that 29 s, and two functions' clocks may differ.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
MAX_RETRY_PAUSE_S = 900.0
RETRY_FOR_S = 6 * 60 * 60.0
"""How long a deferred message is tried before it goes to the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """What letting a client in takes: `metadata` (JSON), `channels` and `others` are written before the upgrade is
    answered with `subprotocol`; `deferred` happens, in order, once the socket is open."""

    subprotocol: str | None
    metadata: bytes
    channels: tuple[str, ...]
    others: tuple[Subscribe | Unsubscribe, ...]
    deferred: tuple[AnswerEvent, ...]


def plan_open(
    connection_id: str, offered: Collection[str], answer: Sequence[AnswerEvent], default_metadata: bytes
) -> OpenPlan:
    """Split the backend's answer to OPEN into what happens now and what waits.

    API Gateway opens the socket only after the $connect integration has answered; nothing can be sent to it before. So
    the leading run of events that touch the table alone happens now, and from the first other event on all wait.
    The last of the connection's own SET_METADATA events is stored now, wherever it stands.

    Raises InvalidEvents where the answer does not let the client in, with the reason.
    """
    subprotocol = _accepted_subprotocol(connection_id, offered, answer)
    metadata = default_metadata
    channels: dict[str, None] = {}
    others: list[Subscribe | Unsubscribe] = []
    deferred: list[AnswerEvent] = []
    for event in answer:
        match event:
            case Accept():
                pass
            case SetMetadata(connection_id=whose) if whose == connection_id:
                metadata = encode_metadata(event.metadata)
            case _ if deferred:
                deferred.append(event)
            case Subscribe(connection_id=whose) if whose == connection_id:
                channels[event.channel] = None
            case Unsubscribe(connection_id=whose) if whose == connection_id:
                channels.pop(event.channel, None)
            case Subscribe() | Unsubscribe():
                others.append(event)
            case _:
                deferred.append(event)
    return OpenPlan(subprotocol, metadata, tuple(channels), tuple(others), tuple(deferred))


def _accepted_subprotocol(connection_id: str, offered: Collection[str], answer: Sequence[AnswerEvent]) -> str | None:
    accepts = [event for event in answer if isinstance(event, Accept)]
    if not accepts:
        raise InvalidEvents("the answer to OPEN has no ACCEPT")
    for accept in accepts:
        if accept.connection_id != connection_id:
            raise InvalidEvents(f"ACCEPT names another connection, {accept.connection_id[:40]!r}")
    for event in answer:
        if isinstance(event, Accept):
            break
        if isinstance(event, SetMetadata) and event.connection_id == connection_id:
            raise InvalidEvents("SET_METADATA stands before ACCEPT in the answer to OPEN")
    chosen = accepts[0].subprotocol
    if chosen is not None and chosen not in offered:
        # Not what was offered: where there is no other header to be had, clients put tokens there.
        raise InvalidEvents("ACCEPT names a subprotocol that the client did not offer", field="subprotocol")
    return chosen


def retry_pause_s(attempt: int) -> float:
    """Return how long a deferred message rests after its `attempt`-th failure (1 for the first): 1 s, doubled each time
    to 15 minutes."""
    return min(2.0 ** min(attempt - 1, 10), MAX_RETRY_PAUSE_S)


def attempts_within(seconds: float) -> int:
    """Return how many attempts those pauses leave room for in `seconds`."""
    attempt, elapsed = 1, 0.0
    while elapsed + retry_pause_s(attempt) <= seconds:
        elapsed += retry_pause_s(attempt)
        attempt += 1
    return attempt


RECENT_S = 10.0
"""How long the index may lag behind the table, by far: a fraction of a second is usual.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html"""


class Recent:
    """What has been written so lately that the index may not show it: a publish reads what its own batch wrote."""

    def __init__(self) -> None:
        self._written: dict[str, dict[str, tuple[bool, float]]] = {}  # by channel, by connection id
        self._closed: dict[str, float] = {}

    def note(self, event: Action, now: float) -> None:
        """Take notice of an event that took effect."""
        match event:
            case Subscribe() | Unsubscribe():
                is_in = isinstance(event, Subscribe)
                self._written.setdefault(event.channel, {})[event.connection_id] = (is_in, now)
            case CloseConnection():
                self._closed[event.connection_id] = now
            case _:
                pass

    def joined(self, channel: str, now: float) -> list[str]:
        """Return who is a subscriber whether the index shows it or not."""
        return [whose for whose, is_in in self._lately(channel, now).items() if is_in]

    def left(self, channel: str, now: float) -> list[str]:
        """Return who is none."""
        return [whose for whose, is_in in self._lately(channel, now).items() if not is_in]

    def applied_to(self, channel: str, found: Sequence[str], now: float) -> list[str]:
        """Return the subscribers, given those that the index shows."""
        lately = self._lately(channel, now)
        return [whose for whose in dict.fromkeys([*found, *lately]) if lately.get(whose, True)]

    def _lately(self, channel: str, now: float) -> dict[str, bool]:
        written = self._written.get(channel, {})
        lately = {whose: is_in for whose, (is_in, at) in written.items() if at > now - RECENT_S}
        return lately | {whose: False for whose, at in self._closed.items() if at > now - RECENT_S}


def continuation_of(connection_id: str, plan: OpenPlan, now: float) -> Continuation:
    """Return what waits until the socket is open, with what a publish there must know of the writes before it."""
    published = {event.channel for event in plan.deferred if isinstance(event, PublishText | CloseChannel)}
    written = [*(Subscribe(connection_id, channel) for channel in plan.channels), *plan.others]
    recent = [event for event in written if event.channel in published]
    return Continuation(connection_id, list(plan.deferred), recent, now + RECENT_S if recent else 0)


def plan_chunks(event: PublishText | CloseChannel, publish_id: str, connection_ids: Iterable[str]) -> list[FanOutChunk]:
    """Split some of the subscribers by shard."""
    by_shard: dict[int, list[str]] = {}
    for whose in connection_ids:
        by_shard.setdefault(shard_of(whose), []).append(whose)
    return [FanOutChunk(event, publish_id, by_shard[shard], shard) for shard in sorted(by_shard)]
