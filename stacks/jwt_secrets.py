"""The JWT secrets. No plan, state or committed file holds their values.

Ephemeral Terraform variables feed the write-only argument of a SecureString; functions read it once per cold start. One
parameter holds all secrets, and changed secrets make a parameter of another name. So an environment that starts during
a deploy reads the secrets that its configuration was deployed with, and never half of a change.
Terraform reads variables from its own environment, and synth is not its parent process. Where `TF_VAR_<name>` is not
this stage's value, synth writes the value to a variables file of mode 0600 beside the stack's configuration, the only
file that ever holds it.
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
"""Terraform reads files with this ending by itself."""
SECRETS_IN_ENVIRONMENT = "SLIP_SOCKETS_SECRETS_IN_ENVIRONMENT"
VERSION_BITS = 24
SCRYPT_COST = 2**15


class JwtSecrets(Construct):
    """The SecureString of `JWT_SECRET` and, where there are such, `JWT_PREVIOUS_SECRETS`: a JSON list, newest first.

    `environment` has the variables with which a function finds it, `arns` what the function must be allowed to read,
    `values` the values of Terraform's variables, by name.
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
        # AWS reserves names that begin with `aws` or `ssm`, and a stack's name may begin so.
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
                # The old one is deleted when no function's configuration names it any more.
                lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
            ),
            "jwt_secret",
        )
        # A new name is a new configuration, so that Lambda replaces all environments.
        self.environment = {"JWT_SECRET_PARAMETER": parameter.name}
        # Any version: a role that named one version would lock out the environments that start after the role's change
        # and before that of their configuration.
        any_version = TerraformLocal(self, "any_version", Fn.replace(parameter.arn, "/[0-9]+$/", "*"))
        self.arns = [named(any_version, "jwt_secrets").as_string]

    def _variable(self, name: str) -> str:
        variable = named(TerraformVariable(self, f"{name}_variable", type="string", sensitive=True), name)
        variable.add_override("ephemeral", True)
        return str(variable.string_value)


def secret_version(secret: str, *, salt: str) -> int:
    """Return a number that changes with the secret, so that Terraform sees the change. It reveals almost nothing.

    It is a few bits of a slow, salted hash: guessing secrets against it is slow, and many wrong ones fit.
    """
    digest = hashlib.scrypt(secret.encode(), salt=salt.encode(), n=SCRYPT_COST, r=8, p=1, maxmem=2**26, dklen=4)
    return 1 + int.from_bytes(digest) % (1 << VERSION_BITS)


def remove_private_variables(stacks: Path) -> None:
    """Remove the files of an earlier synth, those of stacks since renamed included."""
    for path in stacks.glob(f"*/{VARIABLES_FILE}"):
        path.unlink()


def write_private_variables(folder: Path, values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Write those of `values` that Terraform does not find in its environment, readable by the user alone.

    Both stages share one `TF_VAR_<name>`, and their secrets may differ. So the variable counts only where it has this
    stage's value; otherwise the file does, which Terraform prefers. `cdktf` hides those variables from synth; a caller
    that sets them, such as the make targets, sets `SECRETS_IN_ENVIRONMENT` too.
    """
    if environ.get(SECRETS_IN_ENVIRONMENT):
        return
    missing = {name: value for name, value in values.items() if environ.get(f"TF_VAR_{name}") != value}
    if missing:
        handle = os.open(folder / VARIABLES_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(missing, file)
