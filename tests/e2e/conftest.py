from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator

import pytest

from .backend import ChatBackend
from .deployment import SECRET, Deployment, not_deployed
from .faults import Faults
from .queues import StageQueue, dead_letters
from .room import Room, open_room
from .staging import Staging


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What fails is reported with the warnings and errors that the functions of its deployment logged meanwhile."""
    report = yield
    staging, deployment = item.funcargs.get("staging"), item.funcargs.get("deployment")
    if isinstance(staging, Staging):
        deployment = staging.deployment
    if report.failed and isinstance(deployment, Deployment):
        try:
            warnings = deployment.warnings(since=call.start)
        except Exception as error:  # noqa: BLE001 - to raise here would end all tests
            warnings = f"they cannot be read: {error!r}"
        report.sections.append(("warnings and errors of the functions", warnings))
    return report


@pytest.fixture(scope="session")
def backend() -> Iterator[ChatBackend]:
    with ChatBackend(SECRET) as backend:
        yield backend


@pytest.fixture(scope="session")
def deployment(backend: ChatBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both stages."""
    with not_deployed(tmp_path_factory.mktemp("project"), backend.url) as deployment:
        deployment.deploy_both()
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
