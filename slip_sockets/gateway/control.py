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
            return self.protocol.respond(await self._handle(request, deadline))

    async def _handle(self, request: HttpRequest, deadline: float) -> Performed | Rejected:
        try:
            self.protocol.authorize(request, await self.secrets())
            events = self.protocol.decode(request)
            return Performed(await self.performer.run(events, deadline=deadline))
        except Unavailable as error:
            return self._rejected(error, "refused with 503, nothing was done")
        except InvalidToken as error:
            return self._rejected(error, "refused with 403")
        except InvalidEvents as error:
            return self._rejected(error, "refused with 400, nothing was done")
        except ActionFailed as error:
            return self._rejected(error, "the batch stopped there")

    def _rejected(self, error: Rejected, consequence: str) -> Rejected:
        self.observer.failed(error)
        log.warning("control API: %s; %s", error, consequence)
        return error
