#!/usr/bin/env python3
"""Finds the AWS provider on this machine, for Terraform where its registry cannot be reached.

A provider mirror is a directory `registry.terraform.io`, a few levels below the home directory or a system directory
for shared data. `terraform_environment` returns an environment in which Terraform and `cdktf` use it;
`terraform_mirror.py COMMAND ...` runs a command in that environment.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROVIDER = "registry.terraform.io/hashicorp/aws"
PROVIDER_VERSION = "5.100.0"
"""The version that cdktf-cdktf-provider-aws 20.1.0 requires."""
ROOTS = (Path.home(), Path("/opt"), Path("/usr/local/share"), Path("/usr/share"))
MAX_DEPTH = 5
"""The depth of Terraform's own directory for mirrors: ~/.local/share/terraform/plugins/registry.terraform.io."""
CONFIG = Path(__file__).resolve().parent.parent / "build" / "terraform-mirror.tfrc"

_NO_MIRRORS = {".git", ".terraform", "__pycache__", "node_modules", "plugin-cache"}
"""`plugin-cache`: `cdktf` lets Terraform cache providers there, and Terraform cannot install from its own cache."""
_MACHINES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def terraform_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ`, changed so that Terraform finds its provider. The user's own configuration has priority."""
    environment = {"CHECKPOINT_DISABLE": "1"} | dict(environ)
    configured = environment.get("TF_CLI_CONFIG_FILE")
    if configured and Path(configured).is_file():
        return environment
    environment.pop("TF_CLI_CONFIG_FILE", None)
    mirror = next(_mirrors(), None)
    if mirror is not None:
        CONFIG.parent.mkdir(exist_ok=True)
        # Atomically: another Terraform may read it meanwhile.
        temporary = CONFIG.with_name(f".{CONFIG.name}.{os.getpid()}")
        temporary.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
        temporary.replace(CONFIG)
        environment["TF_CLI_CONFIG_FILE"] = str(CONFIG)
        # `terraform providers lock` would query the registry for other platforms.
        environment["CDKTF_SKIP_PROVIDER_LOCK"] = "true"
    return environment


def machine() -> str:
    """Return Terraform's name of this platform, such as `linux_amd64`."""
    return f"{platform.system().lower()}_{_MACHINES.get(platform.machine(), platform.machine())}"


def _mirrors() -> Iterator[Path]:
    """Yield the directories that hold a mirror with the provider for this machine."""
    packed = f"terraform-provider-aws_{PROVIDER_VERSION}_{machine()}.zip"
    for root in ROOTS:
        for found in _named("registry.terraform.io", root, MAX_DEPTH):
            provider = found.parent / PROVIDER
            if (provider / PROVIDER_VERSION / machine()).is_dir() or (provider / packed).is_file():
                yield found.parent


def _named(name: str, folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_dir()]  # links included: the depth bounds cycles
    except OSError:  # missing, or not readable
        return
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.name == name:
            yield Path(entry.path)
        elif depth > 1 and entry.name not in _NO_MIRRORS:
            yield from _named(name, Path(entry.path), depth - 1)


if __name__ == "__main__":
    os.execvpe(sys.argv[1], sys.argv[1:], terraform_environment(os.environ))
