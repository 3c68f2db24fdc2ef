"""Whether Terraform's state, if it is beside the outputs file, has the same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from .findings import CannotCheck, Finding, fine, wrong
from .settings import DoctorSettings

NEEDED = "The state file; a state in a bucket (STATE_BUCKET) is not read"


async def check_state(settings: DoctorSettings) -> list[Finding]:
    """Raises CannotCheck."""
    path = settings.path.parent / f"terraform.{settings.stack}.tfstate"
    return judge(settings, path, read_outputs_of_state(path))


def read_outputs_of_state(path: Path) -> dict[str, Any]:
    """Return the outputs in a state file. Raises CannotCheck."""
    try:
        outputs = json.loads(path.read_bytes())["outputs"]
        return {name: output["value"] for name, output in outputs.items()}
    except FileNotFoundError as error:
        raise CannotCheck(f"there is no {path}", NEEDED) from error
    except OSError as error:
        raise CannotCheck(f"cannot read {path}: {error.strerror}", NEEDED) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CannotCheck(f"{path} is not a state of Terraform", NEEDED) from error


def judge(settings: DoctorSettings, path: Path, of_state: dict[str, Any]) -> list[Finding]:
    if not of_state:
        return [wrong("state", f"{path} has no outputs: the deployment was removed", "Deploy again")]
    of_file: dict[str, str] = msgspec.to_builtins(settings.outputs)
    differing = [name for name, value in of_file.items() if of_state.get(name) != value]
    if not differing:
        return [fine("state", f"{path} has the same outputs")]
    finding = f"{settings.path} and {path} differ in {', '.join(differing)}"
    return [wrong("state", finding, "Run `make outputs`")]
