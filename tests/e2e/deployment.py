"""A copy of the project, deployed to a local AWS by the real `cdktf`, Terraform and AWS provider."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from local_aws import LocalAws, Strictness
from slip_sockets import SlipSocketsPublisher
from tools.terraform_mirror import terraform_environment

from ..local_aws.cloud import settings

ROOT = Path(__file__).resolve().parents[2]
SECRET = "the-e2e-secret-of-more-than-32-bytes"
PRODUCTION, STAGING = "e2e-sockets", "e2e-sockets-staging"
STACKS = (PRODUCTION, STAGING)
INLINE_LIMIT = 20
"""Small, so that a handful of sockets is a large channel."""
MAX_ENVIRONMENTS = 6
"""Of each function; those of a backend that hangs are busy for long."""
ALIAS_MOVE_S = 60.0
"""For how long AWS gives an alias that moves routing weights, where it has provisioned concurrency of its own."""


def copy_of_the_project(folder: Path) -> Path:
    """Copy the files that git tracks or would track, and link what npm installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "node_modules").symlink_to(ROOT / "node_modules")
    return folder


@dataclass
class Deployment:
    """Runs commands in a copy of the project against a local AWS; `printed` is their output."""

    project: Path
    aws: LocalAws
    target_url: str
    jwt_secret: str = SECRET
    printed: list[str] = field(default_factory=list)
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return _environment_of_tools() | {
            **self.aws.environment,
            "CI": "true",
            "GOGC": "400",  # Terraform and its provider, which live for seconds, spend a third less of the processor
            "TARGET_URL": self.target_url,
            "JWT_SECRET": self.jwt_secret,
            "STACK_NAME": PRODUCTION,
            "INLINE_LIMIT": str(INLINE_LIMIT),
            "ALARM_EMAIL": "operators@example.com",
            "STAGING_TRACING": "true",
            "STAGING_INBOUND": "ordered",
            "STAGING_OCCUPANCY_EVENTS": "true",
            "LAMBDA_ARCHITECTURE": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
            "LAMBDA_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        }

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        """Run a command and return what it printed. Raises AssertionError with that where it fails.

        It runs under `nice`: functions have time limits, a deploy has none.
        """
        done = subprocess.run(
            ("nice", *command),
            cwd=cwd or self.project,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.printed.append(done.stdout)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def deploy_both(self) -> None:
        """By a plain `cdktf deploy`, as the documentation gives it."""
        self.cdktf("deploy", "--auto-approve", "--outputs-file", "cdk-outputs.json")

    def cdktf(self, action: str, *options: str) -> str:
        return self.run("node_modules/.bin/cdktf", action, *STACKS, *options)

    def terraform(self, stack: str, *arguments: str, project: Path | None = None) -> str:
        return self.run("terraform", *arguments, cwd=(project or self.project) / "cdktf.out" / "stacks" / stack)

    @property
    def outputs(self) -> dict[str, dict[str, str]]:
        loaded: dict[str, dict[str, str]] = json.loads((self.project / "cdk-outputs.json").read_text())
        return loaded

    def client(self, service: Any) -> Any:
        """Return a client of boto3 for the local AWS, with a user's rights."""
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=self.aws.url,
                region_name="us-east-1",
                aws_access_key_id="local",
                aws_secret_access_key="local",
            )
        return self._clients[service]

    def function_arn(self, name: str) -> str:
        arn = self.client("lambda").get_function(FunctionName=name)["Configuration"]["FunctionArn"]
        return str(arn)

    def publisher(self, stack: str, secret: str = SECRET) -> SlipSocketsPublisher:
        return SlipSocketsPublisher.from_outputs(self.project / "cdk-outputs.json", stack=stack, jwt_secret=secret)

    def log_lines(self, function: str) -> list[dict[str, Any]]:
        """Return what a function has logged so far; the local AWS writes it a little later."""
        found = self.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")["events"]
        return [json.loads(event["message"]) for event in found]

    def warnings(self, *, since: float) -> str:
        """Return the warnings and errors that all functions have logged from `since` on (Unix seconds)."""
        logs, start = self.client("logs"), int(since * 1000)
        groups = logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]
        return "\n".join(
            f"{group['logGroupName']}: {event['message']}"
            for group in groups
            for event in logs.filter_log_events(logGroupName=group["logGroupName"], startTime=start)["events"]
            if "WARNING" in event["message"] or "ERROR" in event["message"]
        )

    def connections(self, stack: str) -> list[dict[str, Any]]:
        """Return the rows of a stack's table `Connections`."""
        rows: list[dict[str, Any]] = self.client("dynamodb").scan(TableName=f"{stack}-Connections")["Items"]
        return rows


@cache  # the search for a mirror of the provider takes a second
def _environment_of_tools() -> dict[str, str]:
    kept = ("HOME", "PATH", "TMPDIR", "TF_CLI_CONFIG_FILE", "PIP_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE")
    environment = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return terraform_environment(environment)


@contextmanager
def not_deployed(folder: Path, target_url: str) -> Iterator[Deployment]:
    """A copy of the project, and a local AWS with nothing in it."""
    strictness = Strictness(alias_move_s=ALIAS_MOVE_S)
    with LocalAws(replace(settings(max_environments=MAX_ENVIRONMENTS), strictness=strictness)) as aws:
        yield Deployment(copy_of_the_project(folder), aws, target_url)
