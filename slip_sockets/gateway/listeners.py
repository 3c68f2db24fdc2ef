"""Who listens to a channel: its own subscribers, and those of the patterns that match it.

Each of these is a source, the channel the first one. A connection that several sources have is a listener once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from .deferred import FanOut, Source
from .errors import Unavailable
from .pages import read_ahead
from .pattern_use import PatternUse
from .ports import Clock, Subscriptions
from .recent import Recent
from .values import Broadcast, ChannelClose, Count, Page

log = logging.getLogger("slip_sockets.gateway")


class Found(msgspec.Struct, frozen=True):
    """Listeners of a channel, each once. Those of them in `framed` take frames of slip.v1.

    `counts` is how many each of `sources` has among them, `cursors` where its further ones begin, None where it has no
    more.
    """

    sources: Sequence[str]
    connection_ids: Sequence[str]
    framed: frozenset[str]
    counts: Sequence[int]
    cursors: Sequence[str | None]

    @property
    def are_all(self) -> bool:
        return all(cursor is None for cursor in self.cursors)


class Part(msgspec.Struct, frozen=True):
    """Some listeners to whom a FanOut goes. `remaining` is the FanOut to the others, None after the last."""

    connection_ids: Sequence[str]
    framed: frozenset[str]
    remaining: FanOut | None


class Listeners(msgspec.Struct, frozen=True):
    subscriptions: Subscriptions
    patterns: PatternUse
    clock: Clock

    async def sources(self, broadcast: Broadcast, recent: Recent) -> Sequence[str]:
        """Return the names to which the listeners are subscribed. A close is for those of the channel alone.

        Raises Unavailable.
        """
        if isinstance(broadcast, ChannelClose):
            return (broadcast.channel,)
        return (broadcast.channel, *await self.patterns.matching(broadcast.channel, recent))

    async def find(self, sources: Sequence[str], recent: Recent, *, at_most: int) -> Found:
        """Read the sources side by side, each until it has more than `at_most`. Raises Unavailable."""
        read = await asyncio.gather(*(self._read(source, at_most) for source in sources))
        now = self.clock.now()
        listening = [
            recent.applied_to(source, page.connection_ids, now) for source, page in zip(sources, read, strict=True)
        ]
        return Found(
            sources,
            list(dict.fromkeys(id_ for ids in listening for id_ in ids)),
            recent.framed.union(*(page.framed for page in read)),
            [len(ids) for ids in listening],
            [page.cursor for page in read],
        )

    async def _read(self, source: str, at_most: int) -> Page:
        found: list[str] = []
        framed: set[str] = set()
        cursor = None
        async for page in self.subscriptions.subscribers(source, page_size=at_most + 1):
            found += page.connection_ids
            framed |= page.framed
            cursor = page.cursor
            if len(found) > at_most:
                break
        return Page(found, cursor, frozenset(framed))

    async def count(self, found: Found, matched: int, *, until: float) -> Count:
        """Count the listeners that were not read too; `matched` are those that were, without the excluded.

        Of several sources it is a lower bound unless all others are empty or read: to know who is in both would take
        reading them.
        """
        unread = [number for number, cursor in enumerate(found.cursors) if cursor is not None]
        if not unread:
            return Count(matched, more=False)
        is_of_one = not any(count for number, count in enumerate(found.counts) if number != unread[0])
        try:
            further = await asyncio.gather(
                *(
                    self.subscriptions.count(found.sources[number], after=found.cursors[number], until=until)
                    for number in unread
                )
            )
        except Unavailable as error:
            log.info("channel %.60r: its subscribers could not be counted: %s", found.sources[0], error)
            return Count(matched, more=True)
        if is_of_one and len(unread) == 1:
            return Count(matched + further[0].subscribers, further[0].more)
        of_sources = (found.counts[number] + count.subscribers for number, count in zip(unread, further, strict=True))
        return Count(max(matched, *of_sources), more=True)

    async def excluded(self, broadcast: Broadcast) -> set[str]:
        """Return the connections that a broadcast is not for. Raises Unavailable."""
        excluded = {id_ for channel in broadcast.except_for for id_ in await self._subscribers(Source(channel), None)}
        if isinstance(broadcast, ChannelClose) and broadcast.except_connection_id is not None:
            excluded.add(broadcast.except_connection_id)
        return excluded

    async def parts(self, fan_out: FanOut) -> AsyncGenerator[Part]:
        """Yield the listeners to whom a FanOut goes, source after source and page by page. Raises Unavailable.

        Those that an earlier source has are left out. Where an earlier run has read a source, it is read again for
        that, without those who may have been added to it since then: some may come twice, none is missed.
        """
        had: set[str] = set()
        for source in fan_out.sources[: fan_out.source]:
            had.update(await self._subscribers(source, fan_out.known_from))
        remaining: FanOut | None = fan_out
        while remaining is not None:
            fan_out, is_resumed = remaining, remaining.after is not None
            if not is_resumed and self.clock.now() > fan_out.recent_until:  # by now the index shows them
                fan_out = fan_out.without_recent()
            source, is_last = fan_out.sources[fan_out.source], fan_out.source == len(fan_out.patterns)
            of_source: list[str] = []
            async with aclosing(self._pages(source, after=fan_out.after)) as pages:
                async for page in pages:
                    of_source += () if is_last else page.connection_ids
                    remaining = _after(fan_out, page.cursor, is_last=is_last)
                    connection_ids = [id_ for id_ in page.connection_ids if id_ not in had]
                    yield Part(connection_ids, page.framed.union(fan_out.framed), remaining)
            had.update(of_source)
            if is_resumed and not is_last:
                had.update(await self._subscribers(source, fan_out.known_from))

    async def _subscribers(self, source: Source, subscribed_before: float | None) -> list[str]:
        async with aclosing(self._pages(source, subscribed_before=subscribed_before)) as pages:
            return [id_ async for page in pages for id_ in page.connection_ids]

    async def _pages(
        self, source: Source, *, after: str | None = None, subscribed_before: float | None = None
    ) -> AsyncGenerator[Page]:
        """Yield the subscribers of a source. Those that have just joined come with its first page, wherever the index
        shows them."""
        known = {*source.joined, *source.left}
        is_first = after is None
        read = self.subscriptions.subscribers(
            source.name,
            after=after,
            page_size=self.subscriptions.page_size,
            subscribed_before=subscribed_before,
        )
        async with aclosing(read_ahead(read)) as pages:
            async for page in pages:
                connection_ids = [id_ for id_ in page.connection_ids if id_ not in known]
                if is_first:
                    connection_ids += source.joined
                is_first = False
                yield Page(connection_ids, page.cursor, page.framed)


def _after(fan_out: FanOut, cursor: str | None, *, is_last: bool) -> FanOut | None:
    """Return the part of a FanOut behind a page that ends at `cursor`."""
    if cursor is not None:
        return msgspec.structs.replace(fan_out, after=cursor)
    return None if is_last else msgspec.structs.replace(fan_out, after=None, source=fan_out.source + 1)
