"""Fixtures of the contract: a backend that subscribes clients as they ask, the control API, and the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest

from slip_sockets.dev.server import DevServer

from ..scripted_backend import ScriptedBackend
from .wire import TIMEOUT_S, Control, Warnings, subscribe_as_asked


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = subscribe_as_asked
    return backend


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def control(server: DevServer, http: aiohttp.ClientSession) -> Control:
    return Control(http, server.control_api)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Warnings:
    """Without the development server's advice about the backend, which tests/dev/test_adviser.py is about."""
    caplog.set_level(logging.INFO)
    return lambda: [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.module != "adviser"
    ]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())


@pytest.fixture
def next_line() -> Iterator[Callable[[str], Awaitable[str]]]:
    """Call it to wait for the log's next line from WARNING on with this beginning."""
    handler = _Lines()

    async def wait(beginning: str) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            while not (line := await handler.lines.get()).startswith(beginning):
                pass
        return line

    log = logging.getLogger("slip_sockets")
    log.addHandler(handler)
    yield wait
    log.removeHandler(handler)
