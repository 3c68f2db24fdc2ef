"""Staging has INBOUND=ordered: what clients send comes to the backend in order, and at least once."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from slip_sockets import Close, Open, Text

from .backend import ChatBackend
from .deployment import STAGING, Deployment
from .patience import PATIENCE_S, until, until_grown
from .queues import dead_letters
from .room import Client, Room
from .test_privileges import OF_ORDERED, unused

pytestmark = pytest.mark.e2e

CLIENTS, TEXTS = 50, 200
HARD_TEXTS = ("", "\x00\x01\x7f", "\u2028\u2029\ufffe\uffff", "\"'\\${x}#if($y)%41+&=;", "Zoë 😀", "x" * 30_000)


@pytest.fixture
async def silent(room: Room) -> Room:
    """The backend publishes nothing of what it receives."""
    room.chat.is_silent = True
    return room


def texts(room: Room, connection_id: str) -> list[str]:
    """What the backend has received of a connection, in order."""
    return [
        received.event.data
        for received in room.chat.received
        if isinstance(received.event, Text) and received.event.connection_id == connection_id
    ]


def events(room: Room, connection_id: str) -> list[str]:
    """The same with the other events."""
    received = [each.event for each in room.chat.received if each.event.connection_id == connection_id]
    return [event.data if isinstance(event, Text) else type(event).__name__ for event in received]


def has_logged(deployment: Deployment, *texts: str) -> bool:
    """Whether the function has logged a line that begins with one of them. It does when an attempt has failed."""
    lines = deployment.log_lines(f"{STAGING}-deliver")
    return any(str(line.get("message")).startswith(texts) for line in lines)


@contextmanager
def retried_for(deployment: Deployment, seconds: int) -> Iterator[None]:
    """Deploy the function with another INBOUND_RETRY_S for a while."""
    client, name = deployment.client("lambda"), f"{STAGING}-deliver"
    variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]

    def update(retry_s: str) -> None:
        client.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables | {"INBOUND_RETRY_S": retry_s}}
        )

    update(str(seconds))
    try:
        yield
    finally:
        update(variables["INBOUND_RETRY_S"])


async def send_large(client: Client, text: str) -> None:
    """API Gateway takes 32 KB a frame, and 128 KB a message."""
    await client.socket.send([text[start : start + 30_000] for start in range(0, len(text), 30_000)])


async def test_every_text_comes_once_in_order_and_no_two_posts_of_a_connection_at_once(
    deployment: Deployment, silent: Room, backend: ChatBackend
) -> None:
    """The backend responds after 0 to 200 ms; in the middle it is away until a fifth attempt has failed, for 15 s."""
    room = silent

    def wait(event: object, metadata: object) -> None:
        if isinstance(event, Text):
            time.sleep(random.random() * 0.02)  # ten of a POST take 0 to 200 ms

    room.chat.fault = wait
    users = [f"user{number}" for number in range(CLIENTS)]
    clients = await asyncio.gather(*(room.join(user, stack=STAGING, close_timeout=PATIENCE_S) for user in users))
    ids = [room.connection_id(user) for user in users]

    async def talk(client: Client, user: str) -> None:
        for number in range(TEXTS):
            await client.send(f"{user}:{number}")
        await client.socket.close()

    fifth = [f"connection {connection_id}: deferred, attempt 5: " for connection_id in ids]
    talking = asyncio.gather(*map(talk, clients, users))
    await until_grown(lambda: len(room.chat.received), CLIENTS * TEXTS // 4)
    with backend.away():
        await until(lambda: has_logged(deployment, *fifth))
    await talking
    await until_grown(lambda: len(room.chat.received), CLIENTS * (TEXTS + 2))  # with OPEN and CLOSE
    await asyncio.gather(*(room.received(Close, connection_id) for connection_id in ids))
    for user, connection_id in zip(users, ids, strict=True):
        assert events(room, connection_id) == ["Open", *(f"{user}:{number}" for number in range(TEXTS)), "Close"]
    assert room.chat.most_at_once == 1
    assert len({each.event.id for each in room.chat.received if isinstance(each.event, Text)}) == CLIENTS * TEXTS


async def test_any_text_survives(silent: Room) -> None:
    room = silent
    client = await room.join("ada", stack=STAGING)
    large = "x" * 128 * 1024
    for text in HARD_TEXTS:
        await client.send(text)
    await send_large(client, large)
    await until(lambda: texts(room, room.connection_id("ada")) == [*HARD_TEXTS, large])


async def test_a_backend_that_is_away_loses_no_text_and_no_close(
    deployment: Deployment, silent: Room, backend: ChatBackend
) -> None:
    room = silent
    client, other = await room.join("ada", stack=STAGING), await room.join("bob", stack=STAGING)
    ada, bob = room.connection_id("ada"), room.connection_id("bob")
    await client.send("before")
    await until(lambda: texts(room, ada) == ["before"])
    with backend.away():
        await other.send("the last")
        await other.socket.close()
        for number in range(5):
            await client.send(str(number))
        await until(lambda: has_logged(deployment, f"TEXT of connection {ada}"))
        await until(lambda: has_logged(deployment, f"TEXT of connection {bob}"))
    for number in range(5, 8):
        await client.send(str(number))
    await until(lambda: texts(room, ada) == ["before", *map(str, range(8))])
    await room.received(Close, bob)
    assert events(room, bob) == ["Open", "the last", "Close"]


async def test_a_text_that_the_backend_never_takes_is_a_dead_letter_and_the_next_ones_go_on(
    silent: Room, deployment: Deployment
) -> None:
    room = silent
    dead = dead_letters(deployment, STAGING)
    dead.clear()
    room.chat.fault = lambda event, metadata: "500" if isinstance(event, Text) and event.data == "poison" else None
    client = await room.join("ada", stack=STAGING)
    ada = room.connection_id("ada")
    with retried_for(deployment, 10):
        await client.send("poison")
        await until(lambda: room.chat.failed != [])
        await client.send("next")
        await until(lambda: texts(room, ada) == ["next"])
    failed = [event.id for event in room.chat.failed if isinstance(event, Text)]
    assert failed == [failed[0]] * 4  # at once and after 1, 2 and 4 s: within 10 s
    assert dead.waiting == 1
    room.chat.fault = lambda event, metadata: None
    printed = deployment.run("slip-sockets", "redrive", "--stack", STAGING)
    assert f"connection {ada}" in printed
    await until(lambda: texts(room, ada) == ["next", "poison"])


async def test_a_numbered_text_that_comes_before_its_forerunner_waits_for_it(
    deployment: Deployment, silent: Room
) -> None:
    room = silent
    client = await room.join("ada", stack=STAGING)
    puts = puts_of(deployment)
    await client.send("\x012\x01b")
    await until(lambda: puts_of(deployment) > puts)  # it was put back
    await client.send("\x011\x01a")
    await client.send("\x013\x01c")
    await until(lambda: texts(room, room.connection_id("ada")) == ["a", "b", "c"])


def puts_of(deployment: Deployment) -> int:
    """How often the function has put something into the inbound queue."""
    role = f":assumed-role/{STAGING}-deliver/"
    decisions = deployment.aws.access_decisions()
    return sum(
        role in each.principal and each.action == "sqs:SendMessage" and each.resource.endswith("-inbound.fifo")
        for each in decisions
    )


async def test_a_slow_connection_delays_no_other(silent: Room) -> None:
    """While the backend has not answered one, others' texts come, sent before and after it."""
    room = silent
    is_slow, go_on = threading.Event(), threading.Event()

    def hold(event: object, metadata: object) -> None:
        if isinstance(event, Text) and event.data == "slow":
            is_slow.set()
            go_on.wait()

    room.chat.fault = hold
    slow = await room.join("slow", stack=STAGING)
    others = [await room.join(f"other{number}", stack=STAGING) for number in range(3)]
    ids = [room.connection_id(f"other{number}") for number in range(3)]
    try:
        await asyncio.gather(slow.send("slow"), *(other.send("1") for other in others))
        await until(is_slow.is_set)
        for other in others:
            await other.send("2")
        await until(lambda: all(texts(room, connection_id) == ["1", "2"] for connection_id in ids))
        assert texts(room, room.connection_id("slow")) == []
    finally:
        go_on.set()
    await until(lambda: texts(room, room.connection_id("slow")) == ["slow"])


async def test_what_open_asked_for_comes_before_the_first_text(room: Room) -> None:
    """`welcome` needs an open socket, and so it waits in the same queue."""
    client = await room.join("ada", stack=STAGING)
    await client.send("hello")
    await client.hear("ada: hello")
    assert isinstance(room.chat.received[0].event, Open)


async def test_the_functions_use_all_that_order_needs(deployment: Deployment, silent: Room) -> None:
    """The tests before have used it; `test_privileges` has the rest."""
    for function in ("websocket", "deliver"):
        assert [each for each in unused(deployment, function, STAGING) if each[1].endswith(OF_ORDERED)] == []
