#!/usr/bin/env python3
"""Deploys to the local AWS, and runs a backend for it.

python -m tools.local deploy     deploys the staging stack to `make local-aws`
python -m tools.local chat       runs the demo chat's backend for it
"""

from __future__ import annotations

import os
import platform
import sys

from tools import stages

STACK_NAME = "slip-sockets-local"
"""A stack of its own, so that its state is apart from those of real accounts."""


def environment() -> dict[str, str]:
    """Return the variables that direct a deploy to the local AWS, and build functions for this machine."""
    return {
        "TARGET_URL": os.environ.get("TARGET_URL", "http://127.0.0.1:8000/slip"),
        "JWT_SECRET": os.environ.get("JWT_SECRET", "a-secret-for-the-local-aws-and-nothing-else"),
        "STACK_NAME": STACK_NAME,
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        # Keep the user's real account out of it.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "LAMBDA_ARCHITECTURE": "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64",
        "LAMBDA_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def main(arguments: list[str]) -> int:
    os.environ.pop("AWS_PROFILE", None)
    os.environ |= environment()
    match arguments:
        case ["deploy"]:
            return stages.main(["deploy", "staging", "--auto-approve"])
        case ["chat"]:
            os.environ |= {"OUTPUTS": str(stages.OUTPUTS), "STACK_NAME": f"{STACK_NAME}-staging"}
            os.execv(
                sys.executable, [sys.executable, "-m", "flask", "--app", "examples.chat.app", "run", "--port", "8000"]
            )
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
