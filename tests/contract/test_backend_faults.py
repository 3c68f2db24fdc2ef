"""Section 7: a backend that responds badly, late or not at all. Nothing is half done, and one line reports it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from slip_sockets.dev.server import DevServer

from ..scripted_backend import Events, Post, Script, ScriptedBackend
from .raw import Behaviour, faulty_backend, saying
from .wire import Control, Warnings, accept, joined, publish, refusal, replies, running, text

ID = r"[A-Za-z0-9_-]{15}="


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def dawdling(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"events": [')
    await asyncio.Event().wait()


GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nno gzip"

FAULTS: dict[str, tuple[Behaviour, int, str]] = {
    "breaks off at once": (saying(), 502, "cannot be reached: .+"),
    "breaks off in the head": (saying(b"HTTP/1.1 200 OK\r\nConte"), 502, "cannot be reached: .+"),
    "breaks off in the body": (
        saying(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"events": []}'),
        502,
        "cannot be reached: .+",
    ),
    "breaks off in a chunk": (
        saying(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"events"'),
        502,
        "cannot be reached: .+",
    ),
    "is not HTTP": (saying(b"220 mail.example ESMTP\r\n\r\n"), 502, "cannot be reached: .+"),
    "says gzip and is not": (saying(GZIP), 502, "cannot be reached: .+"),
    "never responds": (silence, 504, "did not respond: not within 1 s"),
    "never ends": (dawdling, 504, "did not respond: not within 1 s"),
}


@pytest.mark.parametrize(("behaviour", "status", "problem"), FAULTS.values(), ids=FAULTS.keys())
async def test_open_without_a_whole_response_is_refused(
    warnings: Warnings, caplog: pytest.LogCaptureFixture, behaviour: Behaviour, status: int, problem: str
) -> None:
    timeout_s = 1 if status == 504 else 20
    async with faulty_backend(behaviour) as backend, running(backend.url, backend_timeout_s=timeout_s) as server:
        assert await refusal(server) == status
        assert backend.requests == 1
        (line,) = warnings()
        assert re.fullmatch(f"OPEN of connection {ID}: backend {backend.url} {problem}; refused with {status}", line)
        assert "eyJ" not in caplog.text
        assert server.edge.connection_ids == []


async def test_open_is_refused_with_502_where_no_backend_listens(warnings: Warnings) -> None:
    async with faulty_backend(saying()) as backend:
        pass
    async with running(backend.url) as server:
        assert await refusal(server) == 502
        (line,) = warnings()
        assert re.fullmatch(
            f"OPEN of connection {ID}: backend {backend.url} cannot be reached: .+; refused with 502", line
        )


async def test_backend_url_is_logged_without_password_and_query(backend: ScriptedBackend, warnings: Warnings) -> None:
    backend.script = lambda _: web.Response(status=403)
    async with running(backend.url + "?key=s3cret") as server:
        assert await refusal(server) == 500
    connection_id = backend.posts[0].connection_id
    assert warnings() == [
        f"OPEN of connection {connection_id}: backend {backend.url} responded with 403; refused with 500"
    ]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
async def test_open_with_an_error_response_is_refused_with_500(
    server: DevServer, backend: ScriptedBackend, warnings: Warnings, status: int
) -> None:
    backend.script = lambda post: web.json_response({"events": [accept(post.connection_id)]}, status=status)
    assert await refusal(server) == 500
    connection_id = backend.posts[0].connection_id
    assert warnings() == [
        f"OPEN of connection {connection_id}: backend {backend.url} responded with {status}; refused with 500"
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, status: int
) -> None:
    async def target_behaviour(writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the target of a redirect was called")

    async with faulty_backend(target_behaviour) as target, joined(server, backend) as member:
        backend.script = lambda _: web.Response(status=status, headers={"Location": target.url})
        assert await refusal(server) == 500
        await member.client.send("x")
        post = await backend.next_post("TEXT")
        assert await member.received(control) == []
        assert target.requests == 0
        assert warnings()[1:] == [
            f"TEXT of connection {post.connection_id}: backend {backend.url} responded with {status}"
        ]


INVALID = {
    "text": ("ok", "the body is not JSON: .+"),
    "half": ('{"events": [', "the body is not JSON: .+"),
    "page": ("<html><title>Sign in</title>", "the body is not JSON: it is a page of a login"),
    "half a character": (
        '{"events": [{"type": "PUBLISH_TEXT", "channelId": "r", "data": "ok \\ud83d"}]}',
        r"events\[0\].data: PUBLISH_TEXT needs text, got an unpaired surrogate \(\\ud83d at byte 67\), half of .+",
    ),
    "list": ("[]", "body: the body needs an object, got array"),
    "no events": ("{}", "events: the body needs this field, and it is missing"),
    "unknown type": ('{"events": [{"type": "JUMP"}]}', r"events\[0\].type: unknown event type 'JUMP'"),
    "poll": (
        '{"events": [{"type": "POLL_FOR_CONNECTION", "connectionId": "x", "timeout": 1}]}',
        r"events\[0\].type: unknown event type 'POLL_FOR_CONNECTION'",
    ),
}


@pytest.mark.parametrize(("body", "problem"), INVALID.values(), ids=INVALID.keys())
async def test_invalid_response_is_400_to_open_and_nothing_to_text(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, body: str, problem: str
) -> None:
    async with joined(server, backend) as member:
        backend.script = lambda _: web.Response(text=body)
        assert await refusal(server) == 400
        connection_id = (await backend.next_post("OPEN")).connection_id
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert await member.received(control) == []
        opened, message = warnings()
        failure = f"backend {backend.url} responded with 200 and a body that is not valid: {problem}"
        assert re.fullmatch(f"OPEN of connection {connection_id}: {failure}; refused with 400", opened)
        assert re.fullmatch(f"TEXT of connection {member.connection_id}: {failure}", message)
        assert server.metrics.failures == {"OPEN": 1, "TEXT": 1}
        backend.script = replies()


async def test_empty_response_to_open_is_400(server: DevServer, backend: ScriptedBackend, warnings: Warnings) -> None:
    backend.script = lambda _: web.Response()
    assert await refusal(server) == 400
    connection_id = backend.posts[0].connection_id
    assert warnings() == [f"OPEN of connection {connection_id}: the response to OPEN has no ACCEPT; refused with 400"]


@pytest.mark.parametrize(
    ("length", "least_written", "most_written"),
    [(b"Content-Length: 50000000\r\n", 0, 10_000_000), (b"", 10_000_000, 30_000_000)],
    ids=["announced", "until the connection's end"],
)
async def test_response_of_50_mb_is_invalid_and_not_read_to_its_end(
    warnings: Warnings, length: bytes, least_written: int, most_written: int
) -> None:
    written = 0
    total = 50_000_000

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n%s\r\n" % length)
        for _ in range(total // 50_000):
            writer.write(b" " * 50_000)
            await writer.drain()
            written += 50_000

    async with faulty_backend(flood) as backend, running(backend.url) as server:
        assert await refusal(server) == 400
        (line,) = warnings()
        problem = "responded with more than 10485760 bytes; refused with 400"
        assert re.fullmatch(f"OPEN of connection {ID}: backend {backend.url} {problem}", line)
    assert least_written < written < most_written


async def test_compressed_response_counts_by_its_unpacked_size(backend: ScriptedBackend, warnings: Warnings) -> None:
    def bomb(post: Post) -> web.Response:
        response = web.Response(body=b" " * 11 * 1024 * 1024)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    backend.script = bomb
    async with running(backend.url) as server:
        assert await refusal(server) == 400
    assert "responded with more than 10485760 bytes; refused with 400" in warnings()[0]


FAILING_TEXT: dict[str, tuple[Script, str]] = {
    "500": (lambda _: web.Response(status=500, text="oops"), "responded with 500"),
    "404": (lambda _: web.Response(status=404), "responded with 404"),
    "400": (lambda _: web.Response(status=400, text='{"events": [{"type": "TEXT"}]}'), "responded with 400"),
    "one bad event": (
        lambda post: [publish("lobby", "never"), text(post.connection_id, "never"), {"type": "TEXT"}],
        "responded with 200 and a body that is not valid: "
        "events[2].connectionId: TEXT needs this field, and it is missing",
    ),
}


@pytest.mark.parametrize(("script", "problem"), FAILING_TEXT.values(), ids=FAILING_TEXT.keys())
async def test_failed_text_sends_the_client_nothing_and_leaves_the_socket_open(
    server: DevServer, backend: ScriptedBackend, control: Control, warnings: Warnings, script: Script, problem: str
) -> None:
    async with joined(server, backend, "lobby") as member:
        backend.script = replies(TEXT=script)
        await member.client.send("x")
        await backend.next_post("TEXT")
        assert await member.received(control) == []
        assert warnings() == [f"TEXT of connection {member.connection_id}: backend {backend.url} {problem}"]
        assert server.metrics.failures == {"TEXT": 1}
        backend.script = replies(TEXT=lambda post: [text(post.connection_id, "works again")])
        await member.client.send("y")
        assert await member.recv() == "works again"


async def test_text_that_takes_too_long_sends_nothing_and_leaves_the_socket_open(
    backend: ScriptedBackend,
    http: aiohttp.ClientSession,
    warnings: Warnings,
    next_line: Callable[[str], Awaitable[str]],
) -> None:
    async def stuck(post: Post) -> Events:
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    async with running(backend.url, backend_timeout_s=2) as server, joined(server, backend) as member:
        backend.script = replies(TEXT=stuck)
        await member.client.send("x")
        line = await next_line("TEXT")
        assert line == (
            f"TEXT of connection {member.connection_id}: backend {backend.url} did not respond: not within 2 s"
        )
        assert await member.received(Control(http, server.control_api)) == []
        assert warnings() == [line]


async def test_slow_backend_delays_no_others(server: DevServer, backend: ScriptedBackend, control: Control) -> None:
    stuck = asyncio.Event()

    async def script(post: Post) -> Events:
        if post.event["data"] == "slow":
            await stuck.wait()
        return [text(post.connection_id, post.event["data"])]

    async with joined(server, backend) as slow, joined(server, backend) as quick:
        backend.script = replies(TEXT=script)
        await slow.client.send("slow")
        await backend.next_post("TEXT")
        await quick.client.send("quick")
        assert await quick.recv() == "quick"
        await slow.client.send("quick")  # texts of one connection are handled side by side, as with API Gateway

        assert await slow.recv() == "quick"
        stuck.set()
        assert await slow.recv() == "slow"
