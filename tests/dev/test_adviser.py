"""What the log says about a backend that fails, or fails on AWS; with the inspector and without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from slip_sockets.dev import adviser
from slip_sockets.dev.edge import Limits

from ..contract.wire import TIMEOUT_S, Event, accept, joined, refusal, replies, running
from ..scripted_backend import Post, ScriptedBackend

with_and_without_inspector = pytest.mark.parametrize("inspector", [False, True], ids=["alone", "inspector"])


def advice_in(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.module == "adviser"]


@with_and_without_inspector
async def test_the_log_has_the_advice_once_until_something_else_is_wrong(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture, inspector: bool
) -> None:
    statuses = [403, 403, 404, 200, 404]
    backend.script = replies(TEXT=lambda _: web.Response(status=statuses.pop(0)))
    async with running(backend.url, inspector=inspector) as server, joined(server, backend) as member:
        while statuses:
            await member.client.send("x")
            await backend.next_post("TEXT")
            await server.edge.settle(TIMEOUT_S)
        advice = advice_in(caplog)
    assert [line.partition(".")[0] for line in advice] == [
        "Your backend responded with 403 Forbidden",
        "Your backend responded with 404 Not Found",
        "Your backend responded with 404 Not Found",
    ]
    assert "Check that it has the same JWT_SECRET as this server" in advice[0]


@with_and_without_inspector
async def test_an_accept_that_does_not_count_is_explained_once(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture, inspector: bool
) -> None:
    backend.script = lambda post: [accept(post.connection_id, subprotocol="v2")]
    async with running(backend.url, inspector=inspector) as server:
        for _ in range(2):
            assert await refusal(server, subprotocols=["v1"]) == 400
        await server.edge.settle(TIMEOUT_S)
        (advice,) = advice_in(caplog)
    assert advice.startswith("Your backend's ACCEPT does not count: ")
    assert advice.endswith("ACCEPT comes before SET_METADATA, with a subprotocol that was offered")


async def test_a_client_that_is_not_let_in_is_no_failure(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend.script = lambda _: []
    async with running(backend.url) as server:
        assert await refusal(server) == 400
    assert not advice_in(caplog)


async def test_a_call_that_is_broken_off_is_explained(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adviser, "BACKEND_TIMEOUT_S", 0.0)  # it did not succeed after that time either
    released = asyncio.Event()

    async def late(post: Post) -> list[Event]:
        await released.wait()
        return []

    backend.script = late
    async with running(backend.url, Limits(integration_timeout_s=0.1)) as server:
        assert await refusal(server) == 504
        released.set()
        await server.edge.settle(TIMEOUT_S)
        assert [line.partition(".")[0] for line in advice_in(caplog)] == [
            "Your backend did not respond before the event's time was over"
        ]


async def test_a_deferred_call_that_fails_is_explained(
    backend: ScriptedBackend, next_line: Callable[[str], Awaitable[str]]
) -> None:
    statuses = [500]  # then CLOSE is in the queue
    backend.script = replies(CLOSE=lambda _: web.Response(status=statuses.pop() if statuses else 404))
    async with running(backend.url) as server:
        async with joined(server, backend):
            pass
        assert "500" in await next_line("Your backend responded with")
        assert "404" in await next_line("Your backend responded with")
        backend.script = replies()


async def test_a_backend_that_is_too_slow_for_aws_is_logged(
    backend: ScriptedBackend, next_line: Callable[[str], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adviser, "BACKEND_TIMEOUT_S", 0.0)
    async with running(backend.url) as server, joined(server, backend) as member:
        line = await next_line(f"connection {member.connection_id}: your backend took ")
        assert ". On AWS this call fails after 0 s. Look at what it waits for." in line


async def test_a_backend_that_is_fast_enough_for_aws_is_not_logged(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(backend.url) as server, joined(server, backend):
        pass
    assert not advice_in(caplog)
