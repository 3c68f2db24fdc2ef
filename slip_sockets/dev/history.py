"""Kept messages in memory, in the place of rows of the table `Channels` on AWS."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.ports import CLAIM_LIFETIME_S, MAX_PAST_BYTES, Clock
from ..gateway.values import ChannelState, Origin, Past, Publication
from ..protocol.events import MAX_KEPT, KeptMessage
from ..protocol.positions import Position, new_epoch

SWEEP_PAUSE_S = 60.0
"""Between searches for channels of which nothing is kept any more."""


@dataclass(frozen=True, slots=True)
class _Kept:
    offset: int
    message: KeptMessage
    count: int
    until: float


@dataclass(slots=True)
class _Channel:
    """`until` is when its memory has run out, in Unix seconds. `recent` are the names of messages, by which a repeated
    one is known, each with its offset and its time."""

    epoch: str
    until: float
    newest: int = 0
    messages: deque[_Kept] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))
    recent: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.newest)

    def kept(self, now: float) -> list[_Kept]:
        return [each for each in self.messages if each.until > now and self.newest - each.offset < each.count]


class MemoryHistory:
    """The port History, for one process. Nothing here suspends, so each method is atomic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._sweep_at = 0.0

    async def keep(self, publication: Publication, origin: Origin, state: ChannelState) -> Position:
        if publication.keep is None:
            raise ValueError("the publication is not to be kept")
        keep, now = publication.keep, self._clock.now()
        self._sweep(now)
        channel = self._channel(publication.channel, until=now + keep.seconds)
        if origin.name in channel.recent:
            return Position(channel.epoch, channel.recent[origin.name][0])
        channel.newest += 1
        channel.recent[origin.name] = channel.newest, now
        channel.until = max(channel.until, now + keep.seconds)
        message = KeptMessage(str(channel.position), publication.data, int(now * 1000))
        channel.messages.append(_Kept(channel.newest, message, keep.count, now + keep.seconds))
        self._drop_gone(channel, now)
        return channel.position

    async def newest(self, channel: str) -> Position:
        return self._begun(channel).position

    async def past(self, channel: str, since: Position | None, *, limit: int) -> Past:
        begun = self._begun(channel)
        newest, kept = begun.position, begun.kept(self._clock.now())
        if since is None:
            messages = _fitting((each.message for each in reversed(kept)), limit)
            return Past(newest, messages[::-1], more=len(messages) < len(kept))
        if since.epoch != newest.epoch or since.offset > newest.offset:
            return Past(newest, is_whole=False)
        missed = [each.message for each in kept if each.offset > since.offset]
        if len(missed) < newest.offset - since.offset:
            return Past(newest, is_whole=False)
        messages = _fitting(missed, limit)
        return Past(newest, messages, more=len(messages) < len(missed))

    def _channel(self, name: str, *, until: float) -> _Channel:
        """Return a channel that is remembered; it begins anew where its memory has run out."""
        channel = self._channels.get(name)
        if channel is None or channel.until <= self._clock.now():
            channel = self._channels[name] = _Channel(new_epoch(), until)
        return channel

    def _begun(self, name: str) -> _Channel:
        """Return a channel. One of which nothing is kept stays for as long as a connection that has its position."""
        now = self._clock.now()
        self._sweep(now)
        channel = self._channel(name, until=now + ROW_LIFETIME_S)
        if not channel.newest:
            channel.until = max(channel.until, now + ROW_LIFETIME_S)
        return channel

    def _drop_gone(self, channel: _Channel, now: float) -> None:
        """Drop the oldest that are kept no more. Some may stand behind one that is kept for longer."""
        while channel.recent:
            name = next(iter(channel.recent))
            if channel.recent[name][1] > now - CLAIM_LIFETIME_S:
                break
            del channel.recent[name]
        while channel.messages:
            oldest = channel.messages[0]
            if oldest.until > now and channel.newest - oldest.offset < oldest.count:
                return
            channel.messages.popleft()

    def _sweep(self, now: float) -> None:
        if now >= self._sweep_at:
            self._channels = {name: channel for name, channel in self._channels.items() if channel.until > now}
            self._sweep_at = now + SWEEP_PAUSE_S


def _fitting(messages: Iterable[KeptMessage], limit: int) -> list[KeptMessage]:
    """Return the first `limit` of them, to MAX_PAST_BYTES of text."""
    found: list[KeptMessage] = []
    size = 0
    for message in messages:
        size += len(message.data.encode())
        if len(found) == limit or size > MAX_PAST_BYTES:
            break
        found.append(message)
    return found
