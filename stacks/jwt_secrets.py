"""The secrets, of which no file, plan or state knows the value.

An ephemeral Terraform variable feeds the write-only argument of a SecureString; functions read it once per cold start.
Terraform takes variables from its own environment, and the synth is not its parent: where `TF_VAR_<name>` is not this
stage's value, synth writes that to a variables file of mode 0600 beside the stack's configuration, the only file that
ever holds it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdktf import TerraformVariable
from constructs import Construct

from .aws import SsmParameter
from .naming import named

VARIABLES_FILE = "secrets.auto.tfvars.json"
"""Terraform reads files of this ending by itself."""
SECRETS_IN_ENVIRONMENT = "SLIP_SOCKETS_SECRETS_IN_ENVIRONMENT"
VERSION_BITS = 24
SCRYPT_COST = 2**15


class JwtSecrets(Construct):
    """The SecureStrings of `JWT_SECRET` and, where there are such, `JWT_PREVIOUS_SECRETS`.

    `environment` is what a function needs to find them, `arns` what it must be allowed to read, `values` what Terraform
    must be told, by variable.
    """

    def __init__(
        self, scope: Construct, id_: str, *, stack_name: str, jwt_secret: str, previous_secrets: Sequence[str]
    ) -> None:
        super().__init__(scope, id_)
        self.values = {"jwt_secret": jwt_secret}
        if previous_secrets:
            self.values["jwt_previous_secrets"] = ",".join(previous_secrets)
        self.environment: dict[str, str] = {}
        self.arns: list[str] = []
        for name, value in self.values.items():
            # AWS reserves names that begin with `aws` or `ssm`; a stack's may.
            parameter_name = f"/slip-sockets/{stack_name}/{name.replace('_', '-')}"
            version = secret_version(value, salt=parameter_name)
            parameter = self._parameter(name, parameter_name, version)
            self.environment[f"{name.upper()}_PARAMETER"] = parameter.name
            # No function reads it: a new one makes Lambda start all environments anew, and they read the new secret.
            self.environment[f"{name.upper()}_VERSION"] = str(version)
            self.arns.append(parameter.arn)

    def _parameter(self, name: str, parameter_name: str, version: int) -> SsmParameter:
        variable = named(TerraformVariable(self, f"{name}_variable", type="string", sensitive=True), name)
        variable.add_override("ephemeral", True)
        parameter = SsmParameter(
            self,
            name,
            name=parameter_name,
            type="SecureString",
            value_wo=variable.string_value,
            value_wo_version=version,
        )
        return named(parameter, name)


def secret_version(secret: str, *, salt: str) -> int:
    """Return a number that changes with the secret, so that Terraform sees a new one, and tells next to nothing of it.

    A few bits of a slow, salted hash: whoever tries out secrets against it is slow, and finds many that fit.
    """
    digest = hashlib.scrypt(secret.encode(), salt=salt.encode(), n=SCRYPT_COST, r=8, p=1, maxmem=2**26, dklen=4)
    return 1 + int.from_bytes(digest) % (1 << VERSION_BITS)


def remove_private_variables(stacks: Path) -> None:
    """Remove what an earlier synth left, also for stacks that have another name by now."""
    for path in stacks.glob(f"*/{VARIABLES_FILE}"):
        path.unlink()


def write_private_variables(folder: Path, values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Write those of `values` that Terraform's environment does not give it, for nobody else to read.

    `TF_VAR_<name>` is one for both stages, whose secrets may differ. So it counts where it is this stage's value, and
    else the file does, which Terraform prefers. `cdktf` hides those variables from the synth; whoever starts it with
    them set, as the make targets do, says so with `SECRETS_IN_ENVIRONMENT`.
    """
    if environ.get(SECRETS_IN_ENVIRONMENT):
        return
    missing = {name: value for name, value in values.items() if environ.get(f"TF_VAR_{name}") != value}
    if missing:
        handle = os.open(folder / VARIABLES_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(missing, file)
