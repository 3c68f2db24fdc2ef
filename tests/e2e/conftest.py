from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from local_aws import LocalAws, Strictness

from ..local_aws.cloud import settings
from .backend import ChatBackend
from .deployment import SECRET, Deployment, copy_of_the_project
from .faults import Faults
from .queues import StageQueue, dead_letters
from .room import Room, open_room

MAX_ENVIRONMENTS = 6
"""Of each function; those of a backend that hangs are busy for long."""
ALIAS_MOVE_S = 60.0
"""For how long AWS gives an alias that moves routing weights, where it has provisioned concurrency of its own."""


@pytest.fixture(scope="session")
def backend() -> Iterator[ChatBackend]:
    with ChatBackend(SECRET) as backend:
        yield backend


@pytest.fixture(scope="session")
def deployment(backend: ChatBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both stages, deployed at once by a plain `cdktf deploy`, as the documentation gives it."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    with LocalAws(
        replace(settings(max_environments=MAX_ENVIRONMENTS), strictness=Strictness(alias_move_s=ALIAS_MOVE_S))
    ) as aws:
        deployment = Deployment(project, aws, backend.url)
        deployment.cdktf("deploy", "--auto-approve", "--outputs-file", "cdk-outputs.json")
        yield deployment


@pytest.fixture
async def room(deployment: Deployment, backend: ChatBackend) -> AsyncIterator[Room]:
    """The test's own. It ends after the other fixtures that need it, when nothing fails any more."""
    async with open_room(deployment, backend) as room:
        yield room


@pytest.fixture
def faults(deployment: Deployment, room: Room) -> Iterator[Faults]:
    faults = Faults(deployment, room)
    yield faults
    faults.clear()


@pytest.fixture
def dead(deployment: Deployment, room: Room) -> Iterator[StageQueue]:
    """The dead-letter queue, empty at the beginning and at the end."""
    queue = dead_letters(deployment)
    queue.clear()
    yield queue
    queue.clear()
