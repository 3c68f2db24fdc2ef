"""Runs the churn: a backend, publishers, and as many clients as asked for, each followed by another when it leaves."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from slip_sockets.tokens import mint

from ..scripted_backend import Events, ScriptedBackend, Told
from .client import Client, Refused
from .model import PATIENCE_S, Member, Model
from .server import SECRET, Look, ServerProcess, server_process

CHANNELS = 20
PUBLISHERS = 4
PUBLISH_PAUSE_S = 0.2
ACTION_PAUSE_S = 4.0
LIFE_S = 20.0
"""Means, all of them."""
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
    looks: list[tuple[float, Look]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._stop = asyncio.Event()
        self._connections: dict[str, str] = {}
        """Connection ids whose CLOSE the backend waits for, with the client's name."""
        self._all_closed = asyncio.Event()
        self._failing: set[str] = set()
        self._number = 0

    async def run(self) -> Figures:
        """Raises AssertionError, in an exception group, where anything is not as it must be."""
        backend = ScriptedBackend(remembers=False)
        backend.script = self._answer
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
            for number in range(PUBLISHERS):
                tasks.create_task(self._publish(session, server.control_api, f"publisher{number}"))
            while (left_s := began + self.seconds - time.monotonic()) > 0:
                await asyncio.sleep(min(LOOK_PAUSE_S, left_s))
                self.looks.append((time.monotonic() - began, await server.look()))
            self._stop.set()
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
        """Until the end of the churn at most."""
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
            event = {
                "type": "PUBLISH_TEXT",
                "channelId": message.channel,
                "data": message.text(self._padding()),
                "id": uuid.uuid4().hex,
            }
            headers = {"Authorization": f"Bearer {mint('ControlEvent', SECRET)}"}
            async with session.post(control_api, json={"events": [event]}, headers=headers) as answer:
                told = await answer.json()
            (report,) = told["events"]
            assert report["matched"] == report["sent"] + report["gone"] + report["queued"]
            self.model.answered(message, subscribed)
            self.counts["published"] += 1
            await self._pause(PUBLISH_PAUSE_S)

    # The backend

    def _answer(self, told: Told) -> Events | web.Response:
        whose = told.connection_id
        match told.event["type"]:
            case "OPEN":
                return self._open(whose, told.body["metadata"]["query"])
            case "TEXT":
                return self._text(whose, *told.event["data"].split(" ", 2))
            case _:
                return self._close(whose, told.body["metadata"])

    def _open(self, whose: str, query: dict[str, list[str]]) -> Events | web.Response:
        if query["refuse"] == ["1"]:
            return web.Response(status=403)
        (name,) = query["name"]
        self._connections[whose] = name
        self._all_closed.clear()
        channels = query["channels"][0].split(",") if query["channels"][0] else []
        return [
            {"type": "ACCEPT", "connectionId": whose},
            *({"type": "SUBSCRIBE", "connectionId": whose, "channel": channel} for channel in channels),
            {"type": "SET_METADATA", "connectionId": whose, "metadata": name},
            {"type": "TEXT", "connectionId": whose, "data": "welcome"},
        ]

    def _text(self, whose: str, command: str, ack: str, argument: str) -> Events:
        acknowledged = {"type": "TEXT", "connectionId": whose, "data": f"ack {ack}"}
        match command:
            case "subscribe" | "unsubscribe":
                return [{"type": command.upper(), "connectionId": whose, "channel": argument}, acknowledged]
            case "say":
                channel = argument.split(" ")[1]
                return [{"type": "PUBLISH_TEXT", "channelId": channel, "data": argument}, acknowledged]
            case _:
                return [{"type": "CLOSE", "connectionId": whose}]

    def _close(self, whose: str, metadata: object) -> Events | web.Response:
        """Each connection's once, but for those that fail at first."""
        assert self._connections[whose] == metadata, "told twice, or with another's metadata"
        if whose not in self._failing and self._random.random() < FAILING_CLOSES:
            self._failing.add(whose)
            self.counts["closes that failed"] += 1
            return web.Response(status=503)
        self._failing.discard(whose)
        del self._connections[whose]
        self.counts["closed"] += 1
        if not self._connections:
            self._all_closed.set()
        return []
