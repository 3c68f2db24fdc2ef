"""One user on three sockets of a deployed stage: production is direct, staging ordered."""

from __future__ import annotations

import asyncio

import pytest

from slip_sockets import Close, Keep, Report, Text, user_channel

from .deployment import PRODUCTION, STAGING
from .patience import until
from .room import Client, Room, all_hear

pytestmark = pytest.mark.e2e

KEEP = Keep(count=10, seconds=3_600)
NAMES = ("laptop", "phone", "tablet")


@pytest.mark.parametrize("stack", [PRODUCTION, STAGING])
async def test_a_user_is_reached_and_closed_on_all_sockets(room: Room, stack: str) -> None:
    room.chat.is_silent = True
    user, publisher = f"ann@{room.name}", room.publisher(stack)
    ann: list[Client] = [await room.join(name, stack=stack, query=f"&as={user}") for name in NAMES]
    bob = await room.join("bob", stack=stack, query=f"&as=not-{user}")
    phone = room.connection_id("phone")

    for client in ann:
        await client.send("hi")
    await until(lambda: [who for event, who in room.chat.users if isinstance(event, Text)] == [user] * 3)

    def send(text: str, message_id: str) -> Report:
        return publisher.send_to_user(user, text, message_id=message_id, keep=KEEP)

    report = await asyncio.to_thread(send, "to all devices", "id-1")
    assert (report.matched, report.sent) == (3, 3)
    await all_hear(ann, "to all devices")
    assert (await asyncio.to_thread(send, "to all devices", "id-1")).position == report.position

    closed = await asyncio.to_thread(lambda: publisher.close_user(user, except_connection_id=phone))
    assert (closed.matched, closed.sent) == (2, 2)
    assert [await client.closed() for client in (ann[0], ann[2])] == [1000, 1000]
    await until(lambda: [who for event, who in room.chat.users if isinstance(event, Close)] == [user] * 2)

    assert (await asyncio.to_thread(send, "to the phone", "id-2")).sent == 1
    await ann[1].hear("to the phone")
    assert ann[1].received == ["to all devices", "to the phone"]
    history = await asyncio.to_thread(lambda: publisher.history(user_channel(user)))
    assert [message.data for message in history.messages] == ["to all devices", "to the phone"]
    await asyncio.to_thread(lambda: publisher.close_user(user))
    assert await ann[1].closed() == 1000
    await room.publish("the last", stack=stack)
    await bob.hear("the last")
    assert bob.received == ["the last"]
