"""Runs the churn: a backend, publishers, and a number of clients, each followed by another one when it leaves."""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from slip_sockets.protocol.frames import SUBPROTOCOL
from slip_sockets.protocol.positions import Position, read_position
from slip_sockets.protocol.tokens import mint

from ..scripted_backend import Events, Post, ScriptedBackend
from .client import Client, Refused
from .model import PATIENCE_S, Member, Model
from .page import KEEP_COUNT, KEEP_S, Page, unpadded
from .server import SECRET, Look, ServerProcess, server_process

CHANNELS = 20
PAGES = 0.1
"""That take frames and recover, for each of the other sockets."""
PUBLISHERS = 4
KEPT = 0.5
"""The share of publishes."""
PUBLISH_PAUSE_S = 0.2
ACTION_PAUSE_S = 4.0
LIFE_S = 20.0
"""All of these are means."""
REFUSED = 0.02
FAILING_CLOSES = 0.02
LOOK_PAUSE_S = 5.0


@dataclass
class Figures:
    """What happened. `first` is the server before the first client came, `last` after the last had gone."""

    first: Look
    last: Look
    counts: Counter[str]
    looks: list[tuple[float, Look]]
    seconds: float


@dataclass
class Churn:
    seconds: float
    sockets: int
    seed: int
    model: Model = field(default_factory=Model)
    counts: Counter[str] = field(default_factory=Counter)
    kept: dict[str, dict[Position, str]] = field(default_factory=lambda: defaultdict(dict))
    looks: list[tuple[float, Look]] = field(default_factory=list)
    is_enough: Callable[[Churn], bool] = lambda _: True
    """It goes on after its `seconds` until this is true after a publish. A busy machine takes longer for as much."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._stop = asyncio.Event()
        self._has_enough = asyncio.Event()
        self._is_published = asyncio.Event()
        self._connections: dict[str, str] = {}
        """Names of the clients of which the backend waits for the CLOSE, by connection id."""
        self._all_closed = asyncio.Event()
        self._failing: set[str] = set()
        self._number = 0

    async def run(self) -> Figures:
        """Raises AssertionError, in an exception group, where something is wrong."""
        backend = ScriptedBackend(remembers=False)
        backend.script = self._reply
        await backend.start()
        try:
            async with server_process(backend.url) as server:
                first = await server.look()
                began = time.monotonic()
                await self._churn(server, began)
                last = await self._settled(server, first)
                return Figures(first, last, self.counts, self.looks, time.monotonic() - began)
        finally:
            await backend.aclose()

    async def _churn(self, server: ServerProcess, began: float) -> None:
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for _ in range(self.sockets):
                tasks.create_task(self._clients(server, tasks))
            for number in range(math.ceil(self.sockets * PAGES)):
                channels = [str(channel) for channel in self._random.sample(range(CHANNELS), 2)]
                page = Page(f"page{number}", channels, self._random, self._is_published, self.counts, self.kept)
                tasks.create_task(page.live(server.websocket_url))
            publishers = [
                tasks.create_task(self._publish(session, server.control_api, f"publisher{number}"))
                for number in range(PUBLISHERS)
            ]
            while (left_s := began + self.seconds - time.monotonic()) > 0:
                await asyncio.sleep(min(LOOK_PAUSE_S, left_s))
                self.looks.append((time.monotonic() - began, await server.look()))
            await self._has_enough.wait()
            self._stop.set()
            await asyncio.wait(publishers)
            self._is_published.set()
        if self._connections:
            async with asyncio.timeout(PATIENCE_S):
                await self._all_closed.wait()

    async def _settled(self, server: ServerProcess, first: Look) -> Look:
        """Wait until the server holds what it held before, its memory aside; connections to the backend end late."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            look = await server.look()
            counts = [(each.rows, each.sockets, each.groups, each.tasks, each.files) for each in (look, first)]
            if counts[0] == counts[1]:
                return look
            assert time.monotonic() < deadline, f"at the end {look}, at the beginning {first}"
            await asyncio.sleep(0.2)

    # Clients

    async def _clients(self, server: ServerProcess, tasks: asyncio.TaskGroup) -> None:
        await self._pause(LIFE_S / 4)
        while not self._stop.is_set():
            self._number += 1
            await self._live(server, tasks, f"client{self._number}")

    async def _live(self, server: ServerProcess, tasks: asyncio.TaskGroup, name: str) -> None:
        rng = self._random
        client = Client(Member(name), self.model, tasks)
        listening = set(rng.sample(range(CHANNELS), rng.randint(0, 4)))
        channels = [str(channel) for channel in listening]
        is_refused = rng.random() < REFUSED
        query = f"name={name}&refuse={is_refused:d}&channels={','.join(channels)}"
        try:
            await client.connect(server.websocket_url, query, channels)
        except Refused:
            assert is_refused
            self.counts["refused"] += 1
            return
        assert not is_refused
        self.counts["opened"] += 1
        until = time.monotonic() + rng.expovariate(1 / LIFE_S)
        while time.monotonic() < until and not self._stop.is_set():
            await self._pause(ACTION_PAUSE_S)
            channel = rng.randrange(CHANNELS)
            if rng.random() < 0.3:
                await client.say(str(channel), self._padding())
                self.counts["said"] += 1
            elif channel in listening:
                listening.discard(channel)
                await client.unsubscribe(str(channel))
                self.counts["unsubscribed"] += 1
            else:
                listening.add(channel)
                await client.subscribe(str(channel))
                self.counts["subscribed"] += 1
        leave = rng.choice([client.close, client.ask_to_be_closed, client.vanish, client.reset])
        await leave()
        self.counts[leave.__name__] += 1

    async def _pause(self, mean_s: float) -> None:
        """Pause, until the end of the churn at most."""
        try:
            async with asyncio.timeout(self._random.expovariate(1 / mean_s)):
                await self._stop.wait()
        except TimeoutError:
            pass

    def _padding(self) -> int:
        return self._random.choice([0, 20, 200, 2_000, 10_000])

    # Publishers

    async def _publish(self, session: aiohttp.ClientSession, control_api: str, caller: str) -> None:
        while not self._stop.is_set():
            message, subscribed = self.model.publishing(str(self._random.randrange(CHANNELS)), caller)
            event: dict[str, Any] = {
                "type": "PUBLISH_TEXT",
                "channelId": message.channel,
                "data": message.text(self._padding()),
                "id": uuid.uuid4().hex,
            }
            is_kept = self._random.random() < KEPT
            if is_kept:
                event["keep"] = {"count": KEEP_COUNT, "seconds": KEEP_S}
            headers = {"Authorization": f"Bearer {mint('ControlEvent', SECRET)}"}
            async with session.post(control_api, json={"events": [event]}, headers=headers) as response:
                body = await response.json()
            (report,) = body["events"]
            assert report["matched"] == report["sent"] + report["gone"] + report["queued"]
            self.model.accepted(message, subscribed)
            self.counts["published"] += 1
            if is_kept and (position := read_position(report["position"])):
                self.kept[message.channel][position] = unpadded(event["data"])
                self.counts["kept"] += 1
            if self.is_enough(self):
                self._has_enough.set()
            await self._pause(PUBLISH_PAUSE_S)

    # The backend

    def _reply(self, post: Post) -> Events | web.Response:
        connection_id = post.connection_id
        match post.event["type"]:
            case "OPEN":
                return self._open(connection_id, post.body["metadata"]["query"])
            case "TEXT":
                return self._text(connection_id, *post.event["data"].split(" ", 2))
            case _:
                return self._close(connection_id, post.body["metadata"])

    def _open(self, connection_id: str, query: dict[str, list[str]]) -> Events | web.Response:
        if query["refuse"] == ["1"]:
            return web.Response(status=403)
        (name,) = query["name"]
        self._connections[connection_id] = name
        self._all_closed.clear()
        channels = query["channels"][0].split(",") if query["channels"][0] else []
        if "since" in query:
            return self._open_page(connection_id, name, dict(zip(channels, query["since"][0].split(","), strict=True)))
        return [
            {"type": "ACCEPT", "connectionId": connection_id},
            *({"type": "SUBSCRIBE", "connectionId": connection_id, "channel": channel} for channel in channels),
            {"type": "SET_METADATA", "connectionId": connection_id, "metadata": name},
            {"type": "TEXT", "connectionId": connection_id, "data": "welcome"},
        ]

    def _open_page(self, connection_id: str, name: str, channels: dict[str, str]) -> Events:
        self.counts["opened"] += 1
        to_it = {"connectionId": connection_id}
        return [
            {"type": "ACCEPT", "subprotocol": SUBPROTOCOL, **to_it},
            *(
                {
                    "type": "SUBSCRIBE",
                    "channel": channel,
                    "recover": True,
                    **({"since": since} if since else {}),
                    **to_it,
                }
                for channel, since in channels.items()
            ),
            {"type": "SET_METADATA", "metadata": name, **to_it},
        ]

    def _text(self, connection_id: str, command: str, ack: str, argument: str) -> Events:
        acknowledged = {"type": "TEXT", "connectionId": connection_id, "data": f"ack {ack}"}
        match command:
            case "subscribe" | "unsubscribe":
                return [{"type": command.upper(), "connectionId": connection_id, "channel": argument}, acknowledged]
            case "say":
                channel = argument.split(" ")[1]
                return [{"type": "PUBLISH_TEXT", "channelId": channel, "data": argument}, acknowledged]
            case _:
                return [{"type": "CLOSE", "connectionId": connection_id}]

    def _close(self, connection_id: str, metadata: object) -> Events | web.Response:
        """Each connection has one, and a second where the first has failed."""
        assert self._connections[connection_id] == metadata, "sent twice, or with metadata of another connection"
        if connection_id not in self._failing and self._random.random() < FAILING_CLOSES:
            self._failing.add(connection_id)
            self.counts["closes that failed"] += 1
            return web.Response(status=503)
        self._failing.discard(connection_id)
        del self._connections[connection_id]
        self.counts["closed"] += 1
        if not self._connections:
            self._all_closed.set()
        return []
