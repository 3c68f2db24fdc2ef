"""Reaches the edge's connections, in this process: what the management API is on AWS."""

from __future__ import annotations

import asyncio
import http
import random
from collections.abc import Callable, Sequence

from ..apigateway.connection_ids import has_usual_form, is_connection_id
from ..apigateway.limits import OPENING_WINDOW_S
from ..gateway.ports import Clock
from ..gateway.values import Outcome
from .edge import Edge, ManagementError
from .websocket import text_frame

RETRY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Between attempts at a connection with a full buffer; each is up to a tenth shorter or longer."""
CALLS_AT_ONCE = 100
"""After this number of calls the other tasks of this process get their turn."""


class EdgeSender:
    """The port Sender, straight into the edge."""

    opening_window_s = OPENING_WINDOW_S

    def __init__(self, edge: Edge, clock: Clock) -> None:
        self._edge = edge
        self._clock = clock

    def is_connection_id(self, text: str) -> bool:
        return is_connection_id(text)

    def looks_like_connection_id(self, text: str) -> bool:
        return has_usual_form(text)

    async def send(self, connection_ids: Sequence[str], data: str, *, until: float) -> Outcome:
        frame = text_frame(data)
        return await self._for_each(connection_ids, lambda id_: self._edge.post(id_, frame), until)

    async def close(self, connection_ids: Sequence[str], *, until: float) -> Outcome:
        return await self._for_each(connection_ids, self._edge.delete, until)

    async def is_open(self, connection_id: str) -> bool:
        try:
            self._edge.get(connection_id)
        except ManagementError:
            return False
        return True

    async def last_active_at(self, connection_id: str) -> float | None:
        try:
            return self._edge.get(connection_id).last_active_at
        except ManagementError:
            return None

    async def _for_each(self, connection_ids: Sequence[str], call: Callable[[str], None], until: float) -> Outcome:
        """Call for all, then again for those that failed: only the failing connections wait."""
        outcome = Outcome()
        await self._attempt(connection_ids, call, until, outcome)
        for pause_s in RETRY_PAUSES_S:
            pause_s *= random.uniform(0.9, 1.1)  # noqa: S311 - jitter, not cryptography
            if not outcome.failed:
                break
            if self._clock.now() + pause_s > until:
                outcome.unsent += outcome.failed
                outcome.failed = {}
                break
            await self._clock.sleep(pause_s)
            again, outcome.failed = list(outcome.failed), {}
            await self._attempt(again, call, until, outcome)
        return outcome

    async def _attempt(
        self, connection_ids: Sequence[str], call: Callable[[str], None], until: float, outcome: Outcome
    ) -> None:
        for start in range(0, len(connection_ids), CALLS_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            if self._clock.now() >= until:
                outcome.unsent += connection_ids[start:]
                return
            for connection_id in connection_ids[start : start + CALLS_AT_ONCE]:
                _record(outcome, connection_id, call)


def _record(outcome: Outcome, connection_id: str, call: Callable[[str], None]) -> None:
    try:
        call(connection_id)
    except ManagementError as error:
        match error.status:
            case http.HTTPStatus.GONE:
                outcome.gone.append(connection_id)
            case http.HTTPStatus.TOO_MANY_REQUESTS:
                outcome.failed[connection_id] = str(error)
            case _:
                outcome.refused[connection_id] = str(error)
    else:
        outcome.done += 1
