from __future__ import annotations

from collections.abc import Iterator

import pytest

from local_aws import LocalAws

from ..local_aws.cloud import settings
from .backend import LobbyBackend
from .deployment import SECRET, Deployment, copy_of_the_project

MAX_ENVIRONMENTS = 6
"""Of each function; those of a backend that hangs are busy for long."""


@pytest.fixture(scope="session")
def backend() -> Iterator[LobbyBackend]:
    with LobbyBackend(SECRET) as backend:
        yield backend


@pytest.fixture(scope="session")
def deployment(backend: LobbyBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both stages, deployed at once by a plain `cdktf deploy`, as the documentation gives it."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    with LocalAws(settings(max_environments=MAX_ENVIRONMENTS)) as aws:
        deployment = Deployment(project, aws, backend.url)
        deployment.cdktf("deploy", "--auto-approve", "--outputs-file", "cdk-outputs.json")
        yield deployment
