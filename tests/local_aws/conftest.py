from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws import LocalAws

from .cloud import Cloud, settings


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """One for all tests that need no local AWS of their own. Each deploys under names of its own."""
    with LocalAws(settings()) as aws:
        yield aws


@pytest.fixture(scope="session")
def cloud(aws: LocalAws) -> Cloud:
    return Cloud(aws)
