"""The Python interpreter that functions run under."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path


class RuntimePython:
    """An interpreter with Lambda's packages. `version` is like `3.13`; `architecture` is in Lambda's words.

    Raises ValueError where it cannot run functions.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = path.absolute()  # functions start in folders of their own
        try:
            done = subprocess.run(  # noqa: S603 - the interpreter that the settings name
                [path, "-I", "-c", "import sys, awslambdaric, boto3; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
                check=True,
            )
        except OSError as error:
            raise ValueError(
                f"{path} cannot be started: {error.strerror}. Functions need a Python to run under"
            ) from error
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip().splitlines() or ["it failed"])[-1]
            raise ValueError(f"{path} cannot run functions, it needs awslambdaric and boto3: {reason}") from error
        self.version = done.stdout.strip()
        machine = platform.machine()
        self.architecture = {"aarch64": "arm64", "AMD64": "x86_64"}.get(machine, machine)

    def why_not_run(self, architecture: str | None, runtime: str | None) -> str | None:
        """Return why a function for that architecture and runtime cannot run here, None where it can.

        An argument that is None does not matter.
        """
        if architecture in (None, self.architecture) and runtime in (None, f"python{self.version}"):
            return None
        wanted = " and ".join(filter(None, (architecture, runtime)))
        return (
            f"the function is built for {wanted}, but here run {self.architecture} and python{self.version}. "
            f"Deploy with LAMBDA_ARCHITECTURE={self.architecture} LAMBDA_PYTHON={self.version}"
        )
