"""One browser for all tests of this folder, and a backend that lets everybody in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..contract.wire import subscribe_as_asked
from ..scripted_backend import ScriptedBackend
from .chromium import Chromium, running_chromium


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
