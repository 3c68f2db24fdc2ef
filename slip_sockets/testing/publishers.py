"""Publishers that record events instead of sending them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from ..client.control_client import ControlApiClient
from ..client.publisher import SlipSocketsPublisher
from ..gateway.members import members_report
from ..protocol.events import (
    AnyReport,
    CloseChannel,
    ControlEvent,
    History,
    Members,
    PublishText,
    Report,
    check_all,
)
from .kept_messages import KeptMessages
from .sockets import Socket

NO_SUBSCRIBERS = Report(matched=0, sent=0, gone=0, queued=0)
SETTINGS: dict[str, Any] = {"control_api": "http://control.invalid/", "jwt_secret": "a-secret-for-tests-alone"}


class RecordingPublisher(SlipSocketsPublisher):
    """A SlipSocketsPublisher that sends nothing. `sent` has the events that it would have sent, in order.

    A batch that the control API would refuse raises InvalidEvents here too. Publishes return `report`, which you may
    set. What is published with `keep` has a position, `test:1` for a channel's first, and `history` returns it.

    `sockets` are those who are connected, if you put any in: what is sent reaches them, reports count them, and
    `members` returns those of them that are in a channel.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(SETTINGS | settings))
        self.sent: list[ControlEvent] = []
        self.report = NO_SUBSCRIBERS
        self.sockets: list[Socket] = []
        self._kept_messages = KeptMessages()

    def send(self, events: Sequence[ControlEvent]) -> list[AnyReport | None]:
        return record_events(events, self.sent, self.report, self._kept_messages, self.sockets)


@contextmanager
def record(
    publisher: ControlApiClient, *, report: Report = NO_SUBSCRIBERS, sockets: Sequence[Socket] = ()
) -> Iterator[list[ControlEvent]]:
    """Let `publisher`, of either kind, record events instead of sending them; yield the list of recorded events.

    Within the block it keeps messages, and reaches `sockets`, as a RecordingPublisher does.
    """
    sent: list[ControlEvent] = []
    kept = KeptMessages()

    def send(events: Sequence[ControlEvent]) -> list[AnyReport | None]:
        return record_events(events, sent, report, kept, sockets)

    async def send_async(events: Sequence[ControlEvent]) -> list[AnyReport | None]:
        return record_events(events, sent, report, kept, sockets)

    is_async = inspect.iscoroutinefunction(getattr(publisher, "send", None))
    vars(publisher)["send"] = send_async if is_async else send
    try:
        yield sent
    finally:
        del vars(publisher)["send"]


def record_events(
    events: Sequence[ControlEvent],
    sent: list[ControlEvent],
    report: Report,
    kept: KeptMessages,
    sockets: Sequence[Socket],
) -> list[AnyReport | None]:
    """Check `events`, append them to `sent`, and return what the control API would report. Raises InvalidEvents."""
    check_all(events)
    sent.extend(events)
    return [_reported(event, report, kept, sockets) for event in events]


def _reported(event: ControlEvent, report: Report, kept: KeptMessages, sockets: Sequence[Socket]) -> AnyReport | None:
    reached = sum([socket.take(event) for socket in sockets])
    if sockets:
        report = Report(matched=reached, sent=reached, gone=0, queued=0)
    match event:
        case PublishText():
            position = kept.keep(event)
            return report if position is None else msgspec.structs.replace(report, position=position)
        case CloseChannel():
            return report
        case History():
            return kept.history(event)
        case Members():
            there = [socket.membership(event.channel) for socket in sockets]
            return members_report([each for each in there if each is not None])
        case _:
            return None
