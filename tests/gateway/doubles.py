"""The world as the gateway's tests see it: small real classes that record, and a clock that a test moves."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from slip_sockets.dev.memory import MemoryConnectionStore
from slip_sockets.gateway.backend import Backend
from slip_sockets.gateway.fan_out import Broadcaster
from slip_sockets.gateway.gateway import Gateway
from slip_sockets.gateway.plan import ACCEPT_WINDOW_S
from slip_sockets.gateway.ports import Deferred, HttpAnswer, HttpError, Outcome, Page, Unavailable
from slip_sockets.tokens import mint

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
    untils: list[float] = field(default_factory=list)
    has_time_for: float = math.inf
    """How many of the connections of a call are sent to in time."""
    opens_after_polls: int = 0

    async def post(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        return self._each(connection_ids, lambda whose: self.posted.append((whose, data)), until)

    async def delete(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return self._each(connection_ids, self.deleted.append, until)

    async def is_open(self, connection_id: str) -> bool:
        self.opens_after_polls -= 1
        return self.opens_after_polls < 0

    def _each(self, connection_ids: Sequence[str], do: Callable[[str], None], until: float) -> Outcome:
        self.calls.append(list(connection_ids))
        self.untils.append(until)
        outcome = Outcome()
        for number, whose in enumerate(connection_ids):
            if number >= self.has_time_for:
                outcome.unsent.append(whose)
            elif whose in self.gone:
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
    """Raises Unavailable from the methods that a test names. The index lacks the `unseen`, and shows `ghosts`."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away: set[str] = set()
        self.unseen: set[str] = set()
        self.ghosts: list[str] = []

    async def subscribers(
        self, channel: str, *, after: str | None = None, page_size: int = 1_000
    ) -> AsyncIterator[Page]:
        shown_first = self.ghosts if after is None else []
        async for page in super().subscribers(channel, after=after, page_size=page_size):
            shown = [whose for whose in page.connection_ids if whose not in self.unseen]
            yield Page([*shown_first, *shown], page.cursor)
            shown_first = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name != "away" and name in self.away:
            raise Unavailable(f"the table is away for {name}")
        return super().__getattribute__(name)


INLINE_LIMIT = 4
PAGE_SIZE = 3
"""As a test can count."""


class World:
    """A gateway and everything around it. `broadcaster` does as the gateway's own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FaultyStore(self.clock)
        self.management = RecordingManagement()
        self.queue = RecordingQueue()
        self.kept: list[Deferred] = []
        self.broadcaster = Broadcaster(self.store, self.management, self.queue, self.clock, INLINE_LIMIT, PAGE_SIZE)
        self.client = ScriptedClient()
        self.secrets_are_away = False
        self.gateway = Gateway(
            backend=Backend("https://ada:pw@app.example/slip?key=k", self.secrets, self.client, self.clock),
            store=self.store,
            management=self.management,
            queue=self.queue,
            clock=self.clock,
            secrets=self.secrets,
            inline_limit=INLINE_LIMIT,
        )

    def secrets(self) -> Sequence[str]:
        if self.secrets_are_away:
            raise Unavailable("SSM is away")
        return [SECRET]

    async def defer(self, message: Deferred, *, deadline: float = math.inf) -> None:
        """Handle a message of the queue; `kept` gets what the gateway wants remembered on the way."""

        async def keep(rest: Deferred) -> None:
            self.kept.append(rest)

        await self.gateway.on_deferred(message, keep, deadline=deadline)

    async def connected(self, *connection_ids: str, channels: Sequence[str] = (), metadata: bytes = b"null") -> None:
        """Have these connected for a while already."""
        for connection_id in connection_ids:
            await self.store.open(connection_id, metadata, channels)
        self.clock.time += ACCEPT_WINDOW_S + 1


def control_event(events: Any, *, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    token = mint("ControlEvent", secret)
    return {"headers": {"authorization": f"bearer {token}"}, "body": json.dumps({"events": events})} | more
