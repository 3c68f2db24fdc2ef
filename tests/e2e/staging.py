"""Staging, and the versions that it is deployed as."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slip_sockets import SlipSocketsPublisher

from .backend import ChatBackend
from .deployment import ROOT, STAGING, Deployment
from .traffic import Traffic

NEW_SECRET = "another-e2e-secret-of-more-than-32-bytes"
DEPLOY_STAGING = ("python", "-m", "tools.stages", "deploy", "staging", "--auto-approve")


@dataclass(frozen=True)
class Version:
    """What staging may be deployed as."""

    jwt_secret: str
    previous_secrets: str = ""
    has_moved: bool = True
    worker_starts: bool = True
    kept_warm: int = 0
    release: int = 0
    """Of the code: another one is another zip."""
    inbound: str = "direct"


class Staging:
    """The stage, and the backends before and after its move."""

    def __init__(
        self, deployment: Deployment, first: ChatBackend, moved: ChatBackend, version: Version | None = None
    ) -> None:
        """`version` is what is deployed already."""
        self.first = first
        self.moved = moved
        self.deployment = deployment
        self._version = version

    def become(self, version: Version) -> None:
        if self._version != version:
            self.deploy(version)

    def deploy(self, version: Version) -> None:
        """By the make target's command. It keeps the other stage's entry, and leaves no file with the secret."""
        self._version = None
        deployment = self.deployment
        deployment.target_url = (self.moved if version.has_moved else self.first).url
        deployment.jwt_secret = version.jwt_secret
        self._write_worker(starts=version.worker_starts)
        self._write_release(version.release)
        printed = deployment.run(
            *DEPLOY_STAGING,
            JWT_PREVIOUS_SECRETS=version.previous_secrets,
            STAGING_PROVISIONED_CONCURRENCY=str(version.kept_warm),
            STAGING_INBOUND=version.inbound,
        )
        self._version = version
        files = [path for path in deployment.project.rglob("*") if path.is_file() and path.suffix != ".py"]
        assert deployment.project / f"terraform.{STAGING}.tfstate" in files
        assert [path for path in files if NEW_SECRET.encode() in path.read_bytes()] == []
        assert NEW_SECRET not in printed

    def speak_grip(self, target_url: str) -> None:
        """Deploy it as it is, with another backend and its protocol."""
        self._version = None
        self.deployment.target_url = target_url
        self.deployment.run(
            *DEPLOY_STAGING, STAGING_BACKEND_PROTOCOL="grip", STAGING_INBOUND="", STAGING_OCCUPANCY_EVENTS=""
        )

    def plan(self) -> None:
        """Raises AssertionError if Terraform would change anything now."""
        if self._version is None:
            raise AssertionError("the last deploy failed")
        variables = {"TF_VAR_jwt_secret": self._version.jwt_secret}
        if self._version.previous_secrets:
            variables["TF_VAR_jwt_previous_secrets"] = self._version.previous_secrets
        folder = self.deployment.project / "cdktf.out" / "stacks" / STAGING
        self.deployment.run(
            "terraform", "plan", "-no-color", "-input=false", "-detailed-exitcode", cwd=folder, **variables
        )

    def publisher(self, secret: str) -> SlipSocketsPublisher:
        return self.deployment.publisher(STAGING, secret)

    def traffic(self, secret: str) -> Traffic:
        """Clients and a publisher."""
        backends = {self.first, self.moved}  # which may be one
        return Traffic(self.websocket_url, self.publisher(secret), *backends)

    @property
    def websocket_url(self) -> str:
        return self.deployment.outputs[STAGING]["websocketUrl"]

    @property
    def provisioned(self) -> list[int]:
        """The numbers of environments that are kept warm, of each version of which some are."""
        client = self.deployment.client("lambda")
        configs = client.list_provisioned_concurrency_configs(FunctionName=f"{STAGING}-websocket")
        return [
            config["RequestedProvisionedConcurrentExecutions"] for config in configs["ProvisionedConcurrencyConfigs"]
        ]

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the function that clients reach."""
        client = self.deployment.client("lambda")
        function = client.get_function_configuration(FunctionName=f"{STAGING}-websocket", Qualifier="live")
        variables: dict[str, str] = function["Environment"]["Variables"]
        return variables

    def secrets_of(self, variables: Mapping[str, str]) -> list[str]:
        """Return what a function with these variables reads."""
        found = self.deployment.client("secretsmanager").get_secret_value(
            SecretId=variables["JWT_SECRET_ARN"], VersionId=variables["JWT_SECRET_VERSION"]
        )
        secrets: list[str] = json.loads(found["SecretString"])
        return secrets

    def invoke_worker(self) -> Any:
        """Run the worker with no message."""
        return self.deployment.client("lambda").invoke(FunctionName=f"{STAGING}-deliver", Payload=b'{"Records": []}')

    def _write_release(self, release: int) -> None:
        source = (ROOT / "functions" / "websocket.py").read_text()
        (self.deployment.project / "functions" / "websocket.py").write_text(f"{source}\nRELEASE = {release}\n")

    def _write_worker(self, *, starts: bool) -> None:
        worker = self.deployment.project / "functions" / "deliver.py"
        shutil.copy2(ROOT / "functions" / "deliver.py", worker)
        if starts:
            return
        worker.write_text(f'{worker.read_text()}\nraise RuntimeError("a defect")\n')
        queue = self.deployment.project / "stacks" / "deferred_queue.py"
        patient = "VISIBILITY_TIMEOUT_S = 2 * DELIVER_TIMEOUT_S"
        source = (ROOT / "stacks" / "deferred_queue.py").read_text()
        assert patient in source
        queue.write_text(source.replace(patient, "VISIBILITY_TIMEOUT_S = 15"))  # less to wait for what it leaves


def denied(deployment: Deployment) -> set[tuple[str, str]]:
    """Return each role with each action that it was denied."""
    return {
        (asked.principal.split("/")[1], asked.action)
        for asked in deployment.aws.access_decisions()
        if not asked.allowed
    }
