"""What the backend asks for in its reply to some events of a connection: performed now, or queued."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from ..protocol.errors import InvalidEvents, SlipSocketsError
from ..protocol.events import SocketEvent
from .backend import Backend
from .deferred import Continuation
from .effects import Effect
from .errors import ActionFailed, BackendFailed, BackendFault, Unavailable
from .observer import Observer
from .perform import Performer
from .ports import Queue
from .recent import Written
from .values import Known

log = logging.getLogger("slip_sockets.gateway")

NOBODY = Known()


class Replies(msgspec.Struct, frozen=True):
    """Calls the backend, and does what it replies."""

    backend: Backend
    performer: Performer
    queue: Queue
    observer: Observer

    async def call(
        self,
        connection_id: str,
        metadata: bytes | None,
        events: Sequence[SocketEvent],
        *,
        known: Known = NOBODY,
    ) -> Sequence[Effect]:
        """Send events, and return what the reply asks for. Raises BackendFailed."""
        actions = await self.backend.call(connection_id, metadata, events, known.user)
        await self.check(connection_id, actions, known)
        return actions

    async def check(self, connection_id: str, actions: Sequence[Effect], known: Known) -> None:
        """Raises BackendFailed where a reply asks for what its connection cannot be sent."""
        try:
            await self.performer.check(actions, {connection_id: known})
        except InvalidEvents as error:
            problem = f"responded with a body that is not valid: {error}"
            raise BackendFailed(BackendFault.INVALID_BODY, problem) from error
        except Unavailable as error:  # who performs them meets it too
            log.info("connection %s: the reply could not be checked: %s", connection_id, error)

    async def perform_or_queue(
        self,
        kind: str,
        connection_id: str,
        actions: Sequence[Effect],
        deadline: float,
        recent: Sequence[Written] = (),
        known: Known = NOBODY,
    ) -> bool:
        """Perform actions; queue those that cannot be done now, since the backend will not ask for them again.

        Return False where they could not be queued either. The effects of `recent` hold already, or are taken to.
        """
        try:
            await self.performer.run(actions, deadline=deadline, recent=recent, known={connection_id: known})
        except ActionFailed as error:
            return await self._queue_remaining(kind, connection_id, actions[error.index :], known, error)
        return True

    async def _queue_remaining(
        self, kind: str, connection_id: str, actions: Sequence[Effect], known: Known, cause: ActionFailed
    ) -> bool:
        count = len(actions)
        try:
            waiting = Continuation(connection_id, list(actions), form=known.form, user=known.user)
            await self.queue.put([waiting])
        except Unavailable as error:
            message = "%s of connection %s: in the reply, %s; it and what follows, %d in all, cannot be queued: %s"
            self.failed(error, message, kind, connection_id, cause, count, error)
            return False
        message = "%s of connection %s: in the reply, %s; it and what follows, %d in all, are queued"
        if cause.lacked_time:
            log.info(message, kind, connection_id, cause, count)
        else:
            self.failed(cause, message, kind, connection_id, cause, count)
        return True

    def failed(self, error: SlipSocketsError, message: str, *args: object) -> None:
        self.observer.failed(error)
        log.warning(message, *args)
