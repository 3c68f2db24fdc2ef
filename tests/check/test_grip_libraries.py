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


@pytest.fixture
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


ACCEPTED = "accepted: whoever reaches the backend can pretend to be the gateway"
BAD_SIGNATURES = ("wrong-key-open", "wrong-key-text", "none-open", "expired-open", "garbage-open")


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        (BACKENDS["gripcontrol"], ()),
        (BACKENDS["django-grip"], ()),
        # isSigned of serve-grip 2.0.0 is true for any Grip-Sig, because a check is not awaited.
        (BACKENDS["serve-grip"], BAD_SIGNATURES),
    ],
    indirect=["url"],
    ids=["gripcontrol", "django-grip", "serve-grip"],
)
async def test_libraries_are_right_but_for_an_error_on_disconnect_and_signatures_of_one(
    url: str, accepted: tuple[str, ...]
) -> None:
    found = await results(url)
    others = {name: result.verdict for name, result in found.items() if result.verdict.level is not Level.RIGHT}
    assert {verdict.level for verdict in others.values()} == {Level.WARNING}
    assert others.pop("disconnect").finding.startswith("responded with 500")
    assert {name: verdict.finding for name, verdict in others.items()} == {
        f"token-{name}": ACCEPTED for name in accepted
    }


@pytest.mark.parametrize("url", [BACKENDS[name] for name in ("gripcontrol", "django-grip")], indirect=True)
async def test_another_key_is_named(url: str) -> None:
    verdict = (await results(url, "another-secret-of-more-than-32-bytes"))["open"].verdict
    assert (verdict.level, verdict.finding) == (Level.WRONG, "responded with 403: the client is refused")
    assert verdict.fix.startswith("The Grip-Sig is right. Has the backend's GRIP_URL JWT_SECRET as its key")
