"""Which client must have received which message, and which must not. Times are those of one monotonic clock.

A publish is due at each client that was certainly subscribed from before it was sent until after it was accepted. A
client that may have been subscribed may receive it. No client receives it twice, nor after a later one of the same
caller to the same channel.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

PATIENCE_S = 60.0
"""How long due messages may take on a busy machine."""


@dataclass(frozen=True, slots=True)
class Message:
    """A published text that identifies itself: `number` grows with each publish of one caller."""

    channel: str
    caller: str
    number: int
    sent_at: float

    @property
    def lane(self) -> tuple[str, str]:
        """Messages of one lane arrive in order."""
        return self.channel, self.caller

    def text(self, padding: int) -> str:
        return f"message {self.channel} {self.caller} {self.number} {self.sent_at!r} {'x' * padding}"

    @classmethod
    def parse(cls, text: str) -> Message:
        _, channel, caller, number, sent_at, _ = text.split(" ")
        return cls(channel, caller, int(number), float(sent_at))


@dataclass(eq=False)
class Member:
    """A client as the model knows it. `due` are messages that it must still receive, by channel, caller and number."""

    name: str
    due: set[tuple[str, str, int]] = field(default_factory=set)
    may_have: set[str] = field(default_factory=set)
    left_at: dict[str, float] = field(default_factory=dict)
    last: dict[tuple[str, str], int] = field(default_factory=dict)
    nothing_due: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.nothing_due.set()


class Model:
    """Raises AssertionError as soon as something is wrong."""

    def __init__(self) -> None:
        self.published = 0
        self.delivered = 0
        self.due = 0
        """Deliveries that were due; others were allowed, as to a client that was just leaving."""
        self._certain: dict[str, dict[Member, object]] = {}
        self._numbers: dict[str, itertools.count[int]] = {}

    # Subscribers

    def subscribing(self, member: Member, channel: str) -> None:
        member.may_have.add(channel)

    def subscribed(self, member: Member, channel: str) -> None:
        self._certain.setdefault(channel, {}).setdefault(member, object())

    def unsubscribing(self, member: Member, channel: str) -> None:
        self._certain.get(channel, {}).pop(member, None)

    def unsubscribed(self, member: Member, channel: str) -> None:
        member.may_have.discard(channel)
        member.left_at[channel] = time.monotonic()

    def leaving(self, member: Member) -> None:
        for members in self._certain.values():
            members.pop(member, None)

    # Messages

    def publishing(self, channel: str, caller: str) -> tuple[Message, dict[Member, object]]:
        """Return the message, and the clients that are certainly subscribed now."""
        number = next(self._numbers.setdefault(caller, itertools.count()))
        return Message(channel, caller, number, time.monotonic()), dict(self._certain.get(channel, {}))

    def accepted(self, message: Message, subscribed: dict[Member, object]) -> None:
        """The publish was accepted. Those of `subscribed` that still are must receive it."""
        self.published += 1
        now = self._certain.get(message.channel, {})
        for member, since in subscribed.items():
            if now.get(member) is since:
                self.due += 1
                if member.last.get(message.lane, -1) < message.number:
                    member.due.add((*message.lane, message.number))
                    member.nothing_due.clear()

    def arrived(self, member: Member, text: str) -> None:
        message = Message.parse(text)
        self.delivered += 1
        may = message.channel in member.may_have or message.sent_at <= member.left_at.get(message.channel, -1)
        assert may, f"{member.name} got {message}, which is not for it"
        last = member.last.get(message.lane, -1)
        assert message.number > last, f"{member.name} got number {message.number} of {message.caller} after {last}"
        member.last[message.lane] = message.number
        overtaken = [number for *lane, number in member.due if tuple(lane) == message.lane and number < message.number]
        assert not overtaken, f"{member.name} got {message} before {overtaken}, which were due"
        member.due.discard((*message.lane, message.number))
        if not member.due:
            member.nothing_due.set()

    async def has_all(self, member: Member) -> None:
        """Wait until it has received all that is due."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await member.nothing_due.wait()
        except TimeoutError:
            raise AssertionError(f"{member.name} never got {sorted(member.due)}") from None
