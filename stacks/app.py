"""From the environment to `cdktf.out`: both stages, each a stack."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from .settings import read_settings

PROVIDER_LOCK = Path(__file__).with_name("terraform.lock.hcl")


def synthesize(out: Path, environ: Mapping[str, str]) -> None:
    """Write the Terraform configuration of both stages to `out`. Raises InvalidSettings before anything is written."""
    stages, warnings = read_settings(environ)
    _warn(warnings)

    # Slow to import; a wrong setting should be reported at once.
    from cdktf import App

    from .function_package import build
    from .jwt_secrets import remove_private_variables, write_private_variables
    from .slip_sockets_stack import SlipSocketsStack

    remove_private_variables(out / "stacks")
    app = App(outdir=str(out))
    packages = [build(settings.architecture, settings.python) for settings in stages]
    built = list(zip(stages, packages, strict=True))
    slow = dict.fromkeys(settings.python for settings, package in built if not package.is_compiled)
    _warn(
        [
            f"there is no python{python} on PATH to compile the functions with; a cold start takes 5/3 of the time. "
            "Install it, or set LAMBDA_PYTHON to an installed version"
            for python in slow
        ]
    )
    stacks = [SlipSocketsStack(app, settings, package) for settings, package in built]
    app.synth()
    for stack in stacks:
        shutil.copyfile(PROVIDER_LOCK, out / "stacks" / stack.node.id / ".terraform.lock.hcl")
        write_private_variables(out / "stacks" / stack.node.id, stack.secrets.values, environ)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        sys.stderr.write(f"slip-sockets: warning: {warning}\n")
