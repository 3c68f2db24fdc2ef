"""The protocol as plain dictionaries, and clients that speak it over the wire."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection

from slip_sockets.dev.edge import Limits
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.tokens import mint

from ..conftest import SECRET
from ..scripted_backend import Events, Script, ScriptedBackend, Told

TIMEOUT_S = 20.0
UNKNOWN_ID = "A" * 15 + "="
END = "that was all"

Warnings = Callable[[], list[str]]
"""The log's lines from WARNING on."""

Event = dict[str, Any]


def accept(whose: str, **fields: object) -> Event:
    return {"type": "ACCEPT", "connectionId": whose, **fields}


def text(whose: str, data: str) -> Event:
    return {"type": "TEXT", "connectionId": whose, "data": data}


def close(whose: str) -> Event:
    return {"type": "CLOSE", "connectionId": whose}


def subscribe(whose: str, channel: str) -> Event:
    return {"type": "SUBSCRIBE", "connectionId": whose, "channel": channel}


def unsubscribe(whose: str, channel: str) -> Event:
    return {"type": "UNSUBSCRIBE", "connectionId": whose, "channel": channel}


def set_metadata(whose: str, metadata: object) -> Event:
    return {"type": "SET_METADATA", "connectionId": whose, "metadata": metadata}


def publish(channel: str, data: str, **fields: object) -> Event:
    return {"type": "PUBLISH_TEXT", "channelId": channel, "data": data, **fields}


def close_channel(channel: str) -> Event:
    return {"type": "CLOSE_CHANNEL", "channelId": channel}


def poll(whose: str, timeout: object) -> Event:
    return {"type": "POLL_FOR_CONNECTION", "connectionId": whose, "timeout": timeout}


def report(matched: int, sent: int, gone: int = 0, queued: int = 0) -> dict[str, int]:
    return {"matched": matched, "sent": sent, "gone": gone, "queued": queued}


def subscribe_as_asked(told: Told) -> Events:
    """A backend that lets everybody in and subscribes them to each `channel` of the query."""
    if told.event["type"] != "OPEN":
        return []
    whose = told.connection_id
    channels = told.body["metadata"]["query"].get("channel", [])
    return [accept(whose), *(subscribe(whose, channel) for channel in channels)]


def answers(**by_type: Script) -> Script:
    """A backend with a script of its own for some event types; to the others it does as `subscribe_as_asked`."""
    return lambda told: by_type.get(told.event["type"], subscribe_as_asked)(told)


class Listening(Protocol):
    """Where clients connect to."""

    @property
    def websocket_url(self) -> str: ...

    @property
    def port(self) -> int: ...


def connect(server: Listening, query: str = "", **options: Any) -> websockets.connect:
    """A client without any cleverness of its own: no proxy, no compression, no pings."""
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
        """Return all that has been sent to it and not read yet: what comes before something sent once the server has
        done all that it was about to do."""
        await self.server.edge.settle(TIMEOUT_S)
        assert (await control(text(self.connection_id, END))).status == 200
        messages = []
        while (message := await self.recv()) != END:
            messages.append(message)
        return messages


@asynccontextmanager
async def joined(server: DevServer, backend: ScriptedBackend, *channels: str, **options: Any) -> AsyncIterator[Member]:
    """A client that is let in and subscribed to `channels`. Its OPEN counts as seen."""
    query = "?" + "&".join(f"channel={channel}" for channel in channels)
    async with connect(server, query, **options) as client:
        opened = await backend.next_told("OPEN")
        yield Member(server, client, opened.connection_id)


async def refusal(server: Listening, query: str = "", **options: Any) -> int:
    """Return the HTTP status that refuses a client which asks to connect."""
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
class Answer:
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

    async def __call__(self, *events: object) -> Answer:
        return await self.send(json.dumps({"events": events}).encode())

    async def send(self, body: bytes, *, content_type: str = "application/json", path: str = "") -> Answer:
        token = mint("ControlEvent", SECRET)
        return await self.send_as(f"Bearer {token}", body, content_type=content_type, path=path)

    async def send_as(
        self, authorization: str | None, body: bytes, *, content_type: str = "application/json", path: str = ""
    ) -> Answer:
        headers = {"Content-Type": content_type}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self.session.post(self.url + path, data=io.BytesIO(body), headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())
