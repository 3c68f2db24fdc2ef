"""A second machine plans no change; auditors find nothing in both stages' plans that is not accepted, with a reason, in
`tools/audit/accepted.toml`. On `test_deployment.py`'s deployment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from .deployment import ROOT, STACKS, Deployment, copy_of_the_project

pytestmark = pytest.mark.e2e

AUDIT_BIN = ROOT / ".venv-audit" / "bin"
"""Made by `make`; a test that cannot find it fails."""


OTHER_ZLIB = "import zlib; real = zlib.compressobj; zlib.compressobj = lambda level, *more: real(1, *more)"
"""A sitecustomize.py: a zip has other bytes then, as where another zlib is installed."""


def test_a_second_machine_plans_no_change(deployment: Deployment, tmp_path: Path) -> None:
    """Another folder, time and zlib, and nothing built yet."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(OTHER_ZLIB)
    project = copy_of_the_project(tmp_path / "project")
    deployment.run("node_modules/.bin/cdktf", "synth", cwd=project, PYTHONPATH=str(tmp_path / "python"))
    zips = [next((folder / "build").glob("functions-*.zip")) for folder in (deployment.project, project)]
    assert zips[0].name == zips[1].name
    assert zips[0].read_bytes() != zips[1].read_bytes()
    for stack in STACKS:
        shutil.copy2(deployment.project / f"terraform.{stack}.tfstate", project)
        deployment.terraform(stack, "init", "-input=false", "-no-color", project=project)
        deployment.terraform(stack, "plan", "-input=false", "-no-color", "-detailed-exitcode", project=project)


@pytest.fixture(scope="module")
def plans(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Each stage's plan as for an empty account, and as after its deploy: there the policies' resources are known."""
    folder = tmp_path_factory.mktemp("plans")
    plans = []
    for stack in STACKS:
        for name, options in (("new", [f"-state={folder / 'empty.tfstate'}"]), ("deployed", [])):
            deployment.terraform(stack, "plan", "-no-color", f"-out={folder / 'plan'}", *options)
            plans.append(folder / f"{stack}-{name}.json")
            plans[-1].write_text(deployment.terraform(stack, "show", "-json", str(folder / "plan")))
    return plans


def test_checkov_finds_what_is_accepted_and_nothing_else(plans: list[Path]) -> None:
    files = [argument for path in plans for argument in ("-f", str(path))]
    command = [str(AUDIT_BIN / "checkov"), *files, "--framework", "terraform_plan", "--output", "json"]
    done = subprocess.run(
        [*command, "--compact", "--quiet", "--skip-download"],
        cwd=plans[0].parent,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100
    failed = {(found["check_id"], found["resource"]) for found in report["results"]["failed_checks"]}
    accepted = tomllib.loads((ROOT / "tools" / "audit" / "accepted.toml").read_text())
    assert all(entry["reason"] for entry in accepted.values())
    assert failed == {(check, resource) for check, entry in accepted.items() for resource in entry["resources"]}


def test_parliament_finds_nothing(plans: list[Path]) -> None:
    policies = [
        resource["values"]["policy"]
        for path in plans
        if path.stem.endswith("-deployed")
        for resource in json.loads(path.read_text())["planned_values"]["root_module"]["resources"]
        if resource["type"] == "aws_iam_role_policy"
    ]
    assert len(policies) == 8
    for policy in policies:
        done = subprocess.run(
            [AUDIT_BIN / "parliament", "--json", "--string", policy],
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
