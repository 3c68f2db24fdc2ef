from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from slip_sockets.dev.server import DevServer

from ...contract.wire import Control, running, subscribe_as_asked
from ...scripted_backend import ScriptedBackend


@pytest.fixture
def backend(backend: ScriptedBackend) -> ScriptedBackend:
    backend.script = subscribe_as_asked
    return backend


@pytest.fixture
async def server(backend: ScriptedBackend) -> AsyncIterator[DevServer]:
    async with running(backend.url, backend_timeout_s=5, inspector=True) as server:
        yield server


@pytest.fixture
async def control(server: DevServer) -> AsyncIterator[Control]:
    async with Control.open(server.control_api) as control:
        yield control
