"""The subprotocol slip.v1 and kept messages on a deployed stage: production is direct, staging ordered."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from slip_sockets import Keep
from slip_sockets.protocol.frames import SUBPROTOCOL

from .deployment import PRODUCTION, STAGING
from .patience import PATIENCE_S
from .room import Client, Room

pytestmark = pytest.mark.e2e

KEEP = Keep(count=1_000, seconds=3_600)
STAGES = pytest.mark.parametrize("stack", [PRODUCTION, STAGING])
MESSAGES, PAGES = 60, 6


@pytest.fixture
async def silent(room: Room) -> Room:
    """The backend publishes nothing of what it receives."""
    room.chat.is_silent = True
    return room


async def join(room: Room, stack: str, since: str | None = None) -> Client:
    query = "" if since is None else f"&since={since}"
    greeting = '{"slip":"text","data":"welcome"}'
    return await room.join(stack=stack, query=query, greeting=greeting, subprotocols=[SUBPROTOCOL])


def frames(client: Client) -> list[dict[str, Any]]:
    return [json.loads(text) for text in client.received]


async def subscribed(client: Client) -> dict[str, Any]:
    """Wait for the next `subscribed`."""
    before = [frame for frame in frames(client) if frame["slip"] == "subscribed"]
    async with asyncio.timeout(PATIENCE_S):
        while len(found := [frame for frame in frames(client) if frame["slip"] == "subscribed"]) == len(before):
            client.received.append(str(await client.socket.recv()))
    return found[-1]


async def next_frame(client: Client) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        frame: dict[str, Any] = json.loads(await client.socket.recv())
    return frame


@STAGES
async def test_a_page_that_comes_back_gets_what_it_missed(silent: Room, stack: str) -> None:
    raw = await silent.join(stack=stack)
    page = await join(silent, stack)
    if not any(frame["slip"] == "subscribed" for frame in frames(page)):
        await subscribed(page)
    first = (await silent.publish("one", stack=stack, keep=KEEP)).position
    assert first is not None
    message = {"slip": "message", "channel": silent.name, "data": "one", "position": first}
    await page.hear(json.dumps(message, separators=(",", ":")))
    await silent.leave(page)
    second = (await silent.publish("two", "id-2", stack=stack, keep=KEEP)).position
    assert (await silent.publish("two", "id-2", stack=stack, keep=KEEP)).position == second
    third = (await silent.publish("three", stack=stack, keep=KEEP)).position
    page = await join(silent, stack, first)
    if not any(frame["slip"] == "subscribed" for frame in frames(page)):
        await subscribed(page)
    assert frames(page) == [
        {"slip": "message", "channel": silent.name, "data": "two", "position": second},
        {"slip": "message", "channel": silent.name, "data": "three", "position": third},
        {"slip": "subscribed", "channel": silent.name, "position": third, "recovered": True, "since": first},
    ]
    await raw.hear("one", "two", "three")
    assert raw.received == ["one", "two", "three"]

    await page.send(json.dumps({"slip": "recover", "channel": silent.name, "since": second}))
    assert [(await next_frame(page))["slip"] for _ in range(2)] == ["message", "subscribed"]
    await page.send(json.dumps({"slip": "recover", "channel": "another", "since": second}))
    assert await next_frame(page) == {"slip": "error", "code": "not_subscribed", "channel": "another"}
    await page.send('{"slip":"ping"}')
    assert await next_frame(page) == {"slip": "pong"}
    await page.send("not a frame")
    assert await next_frame(page) == {"slip": "error", "code": "invalid"}

    def history() -> list[str]:
        return [kept.data for kept in silent.publisher(stack).history(silent.name, since=first).messages]

    assert await asyncio.to_thread(history) == ["two", "three"]


class Page:
    """What a page has seen. It holds what comes before `subscribed`, and drops by offset what it has."""

    def __init__(self, room: Room, stack: str) -> None:
        self._room = room
        self._stack = stack
        self._client: Client
        self._position: str | None = None
        self.seen: list[str] = []

    async def come(self) -> None:
        self._client = await join(self._room, self._stack, self._position)
        end = next((frame for frame in frames(self._client) if frame["slip"] == "subscribed"), None)
        end = end or await subscribed(self._client)
        assert end.get("recovered", True)
        missed = [frame for frame in frames(self._client) if frame["slip"] == "message"]
        self._position = self._position or end["position"]
        for frame in sorted(missed, key=lambda frame: offset(frame["position"])):
            self._take(frame)

    async def go(self) -> None:
        await self._room.leave(self._client)

    async def hear(self) -> None:
        frame = await next_frame(self._client)
        if frame["slip"] == "message":
            self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        assert self._position is not None
        if (ahead := offset(frame["position"]) - offset(self._position)) > 0:
            assert ahead == 1
            self._position = frame["position"]
            self.seen.append(frame["data"])


def offset(position: str) -> int:
    return int(position.partition(":")[2])


@STAGES
async def test_pages_that_drop_at_any_moment_see_each_message_once_and_in_order(silent: Room, stack: str) -> None:
    rng = random.Random(17)
    texts = [f"message {number}" for number in range(MESSAGES)]
    pages = [Page(silent, stack) for _ in range(PAGES)]
    await asyncio.gather(*(page.come() for page in pages))

    async def look(page: Page) -> None:
        while len(page.seen) < MESSAGES:
            for _ in range(rng.randrange(1, 12)):
                if len(page.seen) < MESSAGES:
                    await page.hear()
            await page.go()
            await page.come()

    async with asyncio.TaskGroup() as tasks:
        for page in pages:
            tasks.create_task(look(page))
        for text in texts:
            await silent.publish(text, stack=stack, keep=KEEP)
    for page in pages:
        assert page.seen == texts
