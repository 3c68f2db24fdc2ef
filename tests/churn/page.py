"""A page of the churn: it takes frames of slip.v1, drops at any moment, and comes back to what it has missed."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from slip_sockets.protocol.frames import MessageFrame, RecoverFrame, SubscribedFrame, TextFrame, encode_frame
from slip_sockets.protocol.positions import Position

from ..contract.raw import CLOSE, TEXT, frame, handshake
from ..page_side import HOLD_S, PageSide
from .model import PATIENCE_S

KEEP_COUNT, KEEP_S = 10, 3_600
"""What publishers keep: too few for a page that is away for long."""
ONLINE_S, AWAY_S, LONG_AWAY_S = 4.0, 1.0, 30.0
"""All of these are means."""
LONG_AWAY = 0.1
SILENCE_S = 5.0

_frames = msgspec.json.Decoder(MessageFrame | SubscribedFrame | TextFrame)


@dataclass
class Page:
    """`kept` is what was published and kept, by channel and position, without its padding."""

    name: str
    channels: list[str]
    rng: random.Random
    stop: asyncio.Event
    counts: Counter[str]
    kept: dict[str, dict[Position, str]]

    def __post_init__(self) -> None:
        self._sides = {channel: PageSide(channel) for channel in self.channels}
        self._connections = 0

    async def live(self, url: str) -> None:
        """Come and go until the end of the churn, and then stay until it has everything."""
        while not self.stop.is_set():
            await self._connect(url, self.rng.expovariate(1 / ONLINE_S))
            away_s = LONG_AWAY_S if self.rng.random() < LONG_AWAY else AWAY_S
            try:
                async with asyncio.timeout(self.rng.expovariate(1 / away_s)):
                    await self.stop.wait()
            except TimeoutError:
                pass
        await self._connect(url, PATIENCE_S, is_last=True)
        for channel, side in self._sides.items():
            newest = self._newest(channel)
            assert side.position is not None
            assert side.position.offset == newest, f"{self.name} is at {side.position}, the newest is {newest}"
            side.account_for(self.kept.get(channel, {}))
            self.counts["kept messages that pages got"] += len(side.handed_out)

    async def _connect(self, url: str, online_s: float, *, is_last: bool = False) -> None:
        """Listen for that time, the last time until everything is there; then drop, or close."""
        self._connections += 1
        asks = self.rng.random() < 0.5
        since = [str(side.position or "") if asks else "" for side in self._sides.values()]
        for side in self._sides.values():
            side.on_open()
        target = urlsplit(url)
        name = f"{self.name}-{self._connections}"
        query = f"name={name}&refuse=0&channels={','.join(self.channels)}&since={','.join(since)}"
        self._reader, self._writer = await asyncio.open_connection(target.hostname, target.port)
        self._writer.write(handshake(f"/?{query}", ("Sec-WebSocket-Protocol", "slip.v1")))
        until = time.monotonic() + online_s
        try:
            async with asyncio.timeout(online_s):
                head = await self._reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 101 "), head
                async with asyncio.TaskGroup() as tasks:
                    asking = tasks.create_task(self._ask())
                    while not (is_last and self._has_all()):
                        await self._take_in()
                    asking.cancel()
        except TimeoutError:
            if is_last:
                self._writer.transport.abort()
                raise AssertionError(f"{self.name} never got everything") from None
        except BaseException:
            self._writer.transport.abort()
            raise
        assert time.monotonic() < until + PATIENCE_S
        self.counts["pages that dropped"] += 1
        if is_last or self.rng.random() < 0.5:
            self._writer.write(frame(CLOSE, b"\x03\xe8"))
            self._writer.close()
        else:
            self._writer.transport.abort()

    def _has_all(self) -> bool:
        return all(
            side.is_settled
            and not side.is_holding
            and side.position is not None
            and side.position.offset == self._newest(channel)
            for channel, side in self._sides.items()
        )

    def _newest(self, channel: str) -> int:
        """Return the newest offset: 0 where nothing was kept, as when there were few publishes."""
        return max((position.offset for position in self.kept.get(channel, {})), default=0)

    async def _take_in(self) -> None:
        first, size = await self._reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
        payload = await self._reader.readexactly(size)
        assert first & 0x0F == TEXT, (first, payload)
        found = _frames.decode(payload)
        if isinstance(found, TextFrame):
            return
        side = self._sides[found.channel]
        if isinstance(found, MessageFrame):
            side.on_message(MessageFrame(found.channel, unpadded(found.data), found.position))
            return
        lost = len(side.lost)
        self._send(side.on_subscribed(found))
        for before, after in side.lost[lost:]:
            assert after.offset - before.offset > KEEP_COUNT, f"nothing was lost between {before} and {after}"
            self.counts["told as lost"] += 1
        if found.recovered:
            self.counts["recovered"] += 1

    async def _ask(self) -> None:
        """Ask for what a jump leaves out, and again where no answer comes."""
        held: Counter[str] = Counter()
        silent: Counter[str] = Counter()
        while True:
            await asyncio.sleep(HOLD_S)
            for channel, side in self._sides.items():
                held[channel] = held[channel] + 1 if side.is_settled and side.is_holding else 0
                silent[channel] = 0 if side.is_settled else silent[channel] + 1
                if held[channel] > 1:
                    self._send(side.on_held_long_enough())
                if silent[channel] * HOLD_S > SILENCE_S:
                    self._send(side.on_silence())
                    silent[channel] = 0

    def _send(self, sent: RecoverFrame | None) -> None:
        if sent is not None:
            self._writer.write(frame(TEXT, encode_frame(sent).encode()))


def unpadded(text: str) -> str:
    return text.rpartition(" ")[0]
