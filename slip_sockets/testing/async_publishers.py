"""The async publisher that remembers what it was told and sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..async_publisher import AsyncSlipSocketsPublisher
from ..events import ControlEvent, Report
from .publishers import NOBODY, SETTINGS, note


class AsyncRecordingPublisher(AsyncSlipSocketsPublisher):
    """RecordingPublisher for async applications."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**(SETTINGS | settings))
        self.sent: list[ControlEvent] = []
        self.report = NOBODY

    async def send(self, events: Sequence[ControlEvent]) -> list[Report | None]:
        return note(events, self.sent, self.report)
