"""How tests wait for what other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 100.0
"""How long a test waits for one event. It ends a wait in vain, and measures nothing: on a busy machine it takes half a
minute until six functions have started."""
PAUSE_S = 0.05


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what no event announces. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S)


async def until_grown(count: Callable[[], int], least: int) -> None:
    """Wait until `count` returns `least`: for as long as it grows. Raises TimeoutError."""
    while (before := count()) < least:
        await until(lambda: count() > before)
