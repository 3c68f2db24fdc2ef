from __future__ import annotations

import pytest

from ..gateway.doubles import FakeClock
from .http_stub import stub
from .moto_server import channels_table, connections_table, dynamodb, moto_url, queue_url, sqs

__all__ = ["channels_table", "connections_table", "dynamodb", "moto_url", "queue_url", "sqs", "stub"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
