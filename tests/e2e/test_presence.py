"""Who is in a room of a deployed stage: production is direct; staging is ordered, and tells the backend."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from slip_sockets import PresenceReport
from slip_sockets.protocol.frames import SUBPROTOCOL

from ..gateway.presence_page import PresencePage
from .deployment import PRODUCTION, STAGING
from .patience import PATIENCE_S, until
from .room import Client, Room

pytestmark = pytest.mark.e2e


class Page:
    """A member's page: it applies what it is told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._page = PresencePage()
        for text in client.received:
            self._take(text)

    @property
    def users(self) -> set[str]:
        return set(self._page.members or ())

    async def see(self, *users: str) -> None:
        """Wait until exactly these are there."""
        async with asyncio.timeout(PATIENCE_S):
            while self.users != set(users):
                self._take(str(await self.client.socket.recv()))

    def _take(self, text: str) -> None:
        if json.loads(text)["slip"] == "presence":
            self._page.receive(text)


async def enter(room: Room, stack: str, user: str, name: str = "page") -> Page:
    query, greeting = f"&as={user}&member=1", '{"slip":"text","data":"welcome"}'
    return Page(await room.join(name, stack=stack, query=query, greeting=greeting, subprotocols=[SUBPROTOCOL]))


async def members(room: Room, stack: str) -> PresenceReport:
    publisher = room.publisher(stack)
    return await asyncio.to_thread(lambda: publisher.members(room.name))


@pytest.mark.parametrize("stack", [PRODUCTION, STAGING])
async def test_pages_see_each_other_come_and_go(room: Room, stack: str) -> None:
    room.chat.is_silent = True
    ann, bob = f"ann@{room.name}", f"bob@{room.name}"
    first = await enter(room, stack, ann, "first")
    await first.see(ann)
    second = await enter(room, stack, bob, "second")
    await asyncio.gather(first.see(ann, bob), second.see(ann, bob))
    third = await enter(room, stack, ann, "third")
    await third.see(ann, bob)
    report = await members(room, stack)
    assert (report.count, report.more) == (2, False)
    assert [(member.user, member.connections) for member in report.members] == [(ann, 2), (bob, 1)]
    assert all(member.since > 1_600_000_000_000 for member in report.members)

    # Ann's network is cut on one device, and Bob reloads: neither has left.
    third.client.socket.transport.abort()
    await room.leave(second.client)
    second = await enter(room, stack, bob, "again")
    await second.see(ann, bob)
    await room.leave(first.client)
    await second.see(bob)
    assert first.users == {ann, bob}
    assert [member.user for member in (await members(room, stack)).members] == [bob]
    await room.leave(second.client)

    expected: list[Any] = []
    if stack == STAGING:
        expected = [
            ("Occupied", ann, room.chat.metadata("first")),
            ("Vacated", bob, room.chat.metadata("again")),
        ]
    await until(lambda: len(room.chat.occupancy) == len(expected))
    assert room.chat.occupancy == expected
    await until(lambda: not room.members(stack))
