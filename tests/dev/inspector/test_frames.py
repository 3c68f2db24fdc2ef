"""GRIP in the inspector: frames instead of one text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from slip_sockets.dev.inspector.frames import frames
from slip_sockets.dev.inspector.records import MAX_KEPT_BYTES, Body
from slip_sockets.dev.server import DevServer
from slip_sockets.dialects import Dialect
from slip_sockets.grip.framing import Event, encode

from ...contract.wire import connect, refusal, running
from ...grip.backend import GripScript, Post, reply, text
from .test_inspector import viewing

SUBSCRIBE = 'c:{"type":"subscribe","channel":"lobby"}'


def frame(kind: str, size: int | None = None, shown: str = "") -> dict[str, Any]:
    return {"type": kind, "bytes": size, "text": shown}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", []),
        (b"OPEN\r\nTEXT\r\n", [frame("OPEN"), frame("TEXT")]),
        (b"TEXT 0\r\n\r\n", [frame("TEXT", 0)]),
        ("TEXT 5\r\nm:\u00fc!\r\n".encode(), [frame("TEXT", 5, "m:\u00fc!")]),
        (b"TEXT 4\r\na\r\nb\r\nPING\r\n", [frame("TEXT", 4, "a\r\nb"), frame("PING")]),
        (b"CLOSE 5\r\n\x03\xe8bye\r\n", [frame("CLOSE", 5, "1000 bye")]),
        (b"CLOSE\r\n", [frame("CLOSE")]),
        (b"BINARY 2\r\n\x00\xff\r\n", [frame("BINARY", 2, "00 ff")]),
    ],
)
def test_each_frame_has_type_size_and_content(body: bytes, found: list[dict[str, Any]]) -> None:
    assert frames(Body.of(body)) == {"frames": found, "fault": None, "bytes": len(body), "more": 0}


def test_frames_before_a_fault_are_shown_with_it() -> None:
    shown = frames(Body.of(b"OPEN\r\nTEXT 5x\r\nhello\r\n"))
    assert shown["frames"] == [frame("OPEN")]
    assert shown["fault"] == "events[1]: its length is not a hexadecimal number"


def test_body_that_is_kept_in_part_is_not_broken() -> None:
    whole = encode([text("x" * (MAX_KEPT_BYTES - 14)), text("not kept")])
    shown = frames(Body.of(whole))
    assert (len(shown["frames"]), shown["fault"], shown["more"]) == (1, None, len(whole) - MAX_KEPT_BYTES)


async def echo(post: Post) -> web.Response:
    if post.events[0].type == "OPEN":
        return reply(Event("OPEN"), text(SUBSCRIBE), Sec_WebSocket_Extensions="grip", Set_Meta_User="ada")
    return reply(*(text(f"m:{each}") for each in post.texts))


@pytest.fixture
async def backend() -> AsyncIterator[GripScript]:
    async with GripScript(echo) as backend:
        yield backend


@pytest.fixture
async def server(backend: GripScript) -> AsyncIterator[DevServer]:
    async with running(backend.url, backend_protocol=Dialect.GRIP, inspector=True) as server:
        yield server


async def test_exchange_has_the_frames_of_both_bodies_and_the_headers_of_the_response(server: DevServer) -> None:
    async with viewing(server) as viewer, connect(server) as client:
        (opening,) = (await viewer.record("OPEN"))["exchanges"]
        await client.send("hello")
        assert await client.recv() == "hello"
        (exchange,) = (await viewer.record("TEXT"))["exchanges"]
    assert opening["body"]["frames"] == [frame("OPEN")]
    assert opening["response"]["frames"] == [frame("OPEN"), frame("TEXT", len(SUBSCRIBE), SUBSCRIBE)]
    assert opening["responseHeaders"]["sec-websocket-extensions"] == "grip"
    assert opening["responseHeaders"]["set-meta-user"] == "ada"
    assert exchange["body"]["frames"] == [frame("TEXT", 5, "hello")]
    assert exchange["headers"]["Meta-user"] == "ada"
    assert exchange["response"]["frames"] == [frame("TEXT", 7, "m:hello")]


async def test_refusal_is_shown_as_it_is(server: DevServer, backend: GripScript) -> None:
    async def refuse(post: Post) -> web.Response:
        return web.Response(status=403, text="no entry")

    backend.script = refuse
    async with viewing(server) as viewer:
        assert await refusal(server) == 403
        (exchange,) = (await viewer.record("OPEN"))["exchanges"]
    assert exchange["response"] == {"text": "no entry", "bytes": 8}


@pytest.mark.parametrize(
    ("item", "subject"),
    [
        ({"channel": "lobby", "formats": {"ws-message": {"content": "x"}}}, "send lobby"),
        ({"channel": "lobby", "ws-message": {"action": "close"}}, "close lobby"),
        ({"channel": "lobby", "ws-message": "x"}, "not a batch"),
    ],
)
async def test_subject_of_a_publish_has_action_and_channel(
    server: DevServer, item: dict[str, object], subject: str
) -> None:
    async with viewing(server) as viewer:
        url, key = f"{server.control_api}/publish/", (server.grip_url or "").partition("key=")[2]
        headers = {"Authorization": f"Bearer {key}"}
        async with viewer.session.post(url, json={"items": [item]}, headers=headers) as response:
            assert response.status in (200, 400)
        assert (await viewer.record("CONTROL"))["subject"] == subject
