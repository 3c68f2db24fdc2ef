"""Tokens and clocks, over a development server and over servers that respond as they should not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate

import pytest
from aiohttp import web

from slip_sockets.client.outputs import Outputs
from slip_sockets.dev.server import DevServer
from slip_sockets.doctor.control_api import Answer, check_control_api, judge_clock, judge_secret
from slip_sockets.doctor.findings import Finding, Verdict
from slip_sockets.protocol.tokens import LEEWAY_S

from ..conftest import SECRET
from .examined import settings, verdicts

FINE, WRONG, UNKNOWN = Verdict.FINE, Verdict.WRONG, Verdict.UNKNOWN


async def found(url: str, secret: str = SECRET, *previous: str, now: Callable[[], float] = time.time) -> list[Finding]:
    examined = settings(Outputs(control_api=url), jwt_secret=secret, previous_secrets=previous, now=now)
    return await check_control_api(examined)


@asynccontextmanager
async def responding(status: int, body: bytes, **headers: str) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_right_secret_is_fine(server: DevServer) -> None:
    assert verdicts(await found(server.control_api)) == [("secret", FINE), ("clock", FINE)]


async def test_each_secret_that_is_refused_is_named(server: DevServer) -> None:
    findings = await found(server.control_api, "x" * 40, SECRET, "y" * 40)
    assert verdicts(findings) == [("secret", WRONG), ("secret", FINE), ("secret", WRONG), ("clock", FINE)]
    assert [finding.finding for finding in findings[:3]] == [
        "the control API refuses JWT_SECRET",
        "the control API takes tokens signed with number 1 of JWT_PREVIOUS_SECRETS",
        "the control API refuses number 2 of JWT_PREVIOUS_SECRETS",
    ]


@pytest.mark.parametrize("seconds", [-3_600, 3_600])
async def test_with_a_wrong_clock_the_secret_is_judged_by_the_servers(server: DevServer, seconds: float) -> None:
    def now() -> float:
        return time.time() + seconds

    assert verdicts(await found(server.control_api, SECRET, SECRET, now=now)) == [
        ("secret", FINE),
        ("secret", FINE),
        ("clock", WRONG),
    ]
    assert verdicts(await found(server.control_api, "x" * 40, now=now)) == [("secret", WRONG), ("clock", WRONG)]


async def test_without_a_secret_the_clock_is_judged(server: DevServer) -> None:
    assert verdicts(await found(server.control_api, "")) == [("secret", UNKNOWN), ("clock", FINE)]


async def test_a_date_that_is_shifted_is_a_wrong_clock() -> None:
    async with responding(200, b"{}", Date=formatdate(time.time() + 600, usegmt=True)) as url:
        secret, clock = await found(url)
    assert (secret.verdict, clock.verdict) == (FINE, WRONG)
    assert clock.finding.endswith("s behind the server's")


@pytest.mark.parametrize("date", ["yesterday", ""])
async def test_without_a_valid_date_the_clock_is_not_known(date: str) -> None:
    async with responding(200, b"{}", Date=date) as url:
        assert verdicts(await found(url)) == [("secret", FINE), ("clock", UNKNOWN)]


async def test_no_response_is_wrong(unused_tcp_port: int) -> None:
    findings = await found(f"http://127.0.0.1:{unused_tcp_port}/")
    assert verdicts(findings) == [("secret", WRONG), ("clock", UNKNOWN)]


@pytest.mark.parametrize(
    ("status", "body", "text", "fix"),
    [
        (404, b'{"message":"Not Found"}', "responds with 404", "There is no control API at that URL"),
        (403, b'{"message":"Forbidden"}', "responds with 403", "There is no control API at that URL"),
        (429, b"", "responds with 429", "Calls exceed the throttle"),
        (503, b'{"message":"not done","index":0,"error":"no secret"}', "responds with 503: no secret", "See the"),
    ],
)
def test_other_statuses_are_explained(status: int, body: bytes, text: str, fix: str) -> None:
    finding = judge_secret("JWT_SECRET", Answer(status, body, 0.0))
    assert (finding.verdict, finding.finding) == (WRONG, f"the control API {text}")
    assert finding.fix.startswith(fix)


@pytest.mark.parametrize(
    ("skew_s", "verdict"),
    [(LEEWAY_S, FINE), (-LEEWAY_S, FINE), (LEEWAY_S + 1, WRONG), (-LEEWAY_S - 1, WRONG), (None, UNKNOWN)],
)
def test_a_clock_may_differ_as_far_as_tokens_allow(skew_s: float | None, verdict: Verdict) -> None:
    assert judge_clock(skew_s).verdict is verdict
