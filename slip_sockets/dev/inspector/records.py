"""The record of an event: the calls of the backend, the steps that followed, and the lines of the log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...gateway.errors import BackendFailed, NotAccepted
from ...gateway.observer import EventType
from ..advice import Advice

MAX_KEPT_BYTES = 64 * 1024
"""Of each body; the page shows how much more there was."""
MAX_STEPS = 200
"""Of each record: a reply may hold 10,000 events."""


@dataclass(frozen=True, slots=True)
class Body:
    """The beginning of a body, and its whole size in bytes."""

    kept: bytes
    size: int

    @classmethod
    def of(cls, data: bytes) -> Body:
        return cls(data[:MAX_KEPT_BYTES], len(data))


@dataclass(frozen=True, slots=True)
class Exchange:
    """A POST to the backend: `status` and `response` are None where there was no whole response; `error` says why."""

    url: str
    headers: Mapping[str, str]
    body: Body
    status: int | None
    response_headers: Mapping[str, str]
    response: Body | None
    error: str | None
    at_s: float
    duration_s: float

    @property
    def is_grip(self) -> bool:
        """Whether the bodies are WebSocket-over-HTTP."""
        return "Grip-Sig" in self.headers


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
    """An event, from its arrival until everything was done. Times within it are seconds from `at` (Unix seconds).

    `request` is its body. `status` and `response` are for API Gateway, None while the event is being handled.
    `backend_error` and `not_accepted` are what the gateway found wrong with the backend's last response.
    """

    number: int
    kind: EventType
    connection_id: str | None
    subject: str
    request: Body
    at: float
    exchanges: list[Exchange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    status: int | None = None
    response: Body | None = None
    duration_s: float | None = None
    backend_error: BackendFailed | None = None
    not_accepted: NotAccepted | None = None
    advice: Advice | None = None
    _began: float = field(default_factory=time.perf_counter)

    @property
    def is_broken_off(self) -> bool:
        """Whether the event's time ended during the last call of the backend."""
        return bool(self.exchanges) and self.exchanges[-1].error is not None and self.backend_error is None

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began
