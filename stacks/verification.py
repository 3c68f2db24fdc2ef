"""The stack of `make verify-aws`: a staging stage, and a backend of its own behind a function URL.

It is no part of `main.py`'s app: users never deploy it with their stages.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import shutil
import zipfile
from pathlib import Path

from cdktf import App, AssetType, TerraformAsset, TerraformVariable
from constructs import Construct

from .app import PROVIDER_LOCK
from .aws import LambdaFunctionUrl, LambdaPermission
from .function_package import ROOT, FunctionPackage, build
from .naming import named
from .python_function import FunctionCode, PythonFunction
from .settings import StageSettings
from .slip_sockets_stack import MEMORY_MB, SlipSocketsStack

BACKEND_SECRET = "backend_secret"  # noqa: S105 - a variable's name
"""The Terraform variable with the backend's JWT_SECRET. It is in the state and in the function's configuration, unlike
that of a user's deployment: it is made for this stage, and goes with it."""
BACKEND_TIMEOUT_S = 29
_URL = "backend"
_TARGET_URL = f"${{aws_lambda_function_url.{_URL}.function_url}}"
_ADDED = {
    "functions/backend.py": ROOT / "tools" / "verify_aws" / "backend.py",
    "slip_sockets/client/__init__.py": ROOT / "slip_sockets" / "client" / "__init__.py",
    "slip_sockets/client/connection.py": ROOT / "slip_sockets" / "client" / "connection.py",
}
"""What the backend's zip has beside the contents of the functions' zip: the part of the client library it needs."""


def verification_settings(settings: StageSettings) -> StageSettings:
    """Return the settings with the URL of the stack's own backend, which Terraform knows after it has made it."""
    return dataclasses.replace(settings, target_url=_TARGET_URL)


def synthesize_verification(out: Path, settings: StageSettings) -> Path:
    """Write the Terraform configuration to `out`, and return the folder in which Terraform runs.

    Its state is beside `out`. Raises InvalidSettings where the wheels cannot be downloaded.
    """
    app = App(outdir=str(out))
    package = build(settings.architecture, settings.python)
    VerificationStack(app, verification_settings(settings), package, _backend_zip(package, out))
    app.synth()
    folder = out / "stacks" / settings.stack_name
    shutil.copyfile(PROVIDER_LOCK, folder / ".terraform.lock.hcl")
    return folder


class VerificationStack(SlipSocketsStack):
    """A stage with the URL of a function in the same stack as its `TARGET_URL`."""

    def __init__(self, scope: Construct, settings: StageSettings, package: FunctionPackage, backend: Path) -> None:
        super().__init__(scope, settings, package)
        VerifyBackend(self, "verify_backend", settings=settings, code=backend)


class VerifyBackend(Construct):
    """The backend: a function with a public URL, which accepts what SLIP Sockets has signed, as any backend does."""

    def __init__(self, scope: Construct, id_: str, *, settings: StageSettings, code: Path) -> None:
        super().__init__(scope, id_)
        digest = hashlib.sha256(code.read_bytes())
        asset = TerraformAsset(self, "code", path=str(code), type=AssetType.FILE, asset_hash=digest.hexdigest())
        secret = named(TerraformVariable(self, "secret", type="string", sensitive=True), BACKEND_SECRET)
        function = PythonFunction(
            self,
            "backend",
            stack_name=settings.stack_name,
            code=FunctionCode(
                asset, base64.b64encode(digest.digest()).decode(), settings.architecture, settings.python
            ),
            description="The backend of make verify-aws",
            timeout_s=BACKEND_TIMEOUT_S,
            memory_mb=MEMORY_MB,
            log_retention_days=1,
            environment={"JWT_SECRET": secret.string_value},
            allows=[],
        )
        url = LambdaFunctionUrl(self, "url", function_name=function.function_name, authorization_type="NONE")
        named(url, _URL)
        # Since October 2025 a new function URL needs both, also where it is public.
        # https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
        for action, auth_type in (("InvokeFunctionUrl", "NONE"), ("InvokeFunction", None)):
            permission = LambdaPermission(
                self,
                action,
                statement_id=f"public-{action}",
                action=f"lambda:{action}",
                function_name=function.function_name,
                principal="*",
                function_url_auth_type=auth_type,
            )
            named(permission, f"backend_{action}")


def _backend_zip(package: FunctionPackage, out: Path) -> Path:
    """Return the backend's zip: the functions' own, so that it runs as they do, and what it needs beside that."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "backend.zip"
    shutil.copyfile(package.path, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, source in _ADDED.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, source.read_bytes())
    return path
