from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws import LocalAws

from .cloud import Cloud, settings


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """One for all tests that need none of their own; what they deploy has names of its own."""
    with LocalAws(settings()) as aws:
        yield aws


@pytest.fixture(scope="session")
def cloud(aws: LocalAws) -> Cloud:
    return Cloud(aws)
