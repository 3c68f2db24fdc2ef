"""One browser for all tests of this folder, and a backend that lets everybody in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from slip_sockets.dev.server import DevServer

from ..contract.wire import Control, subscribe_as_asked
from ..scripted_backend import ScriptedBackend
from .chromium import Chromium, running_chromium
from .socket_page import SocketPage, serving_the_page


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with running_chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture
def windows(chromium: Chromium) -> Iterator[Chromium]:
    """The browser; its windows are closed after the test."""
    yield chromium
    chromium.close_windows()


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = subscribe_as_asked
    return backend


@pytest.fixture
async def page(windows: Chromium) -> AsyncIterator[SocketPage]:
    async with serving_the_page() as url:
        await asyncio.to_thread(windows.open, url)
        page = SocketPage(windows)
        await page.until_loaded()
        yield page


@pytest.fixture
async def control(server: DevServer) -> AsyncIterator[Control]:
    async with Control.open(server.control_api) as control:
        yield control
