"""`make verify-aws` on a local AWS of its own: the whole of it, the stage that it keeps, and an end in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws import LocalAws
from tools.verify_aws.__main__ import ALL, INTERRUPTED

from ..local_aws.cloud import settings
from .deployment import Deployment, copy_of_the_project

pytestmark = pytest.mark.e2e

COMMAND = ("python", "-m", "tools.verify_aws", "--yes", "--clients", "6", "--minutes", "0.1")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Nothing is deployed."""
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    with LocalAws(settings(max_environments=4)) as aws:
        yield Deployment(project, aws, "http://127.0.0.1:9/not-used")


def left(deployment: Deployment) -> dict[str, Any]:
    return {
        "alarms": deployment.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "apis": deployment.client("apigatewayv2").get_apis()["Items"],
        "functions": deployment.client("lambda").list_functions()["Functions"],
        "groups": deployment.client("logs").describe_log_groups()["logGroups"],
        "queues": deployment.client("sqs").list_queues().get("QueueUrls", []),
        "roles": deployment.client("iam").list_roles()["Roles"],
        "tables": deployment.client("dynamodb").list_tables()["TableNames"],
    }


def holds_nothing(deployment: Deployment) -> bool:
    found = left(deployment)
    return found == {name: [] for name in found} and not (deployment.project / ".verify-aws").exists()


def test_all_lines_have_a_verdict(deployment: Deployment, tmp_path: Path) -> None:
    printed = deployment.run(*COMMAND, "--keep", "--json", str(tmp_path / "lines.json"))
    lines = {line["measurement"]: line for line in json.loads((tmp_path / "lines.json").read_text())}
    assert lines.keys() == {measurement.name for measurement in ALL}
    not_here = {measurement.name for measurement in ALL if measurement.not_here is not None}
    assert {name for name, line in lines.items() if line["verdict"] == "not measurable here"} == not_here
    assert {name for name, line in lines.items() if line["verdict"] == "skipped"} == {"idle-close"}
    assert {line["verdict"] for name, line in lines.items() if name not in not_here | {"idle-close"}} == {"as expected"}
    assert all(line["meaning"].startswith("not measurable on the local AWS: ") for line in map(lines.get, not_here))  # type: ignore[index]
    assert "is kept" in printed


def test_the_kept_stage_is_found_again_and_another_ones_is_not_touched(deployment: Deployment) -> None:
    assert "Takes the stage" in deployment.run(*COMMAND, "--keep", "--only", "R6")
    folder = deployment.project / ".verify-aws"
    folder.rename(deployment.project / ".elsewhere")
    with pytest.raises(AssertionError, match="is not of this folder"):
        deployment.run(*COMMAND)
    (deployment.project / ".elsewhere").rename(folder)
    assert "Nothing is left." in deployment.run(*COMMAND, "--destroy")
    assert holds_nothing(deployment)


def test_it_destroys_after_an_interruption_in_the_middle(deployment: Deployment) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=deployment.project,
        env=deployment.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("cold-starts: "):
                process.send_signal(signal.SIGINT)
                break
        printed = process.stdout.read()
    assert process.returncode == INTERRUPTED, printed
    assert "interrupted" in printed
    assert holds_nothing(deployment)
