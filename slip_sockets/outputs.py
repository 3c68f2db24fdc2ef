"""The outputs file, which says where each deployment is: `cdk-outputs.json`, or `slip-sockets dev`'s."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from .errors import InvalidSettings

DEPLOYED_OUTPUTS = Path("cdk-outputs.json")
DEV_OUTPUTS = Path("cdk-outputs.dev.json")
INSTEAD = "Deploy first, or start `slip-sockets dev`"


class Outputs(msgspec.Struct, frozen=True, rename="camel"):
    """A deployment's entry. What is not in the file is empty; a development server's `region` is `local`."""

    control_api: str = ""
    websocket_url: str = ""
    target_url: str = ""
    region: str = ""


def read_all_outputs(path: str | os.PathLike[str], *, instead: str = INSTEAD) -> dict[str, Outputs]:
    """Return all deployments' by stack. Raises InvalidSettings, where nothing can be read with what to do `instead`."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Outputs])
    except OSError as error:
        raise InvalidSettings([f"cannot read {path}: {error.strerror}. {instead}"]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings([f"{path} is no outputs file: {error}"]) from error


def read_outputs(path: str | os.PathLike[str], stack: str, *, instead: str = INSTEAD) -> Outputs:
    """Return what the file says of one deployment. Raises InvalidSettings."""
    outputs = read_all_outputs(path, instead=instead)
    if stack not in outputs:
        raise InvalidSettings([f"{path} has no stack {stack!r}. It has: {', '.join(sorted(outputs)) or 'none'}"])
    return outputs[stack]
