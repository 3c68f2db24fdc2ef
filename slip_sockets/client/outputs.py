"""The outputs file with the URLs of each deployment: `cdk-outputs.json`, or that of `slip-sockets dev`."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ..protocol.errors import InvalidSettings
from ..protocol.json_files import NotSuchAFile, read_json_file

DEPLOYED_OUTPUTS = Path("cdk-outputs.json")
DEV_OUTPUTS = Path("cdk-outputs.dev.json")
INSTEAD = "Deploy first, or start `slip-sockets dev`"


class Outputs(msgspec.Struct, frozen=True, rename="camel"):
    """A deployment's entry. A missing value is empty; a development server's `region` is `local`.

    `grip_url` is GRIP_URL without its key, where the backend speaks GRIP.
    """

    control_api: str = ""
    websocket_url: str = ""
    target_url: str = ""
    region: str = ""
    grip_url: str | msgspec.UnsetType = msgspec.UNSET


def read_all_outputs(path: str | os.PathLike[str], *, instead: str = INSTEAD) -> dict[str, Outputs]:
    """Return the entries of all deployments, by stack.

    Raises InvalidSettings; its text ends in `instead`, what to do about it.
    """
    try:
        return read_json_file(path, dict[str, Outputs])
    except OSError as error:
        raise InvalidSettings([f"cannot read {path}: {error.strerror}. {instead}"]) from error
    except NotSuchAFile as error:
        raise InvalidSettings([f"{path} is not an outputs file: {error}. {instead}"]) from error


def read_outputs(path: str | os.PathLike[str], stack: str, *, instead: str = INSTEAD) -> Outputs:
    """Return the entry of one deployment. Raises InvalidSettings."""
    outputs = read_all_outputs(path, instead=instead)
    if stack not in outputs:
        raise InvalidSettings([f"{path} has no stack {stack!r}. It has: {', '.join(sorted(outputs)) or 'none'}"])
    return outputs[stack]


def read_control_api(path: str | os.PathLike[str], stack: str) -> str:
    """Return the URL of a deployment's control API. Raises InvalidSettings."""
    control_api = read_outputs(path, stack).control_api
    if not control_api:
        raise InvalidSettings([f"{path} has no controlApi of {stack!r}. Deploy it again"])
    return control_api
