"""The secrets, of which no file, plan or state knows the value.

Ephemeral Terraform variables feed the write-only argument of a SecureString; functions read it once per cold start. One
parameter holds all secrets, and other secrets are another parameter, by name: so an environment that starts while a
deploy is under way reads what its configuration was deployed with, and never half of a change.
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

from cdktf import Fn, TerraformLocal, TerraformResourceLifecycle, TerraformVariable
from constructs import Construct

from .aws import SsmParameter
from .naming import named

VARIABLES_FILE = "secrets.auto.tfvars.json"
"""Terraform reads files of this ending by itself."""
SECRETS_IN_ENVIRONMENT = "SLIP_SOCKETS_SECRETS_IN_ENVIRONMENT"
VERSION_BITS = 24
SCRYPT_COST = 2**15


class JwtSecrets(Construct):
    """The SecureString of `JWT_SECRET` and, where there are such, `JWT_PREVIOUS_SECRETS`: a JSON list, newest first.

    `environment` is what a function needs to find it, `arns` what it must be allowed to read, `values` what Terraform
    must be told, by variable.
    """

    def __init__(
        self, scope: Construct, id_: str, *, stack_name: str, jwt_secret: str, previous_secrets: Sequence[str]
    ) -> None:
        super().__init__(scope, id_)
        self.values = {"jwt_secret": jwt_secret}
        if previous_secrets:
            self.values["jwt_previous_secrets"] = ",".join(previous_secrets)
        variables = [self._variable(name) for name in self.values]
        secrets = [[variables[0]], *(Fn.split(",", variable) for variable in variables[1:])]
        # AWS reserves names that begin with `aws` or `ssm`; a stack's may.
        path = f"/slip-sockets/{stack_name}/jwt-secret"
        version = secret_version(json.dumps([jwt_secret, *previous_secrets]), salt=path)
        parameter = named(
            SsmParameter(
                self,
                "jwt_secret",
                name=f"{path}/{version}",
                type="SecureString",
                value_wo=Fn.jsonencode(Fn.concat(secrets)),
                value_wo_version=version,
                # The old one goes when no function's configuration names it any more.
                lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
            ),
            "jwt_secret",
        )
        # A new name is a new configuration: Lambda starts all environments anew.
        self.environment = {"JWT_SECRET_PARAMETER": parameter.name}
        # Any version: a role that named one would lock out environments that start between its change and theirs.
        any_version = TerraformLocal(self, "any_version", Fn.replace(parameter.arn, "/[0-9]+$/", "*"))
        self.arns = [named(any_version, "jwt_secrets").as_string]

    def _variable(self, name: str) -> str:
        variable = named(TerraformVariable(self, f"{name}_variable", type="string", sensitive=True), name)
        variable.add_override("ephemeral", True)
        return str(variable.string_value)


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
