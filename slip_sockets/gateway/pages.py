"""Reads the pages of a channel's subscribers ahead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from .values import Page


async def read_ahead(pages: AsyncIterator[Page]) -> AsyncGenerator[Page]:
    """Yield the pages, and read each while the caller works on the one before."""
    page = await anext(pages)
    upcoming: asyncio.Task[Page] | None = None
    try:
        while page.cursor is not None:
            upcoming = asyncio.create_task(_next(pages))
            yield page
            page = await upcoming
            upcoming = None
        yield page
    finally:
        if upcoming is not None:
            upcoming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await upcoming


async def _next(pages: AsyncIterator[Page]) -> Page:
    return await anext(pages)
