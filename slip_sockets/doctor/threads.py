"""Blocking calls in threads for which no program waits at its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Await a blocking call in a thread of its own.

    Unlike a thread of asyncio's executor it is a daemon: a call that hangs, as a name server may, holds up neither the
    event loop's end nor the interpreter's.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not future.done():  # nothing waits for it any more
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: Any = function()
            set_outcome: Callable[[Any], None] = future.set_result
        except Exception as error:  # noqa: BLE001 - the awaiting task raises it
            outcome, set_outcome = error, future.set_exception
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(settle, set_outcome, outcome)

    threading.Thread(target=run, daemon=True).start()
    return await future
