"""The protocol as plain dictionaries, and clients that speak it over the wire."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.protocol.tokens import mint

from ..conftest import SECRET
from ..scripted_backend import Events, Post, Script, ScriptedBackend

TIMEOUT_S = 20.0
UNKNOWN_ID = "A" * 15 + "="
END = "that was all"

Warnings = Callable[[], list[str]]
"""The log's lines from WARNING on."""

Event = dict[str, Any]


def accept(connection_id: str, **fields: object) -> Event:
    return {"type": "ACCEPT", "connectionId": connection_id, **fields}


def text(connection_id: str, data: str) -> Event:
    return {"type": "TEXT", "connectionId": connection_id, "data": data}


def close(connection_id: str) -> Event:
    return {"type": "CLOSE", "connectionId": connection_id}


def subscribe(connection_id: str, channel: str) -> Event:
    return {"type": "SUBSCRIBE", "connectionId": connection_id, "channel": channel}


def unsubscribe(connection_id: str, channel: str) -> Event:
    return {"type": "UNSUBSCRIBE", "connectionId": connection_id, "channel": channel}


def set_metadata(connection_id: str, metadata: object) -> Event:
    return {"type": "SET_METADATA", "connectionId": connection_id, "metadata": metadata}


def publish(channel: str, data: str, **fields: object) -> Event:
    return {"type": "PUBLISH_TEXT", "channelId": channel, "data": data, **fields}


def close_channel(channel: str, **fields: object) -> Event:
    return {"type": "CLOSE_CHANNEL", "channelId": channel, **fields}


def poll(connection_id: str, timeout: object) -> Event:
    return {"type": "POLL_FOR_CONNECTION", "connectionId": connection_id, "timeout": timeout}


def report(matched: int, sent: int, gone: int = 0, queued: int = 0) -> dict[str, int]:
    return {"matched": matched, "sent": sent, "gone": gone, "queued": queued}


def subscribe_as_asked(post: Post) -> Events:
    """A backend that lets all clients in, as the `user` of their query, and subscribes each to its `channel`s."""
    if post.kind != "OPEN":
        return []
    connection_id = post.connection_id
    query = post.body["metadata"]["query"]
    channels, users = query.get("channel", []), query.get("user", [])
    return [
        accept(connection_id, **({"user": users[0]} if users else {})),
        *(subscribe(connection_id, channel) for channel in channels),
    ]


def replies(**by_type: Script) -> Script:
    """A backend with a script of its own for some event types; for the others it is `subscribe_as_asked`."""
    return lambda post: by_type.get(post.kind, subscribe_as_asked)(post)


class Listening(Protocol):
    """A server that clients connect to."""

    @property
    def websocket_url(self) -> str: ...

    @property
    def port(self) -> int: ...


def connect(server: Listening, query: str = "", **options: Any) -> websockets.connect:
    """A client that does nothing by itself: no proxy, no compression, no pings."""
    defaults = {"proxy": None, "compression": None, "ping_interval": None, "max_size": None}
    return websockets.connect(server.websocket_url + query, **{**defaults, **options})


@dataclass(frozen=True)
class Member:
    """An open connection, seen from both ends."""

    server: DevServer
    client: ClientConnection
    connection_id: str

    async def recv(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            message = await self.client.recv()
        assert isinstance(message, str)
        return message

    async def close_code(self) -> int | None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.client.wait_closed()
        return self.client.close_code

    async def received(self, control: Control) -> list[str]:
        """Return all that has been sent to it and not read yet: everything before a last text, which is sent once the
        server has nothing more to do."""
        await self.server.edge.settle(TIMEOUT_S)
        assert (await control(text(self.connection_id, END))).status == 200
        messages = []
        while (message := await self.recv()) != END:
            messages.append(message)
        return messages


@asynccontextmanager
async def joined(
    server: DevServer, backend: ScriptedBackend, *channels: str, user: str | None = None, **options: Any
) -> AsyncIterator[Member]:
    """A client that is let in, as `user`, and subscribed to `channels`. Its OPEN counts as seen."""
    users = [] if user is None else [f"user={quote(user)}"]
    query = "?" + "&".join([*users, *(f"channel={channel}" for channel in channels)])
    async with connect(server, query, **options) as client:
        opened = await backend.next_post("OPEN")
        yield Member(server, client, opened.connection_id)


async def refusal(server: Listening, query: str = "", **options: Any) -> int:
    """Return the HTTP status with which a client that asks to connect is refused."""
    try:
        async with connect(server, query, **options):
            raise AssertionError("the client was let in")
    except websockets.InvalidStatus as error:
        return error.response.status_code


@asynccontextmanager
async def running(target_url: str, limits: Limits | None = None, **settings: Any) -> AsyncIterator[DevServer]:
    """A development server with settings of the test's own."""
    server = DevServer(DevSettings(target_url, SECRET, limits=limits or Limits(), **{"port": 0, **settings}))
    async with server:
        yield server


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Control:
    """The control API of a server, over HTTP."""

    session: aiohttp.ClientSession
    url: str

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Control]:
        async with aiohttp.ClientSession() as session:
            yield cls(session, url)

    async def __call__(self, *events: object) -> Response:
        return await self.send(json.dumps({"events": events}).encode())

    async def send(self, body: bytes, *, content_type: str = "application/json", path: str = "") -> Response:
        token = mint("ControlEvent", SECRET)
        return await self.send_as(f"Bearer {token}", body, content_type=content_type, path=path)

    async def send_as(
        self, authorization: str | None, body: bytes, *, content_type: str = "application/json", path: str = ""
    ) -> Response:
        headers = {"Content-Type": content_type}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self.session.post(self.url + path, data=io.BytesIO(body), headers=headers) as response:
            return Response(response.status, response.headers, await response.read())
