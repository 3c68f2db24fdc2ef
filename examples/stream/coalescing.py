"""Joins pieces of text that come faster than they are to be published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

FRAMES_PER_S = 20


async def _pause() -> None:
    await asyncio.sleep(1 / FRAMES_PER_S)


async def coalesced(pieces: AsyncIterable[str], *, pause: Callable[[], Awaitable[None]] = _pause) -> AsyncIterator[str]:
    """Yield the first piece at once, and after each `pause` all that have come since, joined.

    What came before an error of `pieces` is yielded; then the error is raised.
    """
    waiting: list[str] = []
    news = asyncio.Event()

    async def read() -> None:
        try:
            async for piece in pieces:
                waiting.append(piece)
                news.set()
        finally:
            news.set()

    reader = asyncio.create_task(read())
    try:
        while waiting or not reader.done():
            await news.wait()
            news.clear()
            text = "".join(waiting)
            waiting.clear()
            if text:
                yield text
                await pause()
        await reader
    finally:
        reader.cancel()
