"""The async publisher that records events instead of sending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..client.async_publisher import AsyncSlipSocketsPublisher
from ..protocol.events import AnyReport, ControlEvent
from .kept_messages import KeptMessages
from .publishers import NO_SUBSCRIBERS, SETTINGS, record_events
from .sockets import Socket


class AsyncRecordingPublisher(AsyncSlipSocketsPublisher):
    """RecordingPublisher for async applications."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(SETTINGS | settings))
        self.sent: list[ControlEvent] = []
        self.report = NO_SUBSCRIBERS
        self.sockets: list[Socket] = []
        self._kept_messages = KeptMessages()

    async def send(self, events: Sequence[ControlEvent]) -> list[AnyReport | None]:
        return record_events(events, self.sent, self.report, self._kept_messages, self.sockets)
