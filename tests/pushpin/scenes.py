"""Scenes for both sides: a backend, clients and publishers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from ..grip.backend import Post
from .sides import PROBE, Client, Stage, respond

Scene = Callable[[Stage], Awaitable[None]]

GRIP = {"Sec-WebSocket-Extensions": "grip"}


def text(content: bytes) -> bytes:
    return b"TEXT %x\r\n%b\r\n" % (len(content), content)


def control(**fields: object) -> bytes:
    return text(b"c:" + json.dumps(fields).encode())


def subscribe(channel: str, **fields: object) -> bytes:
    return control(type="subscribe", channel=channel, **fields)


def reply(
    body: bytes = b"",
    status: int = 200,
    *,
    opening: bytes = b"OPEN\r\n",
    opening_status: int = 200,
    opening_headers: Mapping[str, str] = GRIP,
    sent: tuple[str, ...] = ("x", "end"),
    closes: bool = False,
    until: str | None = None,
    closing: bytes | None = None,
    handshake: Mapping[str, str] | None = None,
    protocols: tuple[str, ...] = (),
    **headers: str,
) -> Scene:
    """A client sends texts, each when the backend has the one before, and leaves. `body` replies to the first.

    It leaves after the text `until`. With `closes` the backend closes by its reply. `closing`
    replies to the client's CLOSE, which is repeated else.
    """

    async def script(post: Post) -> web.Response:
        match post.events[0].type:
            case "OPEN":
                return respond(opening, opening_status, **opening_headers)
            case "CLOSE":
                return respond(post.body if closing is None else closing)
            case "TEXT" if post.texts[0] == sent[0]:
                return respond(body, status, **headers)
            case _:
                return respond()

    async def play(stage: Stage) -> None:
        stage.backend.script = script
        client = await stage.connect("?a=1&b=%20", headers=handshake or {}, protocols=protocols)
        if client is None:
            return
        for each in sent:
            await client.send(each)
            await stage.heard(client)
        if until is not None:
            await client.until("TEXT", until)
        if closes:
            await stage.closed(client)

    return play


def publish(*bodies: object, until: str | None = None, headers: Mapping[str, str] | None = None) -> Scene:
    """Publishes while a client is subscribed to `c`, which leaves after the text `until`."""

    async def play(stage: Stage) -> None:
        client = await subscriber(stage, subscribe("c"))
        for body in bodies:
            await stage.publish(body, headers=headers)
        if until is not None:
            await client.until("TEXT", until)
        await stage.subscribed(client, "at the end")

    return play


def publish_close(*bodies: object) -> Scene:
    """Publishes of which one closes the connection of a client that is subscribed to `c`."""

    async def play(stage: Stage) -> None:
        client = await subscriber(stage, subscribe("c"))
        for body in bodies:
            await stage.publish(body)
        await stage.closed(client)

    return play


def controls(*messages: bytes, x: str = "x", meta: Mapping[str, str] | None = None, **fields: object) -> Scene:
    """A backend sends control messages; then `x` is published to `c`, and to PROBE."""

    async def play(stage: Stage) -> None:
        client = await subscriber(stage, *messages)
        await stage.publish({"items": [message(x, "c", meta=meta or {}, **fields)]})
        await stage.subscribed(client, "at the end")

    return play


def message(content: str, channel: str = "c", **fields: object) -> dict[str, object]:
    of_item = {name.replace("_", "-"): fields.pop(name) for name in ("id", "prev_id", "meta") if name in fields}
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {"channel": channel, "formats": {"ws-message": {"content": content, **named}}, **of_item}


async def subscriber(stage: Stage, *messages: bytes, query: str = "") -> Client:
    """A client whose backend has sent these control messages in its reply to a text."""

    async def script(post: Post) -> web.Response:
        match post.events[0].type:
            case "OPEN":
                return respond(b"OPEN\r\n", Sec_WebSocket_Extensions="grip")
            case "CLOSE":
                return respond(post.body)
            case _:
                return respond(b"".join(messages) + subscribe(PROBE))

    stage.backend.script = script
    client = await stage.connect(query)
    assert client is not None
    await client.send("x")
    await stage.subscribed(client)
    return client
