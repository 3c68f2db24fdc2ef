"""What a correct page does with a channel's frames of slip.v1: each kept message once and in order, or `lost`. No I/O.

It learns nothing of the gateway but what a page learns: the frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slip_sockets.protocol.frames import MessageFrame, RecoverFrame, SubscribedFrame
from slip_sockets.protocol.positions import Position, read_position

HOLD_S = 0.25
"""How long a page holds what came after a jump: the message between may be on its way."""


@dataclass
class PageSide:
    """One channel of one page, over all of its connections. Methods return the frame that the page sends then, if any.

    `position` is that of the last message that was handed out: a page that was rendered at a position begins with it, a
    newcomer without one. `began_at` is the first one. `lost` has, for each time that the page was told so, its position
    before and after.
    """

    channel: str
    position: Position | None = None
    handed_out: list[tuple[Position, str]] = field(default_factory=list)
    not_kept: list[str] = field(default_factory=list)
    lost: list[tuple[Position, Position]] = field(default_factory=list)
    began_at: Position | None = None
    is_settled: bool = False
    """From `subscribed` on, until the connection ends or a jump is seen and the page asks for what is between."""
    _held: dict[Position, str] = field(default_factory=dict)
    _stale: set[Position] = field(default_factory=set)
    """Held messages of another epoch, from before the question."""

    def __post_init__(self) -> None:
        self.began_at = self.position

    def on_open(self) -> None:
        """The page has a new connection."""
        self.is_settled = False
        self._held.clear()

    def on_message(self, frame: MessageFrame) -> None:
        if frame.position is None:
            self.not_kept.append(frame.data)
            return
        self._held[_position(frame.position)] = frame.data
        if self.is_settled:
            self._hand_out()

    def on_subscribed(self, frame: SubscribedFrame) -> RecoverFrame | None:
        newest = _position(frame.position)
        if self.position is None:
            self.position = self.began_at = newest
        self._hand_out()
        if self.position.epoch == newest.epoch and self.position.offset >= newest.offset:
            if frame.recovered is not None:
                self._held = {position: data for position, data in self._held.items() if position not in self._stale}
            self.is_settled = True
            return None
        is_about_all = frame.since == str(self.position)
        assert not (frame.recovered and is_about_all), f"subscribed at {newest} and recovered, at {self.position}"
        if frame.recovered is False and is_about_all:
            self.lost.append((self.position, newest))
            self.position = newest
            self._held = {position: data for position, data in self._held.items() if position.epoch == newest.epoch}
            self._hand_out()
            self.is_settled = True
            return None
        return self._recover()

    def on_held_long_enough(self) -> RecoverFrame | None:
        """HOLD_S have passed since a message came after a jump."""
        return self._recover() if self.is_settled and self._held else None

    def on_silence(self) -> RecoverFrame | None:
        """No answer came for longer than the index may lag. A newcomer has nothing to ask for: it subscribes again."""
        return None if self.is_settled or self.position is None else self._recover()

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    def account_for(self, kept: Mapping[Position, str]) -> None:
        """See that what was handed out leads from the beginning to the position, all of it once and in order.

        `kept` are all texts that the channel has had.
        """
        at, lost = self.began_at, iter(self.lost)
        for position, text in self.handed_out:
            while at is not None and position != Position(at.epoch, at.offset + 1):
                before, after = next(lost, (None, None))
                assert before == at, f"{position} was handed out after {at}"
                at = after
            assert kept[position] == text
            at = position
        for before, after in lost:
            assert before == at, f"lost after {before}, at {at}"
            at = after
        assert at == self.position

    def _recover(self) -> RecoverFrame:
        assert self.position is not None
        self.is_settled = False
        self._stale = {position for position in self._held if position.epoch != self.position.epoch}
        return RecoverFrame(self.channel, str(self.position))

    def _hand_out(self) -> None:
        """Hand out what follows without a gap, and drop what the page has."""
        assert self.position is not None
        epoch, offset = self.position.epoch, self.position.offset
        while (following := Position(epoch, offset + 1)) in self._held:
            self.handed_out.append((following, self._held[following]))
            offset += 1
        self.position = Position(epoch, offset)
        self._held = {
            position: data
            for position, data in self._held.items()
            if position.epoch != epoch or position.offset > offset
        }


def _position(text: str) -> Position:
    position = read_position(text)
    assert position is not None, text
    return position
