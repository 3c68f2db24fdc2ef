"""The members of channels in memory: they stay few. tests/ports holds what all engines do."""

from __future__ import annotations

from collections.abc import Sequence

from slip_sockets.dev.connections import MemoryConnections
from slip_sockets.dev.presence import LEFT_LIFETIME_S, NOTIFIED_LIFETIME_S, SWEEP_PAUSE_S, MemoryPresence
from slip_sockets.gateway.values import Membership, Notified

from ..gateway.doubles import FakeClock


class RecordingChanges:
    """The port MemberChanges. It notes the rows that there are when it hears of a change."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, list[str], int]] = []
        self.store: MemoryConnections

    async def joining(self, channels: Sequence[str]) -> None:
        self.heard.append(("joining", list(channels), len(self.store)))

    async def leaving(self, channels: Sequence[str]) -> None:
        self.heard.append(("leaving", list(channels), len(self.store)))


async def test_changes_are_heard_of_before_they_are_made() -> None:
    changes = RecordingChanges()
    store = changes.store = MemoryConnections(FakeClock(), changes)
    await store.open("me", b"1", ["lobby", "games"], memberships={"lobby": Membership("ann")})
    await store.subscribe("me", "games", membership=Membership("ann"))
    await store.unsubscribe("me", "lobby")
    await store.remove("me")
    await store.remove("me")
    assert changes.heard == [
        ("joining", ["lobby"], 0),
        ("joining", ["games"], 3),
        ("leaving", ["lobby"], 3),
        ("leaving", ["games"], 2),
    ]
    members, _ = await store.presence.read("lobby")
    assert [(member.name, member.left_at is None) for member in members] == [("ann", False)]


async def test_what_nobody_forgets_does_not_stay() -> None:
    clock = FakeClock()
    store = MemoryConnections(clock)
    presence = store.presence
    for number in range(10):
        channel = f"room-{number}"
        await store.open(str(number), b"1", [channel], memberships={channel: Membership("ann")})
        await presence.note(channel, Notified(version=1))
        await store.remove(str(number))
    clock.time += LEFT_LIFETIME_S
    await presence.note("lobby", Notified(version=1))
    assert (presence._rows, len(presence._notified)) == ({}, 11)
    clock.time += max(NOTIFIED_LIFETIME_S, SWEEP_PAUSE_S)
    await presence.note("lobby", Notified(version=1))
    assert len(presence._notified) == 1


async def test_one_presence_serves_many_stores() -> None:
    clock = FakeClock()
    presence = MemoryPresence(clock)
    for name in ("ann", "bob"):
        await MemoryConnections(clock, presence=presence).open(
            name, b"1", ["lobby"], memberships={"lobby": Membership(name)}
        )
    assert [member.name for member in (await presence.read("lobby"))[0]] == ["ann", "bob"]
