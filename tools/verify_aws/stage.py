"""The stage of `make verify-aws`: made, planned and destroyed by Terraform, with its state in a folder of its own."""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.exceptions
from botocore.credentials import Credentials

from slip_sockets.protocol.errors import InvalidSettings
from stacks.settings import StageSettings, read_settings
from tools.aws_login import Login, log_in
from tools.stages import ROOT, environment_for

FOLDER = ROOT / ".verify-aws"
"""What a kept stage is found by again; `make clean` leaves it."""
_PASSED_ON = ("AWS_", "LAMBDA_ARCHITECTURE", "LAMBDA_PYTHON")
"""The user's settings that count. Domains, mail addresses and the bucket for the state are not for this stage."""


class Refused(Exception):
    """The stage must not be made here. The text says why, and what to do."""


class TerraformFailed(Exception):
    """The text is the end of what Terraform printed."""


class Stage:
    """A stage, deployed or not. `folder` has its secret, owner and state."""

    def __init__(self, stack: str, environ: Mapping[str, str], folder: Path = FOLDER) -> None:
        self.folder = folder
        self.region, self.account = "", ""
        self._owner = folder / "owner.json"
        self._secret = self._kept().get("secret") or secrets.token_hex(32)
        passed_on = {name: value for name, value in environ.items() if name.startswith(_PASSED_ON)}
        own = {"STACK_NAME": stack, "TARGET_URL": "https://replaced.invalid/", "JWT_SECRET": self._secret}
        self._variables = passed_on | own
        self.settings: StageSettings
        self.change()
        self.region = self.settings.region

    def change(self, **variables: str) -> None:
        """Read the settings with these variables too: the next deploy has them. Raises InvalidSettings."""
        (self.settings, _), _ = read_settings(self._variables | variables)  # staging's

    @property
    def name(self) -> str:
        return self.settings.stack_name

    @property
    def is_local(self) -> bool:
        """Whether AWS is the local one."""
        return any(at in os.environ.get("AWS_ENDPOINT_URL", "") for at in ("//127.0.0.1", "//localhost"))

    @property
    def is_kept(self) -> bool:
        """Whether an earlier run has left it."""
        return bool(self._kept())

    @functools.cached_property
    def login(self) -> Login:
        """Raises InvalidSettings where there are no credentials, or AWS refuses them."""
        return log_in(self.region)

    @property
    def credentials(self) -> Credentials:
        """Raises InvalidSettings."""
        credentials = self.login.session.get_credentials()
        if credentials is None:
            raise InvalidSettings(["there are no AWS credentials"])
        return credentials

    def client(self, service: Any) -> Any:
        return self.login.session.client(service)

    def check(self) -> None:
        """Raises InvalidSettings without credentials, Refused where a stage of that name is not ours to change."""
        self.account = self.login.account_id or self.client("sts").get_caller_identity()["Account"]
        kept = self._kept()
        mine = {"stack": self.name, "account": self.account, "region": self.region}
        if kept and {name: kept.get(name) for name in mine} != mine:
            where = f"{kept.get('stack')} in account {kept.get('account')}, {kept.get('region')}"
            raise Refused(f"{self.folder.name} is of the stage {where}. Destroy that first, with its credentials")
        if not kept and self._exists():
            raise Refused(
                f"{self.name} exists in account {self.account} and is not of this folder. Take another --stack"
            )

    def deploy(self) -> None:
        from stacks.verification import synthesize_verification  # slow to import

        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._owner.touch(mode=0o600)
        owner = {"stack": self.name, "account": self.account, "region": self.region, "secret": self._secret}
        self._owner.write_text(json.dumps(owner))
        synthesize_verification(self.folder / "cdktf.out", self.settings)
        self._terraform("init", "-input=false")
        self._terraform("apply", "-auto-approve", "-input=false", "-lock-timeout=300s")

    def changes(self) -> list[str]:
        """Return the addresses that another apply would change."""
        plan = self.folder / "plan"
        self._terraform("plan", "-input=false", f"-out={plan}")
        shown = json.loads(self._terraform("show", "-json", str(plan)))
        plan.unlink()
        changed = [one["address"] for one in shown["resource_changes"] if one["change"]["actions"] != ["no-op"]]
        return changed + [
            f"output {name}"
            for name, output in shown.get("output_changes", {}).items()
            if output["actions"] != ["no-op"]
        ]

    def outputs(self) -> dict[str, str]:
        return {name: output["value"] for name, output in json.loads(self._terraform("output", "-json")).items()}

    def destroy(self, *, forget: bool = True) -> None:
        """Remove all of it; with `forget`, the folder too. Raises TerraformFailed, and then keeps the folder."""
        if self._configuration.exists():
            self._terraform("destroy", "-auto-approve", "-input=false", "-lock-timeout=300s")
        if forget:
            shutil.rmtree(self.folder, ignore_errors=True)

    def left(self) -> list[str]:
        """Return the addresses of the state; without a state that can be read, none."""
        try:
            return self._terraform("state", "list").split()
        except TerraformFailed:
            return []

    @property
    def _configuration(self) -> Path:
        return self.folder / "cdktf.out" / "stacks" / self.name

    def _kept(self) -> dict[str, str]:
        return json.loads(self._owner.read_text()) if self._owner.exists() else {}

    def _exists(self) -> bool:
        calls: list[Callable[[], Any]] = [
            lambda: self.client("lambda").get_function(FunctionName=f"{self.name}-websocket"),
            lambda: self.client("dynamodb").describe_table(TableName=f"{self.name}-Connections"),
        ]
        for call in calls:
            try:
                call()
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "ResourceNotFoundException":
                    raise
            else:
                return True
        return False

    def _terraform(self, *arguments: str) -> str:
        """Ctrl-C reaches Terraform as one SIGINT, at which it finishes what it has begun and writes its state."""
        environment = environment_for(self.settings, self.login) | {
            "TF_VAR_backend_secret": self._secret,
            "TF_IN_AUTOMATION": "1",
        }
        process = subprocess.Popen(
            ["terraform", arguments[0], *(["-no-color"] if arguments[0] != "state" else []), *arguments[1:]],
            cwd=self._configuration,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            printed, problem = process.communicate()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.communicate()
            raise
        if process.returncode:
            raise TerraformFailed(f"terraform {arguments[0]}: {problem.strip()[-3000:]}")
        return printed
