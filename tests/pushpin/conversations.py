"""Scenes of clients that do more than send texts, and of several clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from ..grip.backend import Post
from .scenes import Scene, control, message, subscribe, subscriber, text
from .sides import PROBE, Client, Stage, echo, respond


def client_that(act: Callable[[Stage, Client], Awaitable[None]], closing: bytes | None = None) -> Scene:
    """A client of an echo acts, once it has got an echo. `closing` replies to its CLOSE, which is repeated else."""

    async def script(post: Post) -> web.Response:
        if post.events[0].type == "CLOSE" and closing is not None:
            return respond(closing)
        return await echo(post)

    async def play(stage: Stage) -> None:
        stage.backend.script = script
        client = await stage.connect()
        assert client is not None
        await client.send("first")
        await client.until("TEXT", "first")
        await act(stage, client)

    return play


def closes_with(code: int, reason: bytes = b"", reply: bytes | None = None) -> Scene:
    async def close(stage: Stage, client: Client) -> None:
        await client.close(code, reason)

    return client_that(close, reply)


async def closes_without_code(stage: Stage, client: Client) -> None:
    await client.websocket.send_frame(b"", WSMsgType.CLOSE)
    await client.ended()


async def vanishes(stage: Stage, client: Client) -> None:
    client.vanish()
    await stage.backend.next_post("DISCONNECT")


async def pings(stage: Stage, client: Client) -> None:
    await client.websocket.ping(b"abc")
    await client.until("PONG", b"abc")


async def sends_binary(stage: Stage, client: Client) -> None:
    await client.websocket.send_bytes(b"abc")
    if stage.side.has_binary:
        await stage.backend.next_post("BINARY")
    else:
        await client.ended()


def sends(*texts: str) -> Scene:
    async def send(stage: Stage, client: Client) -> None:
        for each in texts:
            await client.send(each)
            await client.until("TEXT", each)

    return client_that(send)


async def headers_twice(stage: Stage) -> None:
    stage.backend.script = echo
    await stage.connect(
        headers=CIMultiDict([("X-A", "1"), ("Cookie", "a=1"), ("X-B", "2"), ("X-A", "3"), ("Cookie", "b=2")])
    )


def query(text: str) -> Scene:
    async def play(stage: Stage) -> None:
        stage.backend.script = echo
        await stage.connect(text)

    return play


def detaches(*before: bytes, after: bytes = b"") -> Scene:
    """A backend detaches a client, which sends and leaves nevertheless."""

    async def play(stage: Stage) -> None:
        detach = control(type="detach")
        client = await subscriber(stage, *before, detach, after)
        await stage.backend.next_post("CLOSE")
        await client.send("nobody hears")
        await stage.publish({"items": [message("x")]})
        await stage.subscribed(client, "at the end")

    return play


async def detached_and_closed(stage: Stage) -> None:
    client = await subscriber(stage, control(type="detach"), subscribe("c"))
    await stage.backend.next_post("CLOSE")
    await stage.publish({"items": [{"channel": "c", "ws-message": {"action": "close", "code": 4000}}]})
    await client.ended()


async def publishes_in_chunks(stage: Stage) -> None:
    await stage.publish({"items": []}, chunked=True)


async def a_room(stage: Stage) -> None:
    """Two clients in a room, one elsewhere, all in a third one. One leaves the room, another is closed by a publish.

    Each reply that changes a subscription makes the first one to a probe of its own: only that shows that it was read.
    """

    async def script(post: Post) -> web.Response:
        match post.events[0].type:
            case "OPEN":
                return respond(b"OPEN\r\n" + subscribe("all"), Sec_WebSocket_Extensions="grip")
            case "TEXT":
                room = post.target.partition("=")[2]
                kind = post.texts[0]
                change = control(type=kind, channel=room) + subscribe(f"{PROBE} {kind}")
                return respond(change + text(b"m:" + kind.encode()))
            case _:
                return respond(post.body)

    stage.backend.script = script
    clients: list[Client] = []
    for room in ("c", "c", "d"):
        client = await stage.connect(f"?room={room}")
        assert client is not None
        await client.send("subscribe")
        await stage.subscribed(client, str(len(clients)), f"{PROBE} subscribe")
        clients.append(client)
    one, other, elsewhere = clients
    await stage.publish({"items": [message("to c"), message("to d", "d"), message("to all", "all")]})
    for client in (one, other):
        await client.until("TEXT", "to c")
    for client in clients:
        await client.until("TEXT", "to all")
    await one.send("unsubscribe")
    await one.until("TEXT", "unsubscribe")
    await stage.subscribed(one, channel=f"{PROBE} unsubscribe")
    await stage.publish({"items": [message("to c again")]})
    await stage.publish({"items": [{"channel": "c", "ws-message": {"action": "close"}}, message("to none")]})
    await stage.closed(other)
    for client in (one, elsewhere):
        await stage.subscribed(client, "at the end", f"{PROBE} subscribe")


async def texts_that_wait(stage: Stage) -> None:
    """A client sends while the backend still has its first text: one request at a time, and in order."""
    is_held = asyncio.Event()
    go = asyncio.Event()
    running = 0

    async def script(post: Post) -> web.Response:
        nonlocal running
        running += 1
        assert running == 1
        if post.texts and post.texts[0] == "0":
            is_held.set()
            await go.wait()
        running -= 1
        return await echo(post)

    stage.backend.script = script
    client = await stage.connect()
    assert client is not None
    await client.send("0")
    await is_held.wait()
    for number in range(1, 20):
        await client.send(str(number))
    go.set()
    await client.until("TEXT", "19")
    stage.merges_texts = True


def requests(*kinds: tuple[str, str]) -> Scene:
    """POSTs and others to paths of the publish API."""

    async def play(stage: Stage) -> None:
        for method, path in kinds:
            await stage.publish({"items": []}, path, method)

    return play
