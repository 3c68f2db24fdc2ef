"""Fixtures that synthesize each set of options once a session, since Node.js and the bindings start slowly."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from stacks.app import synthesize
from tools.terraform_mirror import terraform_environment as find_terraform_environment

from ..aws.http_stub import stub
from ..aws.moto_server import moto_url
from .synthesis import ALL_OPTIONS, PRODUCTION, REQUIRED, STAGING, Stack, Synthesis

__all__ = ["moto_url", "stub"]


@pytest.fixture(scope="session")
def synth(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Synthesis]:
    """Synthesizes with the required settings and those given."""
    done: dict[frozenset[tuple[str, str]], Synthesis] = {}

    def synth(**settings: str) -> Synthesis:
        key = frozenset(settings.items())
        if key not in done:
            out = tmp_path_factory.mktemp("synth") / "cdktf.out"
            synthesize(out, REQUIRED | settings)
            done[key] = Synthesis(out)
        return done[key]

    return synth


@pytest.fixture(scope="session")
def defaults(synth: Callable[..., Synthesis]) -> Synthesis:
    return synth()


@pytest.fixture(scope="session")
def all_options(synth: Callable[..., Synthesis]) -> Synthesis:
    return synth(**ALL_OPTIONS)


@pytest.fixture(scope="session")
def ordered(synth: Callable[..., Synthesis]) -> Synthesis:
    """With texts in order."""
    return synth(INBOUND="ordered")


@pytest.fixture(params=[STAGING, PRODUCTION])
def stack(defaults: Synthesis, request: pytest.FixtureRequest) -> Stack:
    """The stack of each stage, with no options set."""
    return defaults.stack(request.param)


@pytest.fixture(scope="session")
def terraform_environment() -> dict[str, str]:
    """The environment in which Terraform finds its provider."""
    return find_terraform_environment(os.environ)
