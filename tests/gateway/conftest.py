from __future__ import annotations

import pytest

from .doubles import World


@pytest.fixture
def world() -> World:
    return World()
