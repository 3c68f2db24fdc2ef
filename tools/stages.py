#!/usr/bin/env python3
"""Runs `cdktf` for one stage, as `make deploy-staging` and similar targets do.

    python -m tools.stages deploy|diff|destroy staging|production [options for cdktf]
    python -m tools.stages outputs

`cdktf` writes an outputs file with only the stacks of its run. Here that is a temporary file: a stage's entry is added
to `cdk-outputs.json` after a successful deploy, and removed after a destroy. Terraform gets the secrets in its
environment, so that no file holds them. What cannot succeed is refused before `cdktf` starts (`tools.before_deploy`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slip_sockets.protocol.errors import InvalidSettings
from stacks.settings import STAGES, StageSettings, read_settings
from tools.aws_login import Login, log_in
from tools.before_deploy import refuse_what_cannot_succeed
from tools.terraform_mirror import terraform_environment

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ROOT / "cdk-outputs.json"
CDKTF = ROOT / "node_modules" / ".bin" / "cdktf"
ACTIONS = ("deploy", "diff", "destroy")


def main(arguments: list[str]) -> int:
    """Return the exit code of `cdktf`, or 1 where settings or credentials are wrong."""
    try:
        return run(arguments)
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"slip-sockets: {problem}", file=sys.stderr)
        return 1


def run(arguments: list[str]) -> int:
    """Raises InvalidSettings."""
    stages, _ = read_settings(os.environ)  # main.py prints the warnings
    match arguments:
        case ["outputs"]:
            return rebuild_outputs(stages)
        case [action, stage, *options] if action in ACTIONS and stage in STAGES:
            (settings,) = (settings for settings in stages if settings.stage == stage)
            return run_cdktf(action, settings, options)
    print(__doc__, file=sys.stderr)
    return 2


def run_cdktf(action: str, settings: StageSettings, options: list[str]) -> int:
    login = log_in(settings.region)
    for note in refuse_what_cannot_succeed(action, settings, login, ROOT):
        print(f"slip-sockets: {note}", file=sys.stderr)
    where = f"{settings.region} ({settings.region_source})"
    account = f"account {login.account_id}, " if login.account_id else ""
    print(f"slip-sockets: {settings.stack_name}: {account}region {where}", file=sys.stderr, flush=True)
    environment = environment_for(settings, login)
    fresh = ROOT / "build" / f"outputs-{settings.stack_name}.json"
    if action == "deploy":
        fresh.parent.mkdir(exist_ok=True)
        fresh.unlink(missing_ok=True)
        environment["CDKTF_OUTPUTS_FILE"] = str(fresh)
    code = subprocess.run(
        [CDKTF, action, settings.stack_name, *options], cwd=ROOT, env=environment, check=False
    ).returncode
    if code == 0 and action == "deploy" and fresh.exists():
        outputs = read_outputs(OUTPUTS) | read_outputs(fresh)
        write_outputs(OUTPUTS, outputs)
        fresh.unlink()
        # `cdktf` has just printed the name of the temporary file.
        print(f"{OUTPUTS.name} now has the outputs of: {', '.join(sorted(outputs))}")
    if code == 0 and action == "destroy":
        others = {name: outputs for name, outputs in read_outputs(OUTPUTS).items() if name != settings.stack_name}
        write_outputs(OUTPUTS, others)
    return code


def environment_for(settings: StageSettings, login: Login | None = None) -> dict[str, str]:
    """Return the environment for `cdktf`: the stage's secrets as Terraform variables, the project's Python first."""
    environ = login.environment(os.environ, settings.region) if login else os.environ
    environment = terraform_environment(environ)
    environment["SLIP_SOCKETS_SECRETS_IN_ENVIRONMENT"] = "1"
    environment["TF_VAR_jwt_secret"] = settings.jwt_secret
    if settings.previous_secrets:
        environment["TF_VAR_jwt_previous_secrets"] = ",".join(settings.previous_secrets)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    return environment


def rebuild_outputs(stages: list[StageSettings]) -> int:
    """Write the outputs file again from the Terraform states, with an entry for each deployed stage."""
    login = log_in(stages[0].region) if any(settings.state_bucket for settings in stages) else None
    environment = environment_for(stages[0], login)
    code = subprocess.run([CDKTF, "synth"], cwd=ROOT, env=environment, check=False).returncode
    if code:
        return code
    try:
        entries = {settings.stack_name: outputs_of(settings, login) for settings in stages}
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return int(error.returncode)
    outputs = {name: entry for name, entry in entries.items() if entry}
    write_outputs(OUTPUTS, outputs)
    print(f"{OUTPUTS.name}: {', '.join(outputs) or 'nothing is deployed'}")
    return 0


def outputs_of(settings: StageSettings, login: Login | None) -> dict[str, Any]:
    """Return the outputs in a stage's state; empty where it is not deployed. Raises CalledProcessError."""

    def terraform(*arguments: str) -> str:
        folder = ROOT / "cdktf.out" / "stacks" / settings.stack_name
        command = ["terraform", *arguments]
        environment = environment_for(settings, login)
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout

    terraform("init", "-input=false", "-no-color")
    return {name: output["value"] for name, output in json.loads(terraform("output", "-json")).items()}


def read_outputs(path: Path) -> dict[str, Any]:
    """Return an outputs file's entries by stack; empty where there is no file."""
    if not path.exists():
        return {}
    entries = json.loads(path.read_text())
    return dict(entries)


def write_outputs(path: Path, outputs: Mapping[str, Any]) -> None:
    """Replace the file atomically: a reader sees the whole old file or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(outputs, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
