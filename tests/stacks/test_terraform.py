"""Terraform and the real AWS provider agree with what is synthesized."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .synthesis import PRODUCTION, Stack, Synthesis

pytestmark = pytest.mark.terraform


@pytest.fixture(scope="module")
def validate(
    tmp_path_factory: pytest.TempPathFactory, terraform_environment: dict[str, str]
) -> Callable[[Stack], None]:
    """Validates copies of stacks. All need the same provider, so it is installed once."""
    shared = tmp_path_factory.mktemp("terraform")
    environment = terraform_environment | {"TF_DATA_DIR": str(shared / "data")}

    def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["terraform", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    def validate(stack: Stack) -> None:
        folder = tmp_path_factory.mktemp("stack")
        shutil.copytree(stack.folder, folder, dirs_exist_ok=True)
        # The provider is the one that the committed lock names, or none.
        done = terraform(folder, "init", "-backend=false", "-input=false", "-no-color", "-lockfile=readonly")
        assert done.returncode == 0, done.stderr
        done = terraform(folder, "validate", "-json")
        assert json.loads(done.stdout)["diagnostics"] == []
        assert done.returncode == 0

    return validate


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="defaults"),
        pytest.param({"DOMAIN_NAME": "ws.example.com"}, id="custom domain"),
        pytest.param({"STATE_BUCKET": "our-states", "JWT_PREVIOUS_SECRETS": "s"}, id="remote state, previous secrets"),
        pytest.param({"LAMBDA_ARCHITECTURE": "x86_64", "LAMBDA_PYTHON": "3.12"}, id="x86_64"),
        pytest.param({"ACCESS_LOGS": "true"}, id="access logs"),
        pytest.param({"PROVISIONED_CONCURRENCY": "2"}, id="kept warm"),
        pytest.param({"INBOUND": "ordered"}, id="texts in order"),
    ],
)
def test_configuration_is_valid(
    synth: Callable[..., Synthesis], validate: Callable[[Stack], None], settings: dict[str, str]
) -> None:
    validate(synth(**settings).stack(PRODUCTION))
