"""What the gateway needs of the world, as Protocols. `aws` and `dev` supply them; the gateway knows neither.

All are async. On AWS a function handles one event at a time, so its ports may block there: nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from ..errors import SlipSocketsError
from ..events import AnswerEvent

ROW_TTL_S = 130 * 60
"""How long a row of the store lives: API Gateway ends a connection after 120 minutes.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
CLAIM_TTL_S = 5 * 60
"""How long a published message's id is remembered."""


class Unavailable(SlipSocketsError):
    """A port could not do its work now, after its own retries: the store, the queue or the management API is away."""


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """A connection as the table knows it: `metadata` is JSON, `accepted_at` Unix seconds."""

    metadata: bytes
    accepted_at: float


class ConnectionStore(Protocol):
    """Who is connected, and who listens to what. Rows expire 130 minutes after they were written; expired is absent.

    Every method may raise Unavailable.
    """

    async def open(self, connection_id: str, metadata: bytes, channels: Sequence[str]) -> None:
        """Write the rows of a connection that is being accepted: its own, and its subscriptions."""

    async def get(self, connection_id: str) -> StoredConnection | None:
        """Read consistently: what was written before is seen."""

    async def set_metadata(self, connection_id: str, metadata: bytes) -> bool:
        """Return False where there is no such connection."""

    async def subscribe(self, connection_id: str, channel: str) -> bool:
        """Return False where there is no such connection; then nothing was written. Idempotent."""

    async def unsubscribe(self, connection_id: str, channel: str) -> None:
        """Idempotent."""

    def subscribers(self, channel: str) -> AsyncIterator[Sequence[str]]:
        """Yield the connection ids by pages, lazily. Order is not promised; a page may be empty."""

    async def unsubscribe_all(self, connection_id: str) -> None:
        """Delete the subscriptions and leave the connection's own row. Idempotent."""

    async def remove(self, connection_id: str) -> StoredConnection | None:
        """Delete all rows of a connection and return what it was. Idempotent."""

    async def claim(self, channel: str, message_id: str) -> bool:
        """Return True to the first that asks within five minutes, False to all others."""

    async def release(self, channel: str, message_id: str) -> None:
        """Take a claim back: the message was not sent."""


@dataclass(slots=True)
class Outcome:
    """What became of a call for several connections; each id asked for is in exactly one of these.

    `gone` are not open (any more, or yet), `refused` the management API will never take, `failed` may succeed later.
    """

    done: int = 0
    gone: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Management(Protocol):
    """API Gateway's management API, `@connections`. What goes wrong with a connection is in the Outcome."""

    async def post(self, connection_ids: Sequence[str], data: str) -> Outcome:
        """Send a text frame to each."""

    async def delete(self, connection_ids: Sequence[str]) -> Outcome:
        """Close each; the client sees code 1000."""

    async def is_open(self, connection_id: str) -> bool:
        """Raises Unavailable."""


class Continuation(msgspec.Struct, frozen=True, tag="continuation"):
    """Events that had to wait: for the socket to open, or for a client that takes no more at the moment."""

    connection_id: str
    events: list[AnswerEvent]


class CloseNotice(msgspec.Struct, frozen=True, tag="close_notice"):
    """A CLOSE that the backend could not be told. `metadata` is JSON, None while the rows are still to be read."""

    connection_id: str
    code: int | None
    reason: str | None
    metadata: bytes | None


Deferred = Continuation | CloseNotice
"""A message of the queue. Those of one connection are handled one after another, in order."""


class NotDone(SlipSocketsError):
    """A deferred message could not be done now. `rest` is what is left of it to do."""

    def __init__(self, rest: Deferred, reason: SlipSocketsError) -> None:
        super().__init__(str(reason))
        self.rest = rest


class Queue(Protocol):
    async def put(self, messages: Sequence[Deferred]) -> None:
        """Hand over messages for later, all of them for good when this returns. Raises Unavailable."""


class HttpError(SlipSocketsError):
    """A POST brought no whole answer: no connection, or it broke off."""


class HttpTimeout(HttpError):
    """A POST brought no whole answer in time."""


class HttpAnswerTooLarge(HttpError):
    """The answer is larger than its limit; it was not read further."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


class HttpClient(Protocol):
    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, max_bytes: int) -> HttpAnswer:
        """POST and follow no redirect. A body is read to `max_bytes`, and only of a 2xx: of others the status says all.

        Raises HttpError or one of its kinds.
        """


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real time."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
