"""Gives each line of a function's log the event that it is about."""

from __future__ import annotations

import logging

from ..gateway.observer import current_event


class LogFields(logging.Filter):
    """Adds `eventType` and `connectionId`, which Lambda's JSON format then shows; `requestId` is Lambda's own."""

    def filter(self, record: logging.LogRecord) -> bool:
        event = current_event.get()
        record.eventType = event.type.value if event is not None else None
        record.connectionId = event.connection_id if event is not None else None
        return True


def install_log_fields() -> None:
    """To be called once the root logger has its handlers, which Lambda's runtime adds."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(LogFields())
