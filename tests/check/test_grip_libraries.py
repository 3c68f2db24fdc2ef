"""The check over backends with the published libraries, as programs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, Result, play
from slip_sockets.dialects import Dialect
from slip_sockets.grip.tokens import grip_url

from ..contract.wire import TIMEOUT_S
from ..docs.markdown import ROOT
from ..grip.test_libraries import BACKENDS, free_port, until_listening
from .backends import SECRET

# serve-grip 2.0.0 takes any Grip-Sig: it does not wait for the result of its own check.
PYTHON = {name: command for name, command in BACKENDS.items() if name != "serve-grip"}


@pytest.fixture(params=list(PYTHON.values()), ids=list(PYTHON))
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A program with one of the libraries. Nobody listens where it would publish."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *request.param,
        cwd=ROOT,
        env=os.environ | {"PORT": str(port), "GRIP_URL": grip_url("http://127.0.0.1:1", SECRET)},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await until_listening(port, process)
        yield f"http://127.0.0.1:{port}/ws"
    finally:
        process.kill()
        await process.wait()


async def results(url: str, secret: str = SECRET) -> dict[str, Result]:
    settings = CheckSettings(url, secret, slow_s=60.0, dialect=Dialect.GRIP)
    return {result.name: result async for result in play(settings)}


async def test_backends_with_the_libraries_are_right_but_for_their_error_on_disconnect(url: str) -> None:
    found = await results(url)
    others = {name: result.verdict for name, result in found.items() if result.verdict.level is not Level.RIGHT}
    assert set(others) == {"disconnect"}, others
    assert others["disconnect"].level is Level.WARNING
    assert others["disconnect"].finding.startswith("responded with 500")


async def test_another_key_is_named(url: str) -> None:
    verdict = (await results(url, "another-secret-of-more-than-32-bytes"))["open"].verdict
    assert (verdict.level, verdict.finding) == (Level.WRONG, "responded with 403: the client is refused")
    assert verdict.fix.startswith("The Grip-Sig is right. Has the backend's GRIP_URL JWT_SECRET as its key")
