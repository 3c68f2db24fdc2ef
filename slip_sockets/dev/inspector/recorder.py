"""Records events: an observer of the gateway, a handler of its log, and the source of the viewers' streams."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ...gateway.errors import BackendFailed, NotAccepted
from ...gateway.observer import EventType
from ...protocol.errors import SlipSocketsError
from ...protocol.events import Report
from ..advice import advise
from .records import MAX_STEPS, Body, Exchange, Record, Step

MAX_RECORDS = 500

_current: ContextVar[tuple[Recorder, Record] | None] = ContextVar("current", default=None)
"""Two servers may share a process, and so its log: a record is for its own recorder."""


class Stream:
    """What one viewer has not seen yet: records by number, and connections."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.connections: set[str] = set()
        self.wake: Callable[[], None] = lambda: None
        self.is_ended = False

    def take(self) -> tuple[list[Record], set[str]]:
        records, connections = list(self.records.values()), self.connections
        self.records, self.connections = {}, set()
        return records, connections


class Recorder(logging.Handler):
    """Keeps the last MAX_RECORDS records.

    As an Observer it learns what went wrong with the backend; as a log handler it adds each line of the log to the
    record that it is about.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.failing: Record | None = None
        """The last record in which the backend failed, until it succeeds again."""
        self._numbers = itertools.count(1)
        self._streams: set[Stream] = set()

    @contextmanager
    def recording(self, kind: EventType, connection_id: str | None, subject: str, request: bytes) -> Iterator[Record]:
        record = Record(next(self._numbers), kind, connection_id, subject, Body.of(request), time.time())
        self.records.append(record)
        self._notify(record)
        token = _current.set((self, record))
        try:
            yield record
        finally:
            _current.reset(token)
            self._finish(record)

    def _finish(self, record: Record) -> None:
        record.duration_s = record.elapsed_s()
        record.advice = advise(record.backend_error, record.not_accepted, is_broken_off=record.is_broken_off)
        if record.advice is not None:
            self.failing = record
        elif record.exchanges:
            self.failing = None
        self._notify(record)

    # Observer

    def backend_called(self, *, seconds: float, error: BackendFailed | None) -> None:
        if (record := self._current_record()) is not None:
            record.backend_error = error

    def failed(self, error: SlipSocketsError) -> None:
        if (record := self._current_record()) is not None and isinstance(error, NotAccepted):
            record.not_accepted = error

    def published(self, report: Report) -> None:
        pass

    def delivered(self, *, sent: int, gone: int) -> None:
        pass

    # The ports

    def add_exchange(self, exchange: Exchange) -> None:
        if (record := self._current_record()) is not None:
            record.exchanges.append(exchange)

    def add_step(self, step: Step, connection_ids: Iterable[str]) -> None:
        """Add a step to the current record, if there is one. `connection_ids` are those that it may have changed."""
        for stream in self._streams:
            stream.connections.update(connection_ids)
        if (record := self._current_record()) is not None and len(record.steps) < MAX_STEPS:
            record.steps.append(step)

    def elapsed_s(self) -> float:
        """Return how long the current record has been going on; 0 where there is none."""
        record = self._current_record()
        return record.elapsed_s() if record is not None else 0.0

    # The log

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        current = self._current_record() or self._last_of(getattr(record, "connection_id", None))
        if current is not None:
            current.lines.append((record.levelname, record.getMessage()))
            self._notify(current)

    # Viewers

    def open_stream(self) -> Stream:
        stream = Stream()
        self._streams.add(stream)
        return stream

    def close_stream(self, stream: Stream) -> None:
        self._streams.discard(stream)

    def end_streams(self) -> None:
        for stream in self._streams:
            stream.is_ended = True
            stream.wake()

    def clear(self) -> None:
        self.records.clear()

    def _current_record(self) -> Record | None:
        recorder, record = _current.get() or (None, None)
        return record if recorder is self else None

    def _last_of(self, connection_id: str | None) -> Record | None:
        """Return the last record of a connection: a line that names one outside of an event is added to that."""
        if connection_id is None:
            return None
        return next((record for record in reversed(self.records) if record.connection_id == connection_id), None)

    def _notify(self, record: Record) -> None:
        for stream in self._streams:
            if len(stream.records) < MAX_RECORDS or record.number in stream.records:
                stream.records[record.number] = record
            stream.wake()
