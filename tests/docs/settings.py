"""All settings, found by calling the code that reads them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from slip_sockets.cli.app import app
from slip_sockets.client.adapter import PREFIX, AdapterSettings
from slip_sockets.protocol.errors import InvalidSettings
from stacks.settings import read_settings

DEV: Any = typer.main.get_command(app).commands["dev"]  # type: ignore[attr-defined]

OF_THE_USER = {"AWS_CONFIG_FILE", "AWS_DEFAULT_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME", "USERPROFILE"}
"""Where AWS's tools, and so the stacks too, find the user's profiles. They are not settings of a stack."""


class _Recording(Mapping[str, str]):
    """An environment that records the names that are read."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)


def without_stage(name: str) -> str:
    return re.sub("^(STAGING|PRODUCTION)_", "", name)


def _of_stacks() -> set[str]:
    environ = _Recording({"DOMAIN_NAME": "ws.example.com"})  # without one, the zone's name is not read
    with contextlib.suppress(InvalidSettings):
        read_settings(environ)
    return {without_stage(name) for name in environ.names} - OF_THE_USER


def _of_adapters() -> set[str]:
    environ = _Recording({})
    with contextlib.suppress(InvalidSettings):
        AdapterSettings.read(environ.get, "here")
    return environ.names


OF_STACKS = _of_stacks()
OF_ADAPTERS = _of_adapters()
OF_DEV = {parameter.envvar for parameter in DEV.params if parameter.envvar}
DEV_OPTIONS = {option for parameter in DEV.params for option in (*parameter.opts, *parameter.secondary_opts)}

assert {"TARGET_URL", "HOSTED_ZONE_NAME"} <= OF_STACKS
assert f"{PREFIX}JWT_SECRET" in OF_ADAPTERS
