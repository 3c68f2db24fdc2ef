"""The world as the gateway's tests see it: small real classes that record, and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from slip_sockets.dev.memory import MemoryConnectionStore
from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.gateway import Gateway
from slip_sockets.gateway.ports import Deferred, HttpAnswer, HttpError, Outcome, Unavailable

SECRET = "a-secret-of-more-than-thirty-two-bytes"
ME = "AAAAAAAAAAAAAAA="
YOU = "BBBBBBBBBBBBBBB="
START = 1_700_000_000.0


class FakeClock:
    """Time that passes only while somebody sleeps, or a test says so."""

    def __init__(self) -> None:
        self.time = START
        self.sleeps: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.time += seconds


@dataclass
class RecordingManagement:
    """Delivers to everybody but those of whom a test says otherwise; `fate` may change with each call."""

    posted: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    failing: dict[str, int] = field(default_factory=dict)
    """How many more times a call for this id fails."""
    opens_after_polls: int = 0

    async def post(self, connection_ids: Sequence[str], data: str) -> Outcome:
        return self._each(connection_ids, lambda whose: self.posted.append((whose, data)))

    async def delete(self, connection_ids: Sequence[str]) -> Outcome:
        return self._each(connection_ids, self.deleted.append)

    async def is_open(self, connection_id: str) -> bool:
        self.opens_after_polls -= 1
        return self.opens_after_polls < 0

    def _each(self, connection_ids: Sequence[str], do: Callable[[str], None]) -> Outcome:
        self.calls.append(list(connection_ids))
        outcome = Outcome()
        for whose in connection_ids:
            if whose in self.gone:
                outcome.gone.append(whose)
            elif whose in self.refused:
                outcome.refused[whose] = "Invalid connectionId"
            elif self.failing.get(whose, 0) > 0:
                self.failing[whose] -= 1
                outcome.failed[whose] = "the client's buffer is full"
            else:
                do(whose)
                outcome.done += 1
        return outcome


@dataclass
class RecordingQueue:
    messages: list[Deferred] = field(default_factory=list)
    is_away: bool = False

    async def put(self, messages: Sequence[Deferred]) -> None:
        if self.is_away:
            raise Unavailable("the queue is away")
        self.messages += messages


@dataclass
class ScriptedClient:
    """An HttpClient that answers with what the test put there: an answer, or an error to raise."""

    answer: HttpAnswer | HttpError = field(default_factory=lambda: HttpAnswer(200, b'{"events":[]}'))
    told: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        self.told.append(msgspec.json.decode(body))
        self.headers.append(dict(headers))
        if isinstance(self.answer, HttpError):
            raise self.answer
        return self.answer

    def will_answer(self, *events: dict[str, Any]) -> None:
        self.answer = HttpAnswer(200, msgspec.json.encode({"events": events}))


class FaultyStore(MemoryConnectionStore):
    """Raises Unavailable from the methods that a test names."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "away" and name in self.away:
            raise Unavailable(f"the table is away for {name}")
        return super().__getattribute__(name)


class World:
    """A gateway and everything around it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock)
        self.management = RecordingManagement()
        self.queue = RecordingQueue()
        self.client = ScriptedClient()
        self.gateway = Gateway(
            backend=Backend("https://ada:pw@app.example/slip?key=k", SECRET, self.client, self.clock),
            store=self.store,
            management=self.management,
            queue=self.queue,
            clock=self.clock,
            secrets=[SECRET],
        )

    async def connected(self, *connection_ids: str, channels: Sequence[str] = (), metadata: bytes = b"null") -> None:
        """Have these connected for a while already."""
        for connection_id in connection_ids:
            await self.store.open(connection_id, metadata, channels)
        self.clock.time += 10
