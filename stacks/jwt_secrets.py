"""The JWT secrets. No plan, state or committed file holds their values.

Ephemeral Terraform variables feed the write-only argument of a secret's version in Secrets Manager; functions read it
once per cold start. One secret holds all values, and changed values make another version of it. A function's
configuration names its version, so that an environment that starts during a deploy reads what its configuration was
deployed with, and never half of a change.

The version before stays readable: for the published version of a function that an alias is moving away from, and for a
configuration that a failed deploy did not replace. When Terraform destroys it, it loses a staging label at most, and
Secrets Manager deletes versions without labels only when a secret has more than 100 of them.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html

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

from cdktf import Fn, TerraformResourceLifecycle, TerraformVariable
from constructs import Construct

from .aws import SecretsmanagerSecret, SecretsmanagerSecretVersion
from .naming import named

VARIABLES_FILE = "secrets.auto.tfvars.json"
"""Terraform reads files with this ending by itself."""
SECRETS_IN_ENVIRONMENT = "SLIP_SOCKETS_SECRETS_IN_ENVIRONMENT"
VERSION_BITS = 24
SCRYPT_COST = 2**15


class JwtSecrets(Construct):
    """`JWT_SECRET` and, where there are such, `JWT_PREVIOUS_SECRETS`, as one secret: a JSON list, newest first.

    `environment` has the variables with which a function finds it, `arn` is what the function must be allowed to read,
    `values` has the values of Terraform's variables, by name.
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
        # Not `jwt-secret`: by a hyphen with six characters AWS recognizes the end of a secret's ARN.
        # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
        name = f"slip-sockets/{stack_name}/jwt-secrets"
        secret = named(
            SecretsmanagerSecret(
                self,
                "secret",
                name=name,
                description=f"JWT_SECRET and JWT_PREVIOUS_SECRETS of {stack_name}",
                # With a recovery window the name would stay taken for 7 days or more, and a stage that was destroyed
                # could not be deployed again. Whoever deploys has the values.
                # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html
                recovery_window_in_days=0,
            ),
            "jwt_secrets",
        )
        version = named(
            SecretsmanagerSecretVersion(
                self,
                "version",
                secret_id=secret.id,
                secret_string_wo=Fn.jsonencode(Fn.concat(secrets)),
                secret_string_wo_version=secret_version(json.dumps([jwt_secret, *previous_secrets]), salt=name),
                # The old one is destroyed when no function's configuration names it any more.
                lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
            ),
            "jwt_secrets",
        )
        self.arn: str = secret.arn
        # Another version is another configuration, so that Lambda replaces all environments.
        self.environment = {"JWT_SECRET_ARN": secret.arn, "JWT_SECRET_VERSION": version.version_id}

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
