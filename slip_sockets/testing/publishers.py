"""Publishers that remember what they were told and send nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..control_call import PublisherSettings
from ..events import CloseChannel, ControlEvent, PublishText, Report, check_all
from ..publisher import SlipSocketsPublisher

NOBODY = Report(matched=0, sent=0, gone=0, queued=0)
SETTINGS: dict[str, Any] = {"control_api": "http://control.invalid/", "jwt_secret": "a-secret-for-tests-alone"}


class RecordingPublisher(SlipSocketsPublisher):
    """A SlipSocketsPublisher that sends nothing. `sent` is what the control API would have been told, in order.

    A batch that it would refuse raises InvalidEvents here too. Set `report` to what publishes shall be answered with.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(SETTINGS | settings))
        self.sent: list[ControlEvent] = []
        self.report = NOBODY

    def send(self, events: Sequence[ControlEvent]) -> list[Report | None]:
        return note(events, self.sent, self.report)


@contextmanager
def record(publisher: PublisherSettings, *, report: Report = NOBODY) -> Iterator[list[ControlEvent]]:
    """Let `publisher`, of either kind, record instead of send; yield the list of what it was told."""
    sent: list[ControlEvent] = []

    def send(events: Sequence[ControlEvent]) -> list[Report | None]:
        return note(events, sent, report)

    async def send_async(events: Sequence[ControlEvent]) -> list[Report | None]:
        return note(events, sent, report)

    is_async = inspect.iscoroutinefunction(getattr(publisher, "send", None))
    vars(publisher)["send"] = send_async if is_async else send
    try:
        yield sent
    finally:
        del vars(publisher)["send"]


def note(events: Sequence[ControlEvent], sent: list[ControlEvent], report: Report) -> list[Report | None]:
    """Hold `events` against the protocol, keep them in `sent`, and answer as the control API would."""
    check_all(events)
    sent.extend(events)
    return [report if isinstance(event, PublishText | CloseChannel) else None for event in events]
