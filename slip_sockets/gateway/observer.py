"""What happened, as values, for whoever wants to know: metrics, the inspector, the development server's advice."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

import msgspec

from ..protocol.errors import SlipSocketsError
from ..protocol.events import Report
from .errors import BackendFailed


class EventType(enum.StrEnum):
    """What the gateway handles."""

    OPEN = "OPEN"
    TEXT = "TEXT"
    CLOSE = "CLOSE"
    CONTROL = "CONTROL"
    """A call of the control API."""
    DEFERRED = "DEFERRED"
    """A message of the queue."""


class HandledEvent(msgspec.Struct, frozen=True):
    """An event that the gateway is handling, and the connection that it is about, if it is about one."""

    type: EventType
    connection_id: str | None = None


current_event: ContextVar[HandledEvent | None] = ContextVar("current_event", default=None)
"""The event that is being handled in this context: log lines are about it."""


@contextmanager
def handling(event: HandledEvent) -> Iterator[None]:
    """Make `event` the current one."""
    token = current_event.set(event)
    try:
        yield
    finally:
        current_event.reset(token)


class Observer(Protocol):
    """Hears of what happens while the current event is handled."""

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        """The backend was called, or should have been."""

    def failed(self, error: SlipSocketsError) -> None:
        """Something of the current event was lost, refused or put off. The log has a warning about it."""

    def published(self, report: Report) -> None:
        """A publish found its subscribers. `report.sent` and `report.gone` were reported as `delivered` before."""

    def delivered(self, *, sent: int, gone: int) -> None:
        """A publish was sent to that many subscribers, and that many had left: now, or out of the queue."""


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        for observer in self._observers:
            observer.backend_called(seconds=seconds, error=error)

    def failed(self, error: SlipSocketsError) -> None:
        for observer in self._observers:
            observer.failed(error)

    def published(self, report: Report) -> None:
        for observer in self._observers:
            observer.published(report)

    def delivered(self, *, sent: int, gone: int) -> None:
        for observer in self._observers:
            observer.delivered(sent=sent, gone=gone)


NO_OBSERVER = Observers()
