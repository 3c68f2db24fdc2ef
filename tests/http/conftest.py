from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from slip_sockets.http.client import Client

from ..gateway.doubles import FakeClock
from .requesting import IDLE_S, PATIENT


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def client(clock: FakeClock) -> AsyncIterator[Client]:
    client = Client(clock, PATIENT, idle_s=IDLE_S)
    yield client
    await client.aclose()
