"""Sends the backend OCCUPIED when a channel has its first member, and VACATED when it has none any more."""

from __future__ import annotations

import msgspec

from ..protocol.events import Occupied, Vacated
from .deferred_presence import OccupancyNotice
from .errors import BackendFailed, Incomplete, Unavailable
from .ports import Checkpoint, Connections, Queue
from .replies import Replies
from .values import Form, Known, MemberConnection


class Occupancy(msgspec.Struct, frozen=True):
    connections: Connections
    queue: Queue
    replies: Replies

    async def changed(self, channel: str, is_occupied: bool, who: MemberConnection, version: int) -> None:
        """Queue the event that the first member, `who`, has come to a channel, or that the last one has gone.

        `version` is that of the Notified that has the change: with the same one, the same event within five minutes is
        queued once. Raises Unavailable.
        """
        user = None if who.name == who.connection_id else who.name
        await self.queue.put([OccupancyNotice(channel, is_occupied, who.connection_id, version, who.metadata, user)])

    async def on_notice(self, notice: OccupancyNotice, checkpoint: Checkpoint, *, deadline: float) -> None:
        """Handler of an OccupancyNotice. Raises Incomplete.

        What is Incomplete has the metadata, since the connection may be gone at the next attempt.
        """
        event = Occupied(notice.channel) if notice.is_occupied else Vacated(notice.channel)
        kind, connection_id = notice.event_name, notice.connection_id
        try:
            is_known = notice.metadata is not None and not notice.is_occupied
            stored = None if is_known else await self.connections.get(connection_id)
            if stored is not None:
                notice = msgspec.structs.replace(notice, metadata=stored.metadata)
            known = Known(Form.RAW if stored is None else stored.form, notice.user)
            actions = await self.replies.call(connection_id, notice.metadata, [event], known=known)
        except Unavailable as error:
            raise Incomplete(notice, f"{error}; the backend was not called") from error
        except BackendFailed as error:
            self.replies.failed(
                error, "%s of channel %r, connection %s: %s", kind, notice.channel, connection_id, error
            )
            if error.is_retryable:
                raise Incomplete(notice, str(error)) from error
            return
        if not await self.replies.perform_or_queue(kind, connection_id, actions, deadline, known=known):
            raise Incomplete(notice, "what the backend asked for could be neither done nor queued")
