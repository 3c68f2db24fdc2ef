"""A channel with members, and the looks at it, in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from slip_sockets.gateway.deferred import FanOutChunk
from slip_sockets.gateway.deferred_presence import Look
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.values import Form, MemberConnection, Membership
from slip_sockets.protocol.events import Members, PresenceReport

from .doubles import Saved, World
from .presence_page import PresencePage

ROOM = "room:tea"


class RecordingOccupancy:
    """The port Occupancy."""

    def __init__(self) -> None:
        self.changes: dict[int, tuple[bool, MemberConnection]] = {}

    async def changed(self, channel: str, is_occupied: bool, who: MemberConnection, version: int) -> None:
        assert channel == ROOM
        assert self.changes.setdefault(version, (is_occupied, who))[0] is is_occupied


class RecordingSweeps:
    """The port Sweeps."""

    def __init__(self) -> None:
        self.due: list[float] = []

    async def look_at(self, channel: str, due_at: float) -> None:
        assert channel == ROOM
        self.due.append(due_at)


class Room:
    """`pages` are those that were sent frames, by connection id."""

    def __init__(self) -> None:
        self.world = World()
        self.pages: defaultdict[str, PresencePage] = defaultdict(PresencePage)
        self._seen: set[tuple[str, str]] = set()
        self._sent = 0

    async def enter(
        self, *connection_ids: str, user: str | None = None, form: Form = Form.SLIP_V1, info: bytes = b"null"
    ) -> None:
        for id_ in connection_ids:
            membership = Membership(id_ if user is None else user, info)
            await self.world.store.open(id_, b"null", [ROOM], form, user, {ROOM: membership})

    async def leave(self, connection_ids: Iterable[str]) -> None:
        for id_ in list(connection_ids):
            await self.world.store.remove(id_)

    async def pass_time(self, seconds: float) -> None:
        """Handle what comes due meanwhile; of two looks with the same id the queue has dropped the second."""
        clock, queue = self.world.clock, self.world.queue
        end = clock.time + seconds
        while True:
            chunks = [message for message in queue.messages if isinstance(message, FanOutChunk)]
            looks: dict[tuple[str, str], Look] = {}
            for message in queue.messages:
                key = (message.group, message.deduplication_id)
                if isinstance(message, Look) and key not in self._seen:
                    looks.setdefault(key, message)
            queue.messages[:] = looks.values()
            for chunk in chunks:
                await self.world.defer(chunk)
            due = [key for key, look in looks.items() if look.due_at <= end]
            if not due:
                break
            key = min(due, key=lambda key: looks[key].due_at)
            self._seen.add(key)
            clock.time = max(clock.time, looks[key].due_at)
            await self.attempt(looks[key])
        clock.time = end
        self.receive()

    async def attempt(self, look: Look) -> None:
        """Handle a look, again where it is not complete."""
        checkpoint = Saved()
        while True:
            try:
                return await self.world.looker.on_look(look, checkpoint, deadline=float("inf"))
            except Incomplete as error:
                look = error.remaining  # type: ignore[assignment]

    def receive(self) -> None:
        for id_, text in self.world.sender.sent[self._sent :]:
            self.pages[id_].receive(text)
        self._sent = len(self.world.sender.sent)

    def frames(self) -> dict[str, int]:
        """The numbers of frames that pages have received since this was asked last."""
        numbers = {id_: len(page.frames) for id_, page in self.pages.items() if page.frames}
        for page in self.pages.values():
            page.frames.clear()
        return numbers

    async def report(self) -> PresenceReport:
        (report,) = await self.world.performer.run([Members(ROOM)])
        assert isinstance(report, PresenceReport)
        return report
