"""The development server with `--inbound ordered`: what clients send comes to the backend in order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from websockets.asyncio.client import ClientConnection

from slip_sockets.apigateway.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES
from slip_sockets.dev.queue import MemoryQueue
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.gateway.deferred import Deferred, ReceivedText, Texts
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import SystemClock

from ..conftest import SECRET
from ..contract.wire import TIMEOUT_S, accept, connect, joined, replies, running, text
from ..scripted_backend import Events, Post, ScriptedBackend

CLIENTS, TEXTS = 50, 200
ANSWERS_WITHIN_S = 0.2
ALL = [str(number) for number in range(TEXTS)]
HARD_TEXTS = [
    "",
    "\x00",
    "a\x00b\x7f\x1b[2J",
    "\u2028\u2029\ufffe\uffff",
    "\"'\\${x}#if($y)%41+&=;",
    '{"type":"CLOSE"}',
    "Zoë 😀",
    "\n",
]


def posts_of(backend: ScriptedBackend, connection_id: str) -> list[list[str]]:
    """What each POST of a connection has, in order: the data of texts, the types of other events."""
    return [
        [event["data"] if event["type"] == "TEXT" else event["type"] for event in post.events]
        for post in backend.posts
        if post.connection_id == connection_id
    ]


def received(backend: ScriptedBackend, connection_id: str) -> list[str]:
    """The same without the POSTs that are repeated because a response was lost."""
    posts = [post.body for post in backend.posts if post.connection_id == connection_id]
    once = [post for index, post in enumerate(posts) if index == 0 or post != posts[index - 1]]
    return [event.get("data", event["type"]) for post in once for event in post["events"]]


class Busy:
    """A script that takes a while, by chance, and counts the POSTs of a connection that are under way at once."""

    def __init__(self) -> None:
        self.most_at_once = 0
        self._under_way: Counter[str] = Counter()
        self._random = random.Random(1)

    async def __call__(self, post: Post) -> Events:
        self._under_way[post.connection_id] += 1
        self.most_at_once = max(self.most_at_once, self._under_way[post.connection_id])
        try:
            await asyncio.sleep(self._random.random() * ANSWERS_WITHIN_S)
        finally:
            self._under_way[post.connection_id] -= 1
        return [accept(post.connection_id)] if post.kind == "OPEN" else []


class Pauses(SystemClock):
    """Its pauses last until a test ends them, and then no time at all. `all_pausing` is set once `count` have begun."""

    def __init__(self, count: int = 1) -> None:
        self.are_over = asyncio.Event()
        self.all_pausing = asyncio.Event()
        self._count = count

    async def sleep(self, seconds: float) -> None:
        self._count -= 1
        if self._count == 0:
            self.all_pausing.set()
        await self.are_over.wait()


@asynccontextmanager
async def ordered(backend: ScriptedBackend, pauses: Pauses | None = None) -> AsyncIterator[DevServer]:
    """A server in which a queue waits between attempts as `pauses` does."""
    server = DevServer(DevSettings(backend.url, SECRET, port=0, is_ordered=True))
    if pauses is not None:
        server.inbound = MemoryQueue(pauses)
    async with server:
        yield server


async def left(backend: ScriptedBackend, count: int = 1) -> None:
    """Wait until the backend has a CLOSE of that many clients."""
    for _ in range(count):
        await backend.next_post("CLOSE", timeout_s=60)


# Many clients


async def test_each_text_comes_once_in_order_and_never_two_posts_of_a_connection_at_once(
    backend: ScriptedBackend,
) -> None:
    backend.script = busy = Busy()

    async def talk(server: DevServer) -> None:
        async with connect(server) as client:
            for data in ALL:
                await client.send(data)

    async with ordered(backend) as server:
        await asyncio.gather(*(talk(server) for _ in range(CLIENTS)))
        await left(backend, CLIENTS)
    ids = {post.connection_id for post in backend.posts}
    assert len(ids) == CLIENTS
    for connection_id in ids:
        assert [data for post in posts_of(backend, connection_id) for data in post] == ["OPEN", *ALL, "CLOSE"]
    assert busy.most_at_once == 1
    text_ids = [event["id"] for post in backend.posts if post.kind == "TEXT" for event in post.events]
    assert len(set(text_ids)) == CLIENTS * TEXTS


async def test_backend_that_is_away_for_a_while_misses_nothing_and_repeats_are_whole_posts(
    backend: ScriptedBackend,
) -> None:
    clients_count = 20
    backend.script = busy = Busy()
    pauses = Pauses(clients_count)
    is_away = asyncio.Event()

    async def talk(client: ClientConnection) -> None:
        for data in ALL[: TEXTS // 2]:
            await client.send(data)
        await is_away.wait()
        for data in ALL[TEXTS // 2 :]:
            await client.send(data)
        await client.close()

    async with ordered(backend, pauses) as server:
        clients = await asyncio.gather(*(connect(server) for _ in range(clients_count)))
        async with asyncio.TaskGroup() as talking:
            for client in clients:
                talking.create_task(talk(client))
            for _ in range(clients_count // 2):  # others have sent nothing yet
                await backend.next_post("TEXT")
            await backend.aclose()
            is_away.set()
        async with asyncio.timeout(TIMEOUT_S):
            await pauses.all_pausing.wait()
        await backend.start(urlsplit(backend.url).port or 0)
        pauses.are_over.set()
        await left(backend, clients_count)
    ids = {post.connection_id for post in backend.posts}
    assert len(ids) == clients_count
    for connection_id in ids:
        assert received(backend, connection_id) == ["OPEN", *ALL, "CLOSE"]
    assert busy.most_at_once == 1
    assert server.inbound.dead_letters == []


# One client


async def test_hard_texts_survive(backend: ScriptedBackend) -> None:
    largest = "é" * (MAX_MESSAGE_BYTES // 2)
    async with ordered(backend) as server, joined(server, backend) as member:
        for data in HARD_TEXTS:
            await member.client.send(data)
        parts = MAX_FRAME_BYTES // 2
        await member.client.send([largest[start : start + parts] for start in range(0, len(largest), parts)])
        await member.client.close()
        await left(backend)
    assert received(backend, member.connection_id) == ["OPEN", *HARD_TEXTS, largest, "CLOSE"]


async def test_texts_that_wait_are_one_post_and_close_comes_after_them(backend: ScriptedBackend) -> None:
    has_left = asyncio.Event()

    async def hold(post: Post) -> Events:
        await has_left.wait()
        return []

    backend.script = replies(TEXT=hold)
    async with ordered(backend) as server, joined(server, backend) as member:
        opened = backend.posts[-1]
        await member.client.send("0")
        first = await backend.next_post("TEXT")
        for data in ALL[1:20]:
            await member.client.send(data)
        await member.client.close(4000, "bye")
        has_left.set()
        await left(backend)
        await server.inbound.settle(TIMEOUT_S)
        assert await server.connections.get(member.connection_id) is None
    assert posts_of(backend, member.connection_id) == [["OPEN"], ["0"], ALL[1:20], ["CLOSE"]]
    assert first.event["type"] == "TEXT"
    close = backend.posts[-1]
    assert (close.event["code"], close.event["reason"]) == (4000, "bye")
    assert close.body["metadata"] == first.body["metadata"] == opened.body["metadata"]


class Away(MemoryQueue):
    async def put(self, messages: Sequence[Deferred]) -> None:
        raise Unavailable("the queue is away")


async def test_what_the_reply_to_open_asks_for_comes_before_the_first_text_from_the_same_queue(
    backend: ScriptedBackend,
) -> None:
    def welcome(post: Post) -> Events:
        return [accept(post.connection_id), text(post.connection_id, "welcome")]

    backend.script = replies(OPEN=welcome, TEXT=lambda post: [text(post.connection_id, post.event["data"])])
    server = DevServer(DevSettings(backend.url, SECRET, port=0, is_ordered=True))
    server.queue = Away(SystemClock())
    async with server, joined(server, backend) as member:
        await member.client.send("hi")
        assert [await member.recv(), await member.recv()] == ["welcome", "hi"]


async def test_stopping_hands_over_the_texts_that_wait_and_a_close(backend: ScriptedBackend) -> None:
    is_stopping = asyncio.Event()

    async def hold(post: Post) -> Events:
        await is_stopping.wait()
        return []

    backend.script = replies(TEXT=hold)
    async with running(backend.url, is_ordered=True) as server, joined(server, backend) as member:
        await member.client.send("0")
        await backend.next_post("TEXT")
        await member.client.send("1")
        await (await member.client.ping())  # so that the server has the text
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.aclose())
            is_stopping.set()
        assert posts_of(backend, member.connection_id) == [["OPEN"], ["0"], ["1"], ["CLOSE"]]
        assert backend.posts[-1].event["code"] == 1001


# Other clients


async def test_slow_connection_delays_no_other(backend: ScriptedBackend) -> None:
    may_end = asyncio.Event()

    async def hold(post: Post) -> Events:
        if post.connection_id == slow.connection_id:
            await may_end.wait()
        return []

    async with ordered(backend) as server, joined(server, backend) as slow, joined(server, backend) as other:
        backend.script = replies(TEXT=hold)
        await slow.client.send("slow")
        await backend.next_post("TEXT")
        await slow.client.send("later")
        for data in ALL[:20]:
            await other.client.send(data)
            assert (await backend.next_post("TEXT")).event["data"] == data
        assert posts_of(backend, slow.connection_id) == [["OPEN"], ["slow"]]
        may_end.set()
        assert (await backend.next_post("TEXT")).event["data"] == "later"


async def test_failing_connection_delays_no_other(backend: ScriptedBackend) -> None:
    pauses = Pauses()

    def fail(post: Post) -> Events | web.StreamResponse:
        is_failing = post.connection_id == failing.connection_id and not pauses.are_over.is_set()
        return web.Response(status=503) if is_failing else []

    async with ordered(backend, pauses) as server, joined(server, backend) as failing, joined(server, backend) as other:
        backend.script = replies(TEXT=fail)
        await failing.client.send("failing")
        first = await backend.next_post("TEXT")
        await failing.client.send("later")
        await pauses.all_pausing.wait()
        for data in ALL[:20]:
            await other.client.send(data)
            assert (await backend.next_post("TEXT")).event["data"] == data
        pauses.are_over.set()
        assert (await backend.next_post("TEXT")).body == first.body, "the same id, and nothing with it"
        assert (await backend.next_post("TEXT")).event["data"] == "later"


# Texts that the backend does not take


async def test_poison_becomes_a_dead_letter_and_the_next_text_comes(
    backend: ScriptedBackend, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses()
    pauses.are_over.set()

    def fail(post: Post) -> Events | web.StreamResponse:
        return web.Response(status=500) if post.events[0]["data"] == "poison" else []

    backend.script = replies(TEXT=fail)
    async with ordered(backend, pauses) as server, joined(server, backend) as member:
        await member.client.send("poison")
        poison = (await backend.next_post("TEXT")).event
        for _ in range(8):
            assert (await backend.next_post("TEXT")).event == poison
        await member.client.send("next")
        assert (await backend.next_post("TEXT")).event["data"] == "next"
        dead = Texts(member.connection_id, [ReceivedText(poison["id"], b"poison")])
        assert server.inbound.dead_letters == [dead]
    assert posts_of(backend, member.connection_id)[:11] == [["OPEN"], *[["poison"]] * 9, ["next"]]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == f"connection {member.connection_id}: a dead letter: a text of {member.connection_id}"


async def test_text_that_the_backend_does_not_want_is_sent_once(backend: ScriptedBackend) -> None:
    async with ordered(backend) as server, joined(server, backend) as member:
        backend.script = replies(TEXT=lambda _: web.Response(status=404))
        for data in ("1", "2"):
            await member.client.send(data)
            assert (await backend.next_post("TEXT")).event["data"] == data
        assert server.inbound.dead_letters == []


async def test_close_that_the_backend_does_not_take_yet_comes_later_with_the_metadata(
    backend: ScriptedBackend,
) -> None:
    statuses = iter([503, 503])
    backend.script = replies(CLOSE=lambda _: web.Response(status=next(statuses, 200)))
    async with ordered(backend) as server:
        async with joined(server, backend) as member:
            opened = backend.posts[-1]
        for _ in range(3):
            post = await backend.next_post("CLOSE")
            assert (post.connection_id, post.body["metadata"]) == (member.connection_id, opened.body["metadata"])
