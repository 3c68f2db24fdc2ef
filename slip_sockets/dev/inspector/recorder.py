"""What happened: a record for each event, with what the backend was told, what it answered, and what was done."""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from .advice import Advice, advise

log = logging.getLogger("slip_sockets.dev")

MAX_RECORDS = 500
MAX_KEPT_BYTES = 64 * 1024
"""Of each body; the page says how much more there was."""
MAX_STEPS = 200
"""Of each record: an answer may hold 10,000 events."""

Kind = Literal["OPEN", "TEXT", "CLOSE", "CONTROL", "DEFERRED"]


@dataclass(frozen=True, slots=True)
class Body:
    """The beginning of a body, and how many bytes it has in all."""

    kept: bytes
    size: int

    @classmethod
    def of(cls, data: bytes) -> Body:
        return cls(data[:MAX_KEPT_BYTES], len(data))


@dataclass(frozen=True, slots=True)
class Exchange:
    """A POST to the backend: `status` and `answer` are None where there was no whole answer, and `error` says why."""

    url: str
    headers: Mapping[str, str]
    body: Body
    status: int | None
    answer: Body | None
    error: str | None
    at_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done. `data` is the text that was sent, `error` why it failed."""

    text: str
    data: Body | None
    error: str | None
    at_s: float
    duration_s: float


@dataclass(slots=True, eq=False)
class Record:
    """An event, from when it came to when everything was done. Times within it are seconds from `at` (Unix seconds).

    `came` is its body. `status` and `answer` are what API Gateway is told; None while it is under way.
    """

    recorder: Recorder
    number: int
    kind: Kind
    connection_id: str | None
    subject: str
    came: Body
    at: float
    exchanges: list[Exchange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    status: int | None = None
    answer: Body | None = None
    duration_s: float | None = None
    advice: Advice | None = None
    _began: float = field(default_factory=time.perf_counter)

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began


_current: ContextVar[Record | None] = ContextVar("current", default=None)


class Stream:
    """What one viewer has not seen yet: numbers of records, and connections."""

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
    """Keeps the last MAX_RECORDS records. As a log handler it adds the lines of the gateway to what they are about."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.failing: Record | None = None
        """The last record in which the backend failed, until it succeeds again."""
        self._numbers = itertools.count(1)
        self._streams: set[Stream] = set()

    @contextmanager
    def recording(self, kind: Kind, connection_id: str | None, subject: str, came: bytes) -> Iterator[Record]:
        record = Record(self, next(self._numbers), kind, connection_id, subject, Body.of(came), time.time())
        self.records.append(record)
        self._tell(record)
        token = _current.set(record)
        try:
            yield record
        finally:
            _current.reset(token)
            record.duration_s = record.elapsed_s()
            record.advice = advise(record.kind, record.exchanges[-1], record.lines) if record.exchanges else None
            if record.advice is not None:
                if self.failing is None or self.failing.advice != record.advice:
                    log.warning("%s. %s", record.advice.what, record.advice.todo)
                self.failing = record
            elif record.exchanges:
                self.failing = None
            self._tell(record)

    def exchanged(self, exchange: Exchange) -> None:
        if (record := self._mine()) is not None:
            record.exchanges.append(exchange)

    def done(self, step: Step, connection_ids: Iterable[str]) -> None:
        for stream in self._streams:
            stream.connections.update(connection_ids)
        if (record := self._mine()) is not None and len(record.steps) < MAX_STEPS:
            record.steps.append(step)

    def elapsed_s(self) -> float:
        """Return how long the current record has been going on; 0 where there is none."""
        record = self._mine()
        return record.elapsed_s() if record is not None else 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        if (current := self._mine()) is not None:
            current.lines.append((record.levelname, record.getMessage()))

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

    def _mine(self) -> Record | None:
        """Two servers may share a process, and so the log."""
        record = _current.get()
        return record if record is not None and record.recorder is self else None

    def _tell(self, record: Record) -> None:
        for stream in self._streams:
            if len(stream.records) < MAX_RECORDS or record.number in stream.records:
                stream.records[record.number] = record
            stream.wake()
