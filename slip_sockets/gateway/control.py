"""A call of the control API: check the token, then the whole batch, then perform it."""

from __future__ import annotations

import logging
import math

import msgspec

from ..protocol.errors import InvalidEvents, InvalidToken
from .dialects import Performed, PublishProtocol, Rejected
from .errors import ActionFailed, Unavailable
from .observer import EventType, HandledEvent, Observer, handling
from .perform import Performer
from .ports import Secrets
from .values import HttpRequest, HttpResponse

log = logging.getLogger("slip_sockets.gateway")


class Control(msgspec.Struct, frozen=True):
    """Handles the calls of publishers, who speak `protocol`."""

    protocol: PublishProtocol
    secrets: Secrets
    performer: Performer
    observer: Observer

    async def handle(self, request: HttpRequest, *, deadline: float = math.inf) -> HttpResponse:
        """Perform a batch, valid as a whole or refused as a whole, in time before `deadline` (Unix seconds)."""
        with handling(HandledEvent(EventType.CONTROL)):
            result = await self._handle(request, deadline)
            response = self.protocol.respond(request, result)
            if not isinstance(result, Performed):
                self._rejected(result, response.status)
            return response

    async def _handle(self, request: HttpRequest, deadline: float) -> Performed | Rejected:
        try:
            self.protocol.authorize(request, await self.secrets())
            batch = self.protocol.decode(request)
            for skipped in batch.skipped:
                log.warning("control API: skipped: %s", skipped)
            await self.performer.check(batch.events)
            return Performed(await self.performer.run(batch.events, deadline=deadline))
        except (Unavailable, InvalidToken, InvalidEvents, ActionFailed) as error:
            return error

    def _rejected(self, error: Rejected, status: int) -> None:
        match error:
            case ActionFailed():
                consequence = "the batch stopped there"
            case InvalidToken():
                consequence = f"refused with {status}"
            case _:
                consequence = f"refused with {status}, nothing was done"
        self.observer.failed(error)
        log.warning("control API: %s; %s", error, consequence)
