"""Each function comes to use all that its role allows: what it did is held against its policy. `tests/stacks` holds
that both stages' policies are alike."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from local_aws.api_request import ApiRequest
from local_aws.permissions import matches
from slip_sockets import Close, ControlApiUnavailable, Keep, Report

from .deployment import INLINE_LIMIT, PRODUCTION, Deployment
from .faults import FailingService, Faults
from .patience import until
from .queues import deferred
from .room import Room
from .staging import denied

pytestmark = pytest.mark.e2e

KEEP = Keep(count=10, seconds=60)

OF_ORDERED = ("-inbound.fifo", "-dead-letters.fifo")
"""Of the resources, those that only a stage with INBOUND=ordered comes to use."""


def unused(deployment: Deployment, function: str, stack: str = PRODUCTION) -> list[tuple[str, str]]:
    """Return actions and resources that a function's role allows, and that it has not used since the deploy."""
    role = f"{stack}-{function}"
    policy = deployment.client("iam").get_role_policy(RoleName=role, PolicyName="function")["PolicyDocument"]
    used = [asked for asked in deployment.aws.access_decisions() if f":assumed-role/{role}/" in asked.principal]
    return [
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
        if not any(asked.action == action and matches(resource, asked.resource) for asked in used)
    ]


class IndexFault:
    """An ApiFault: a publish cannot find its subscribers, and lets the message id that it has claimed lapse."""

    def __init__(self) -> None:
        self.has_lapsed = False

    def __call__(self, request: ApiRequest) -> tuple[int, str] | None:
        self.has_lapsed |= request.parameters.get("UpdateExpression") == "SET leaseUntil = :now"
        return (500, "InternalServerError") if "IndexName" in request.parameters else None


async def kept(room: Room) -> str:
    """Have something kept that the backend's replies recover, and return a position before it."""

    def keep() -> str:
        publisher = room.publisher()
        first = publisher.publish_text(room.chat.kept_channel, "first", keep=KEEP).position
        publisher.publish_text(room.chat.kept_channel, "second", keep=KEEP)
        assert first is not None
        return first

    return await asyncio.to_thread(keep)


async def test_the_websocket_function_uses_all_that_it_may(deployment: Deployment, room: Room, faults: Faults) -> None:
    room.chat.since = await kept(room)
    with room.ghosts(room.chat.ghosts_channel):
        client = await room.join()
        await client.send("everything")
        assert await client.closed() == 1000
        assert client.received == ["second", "third"]
        assert room.subscribers(room.chat.ghosts_channel) == []

    client, fault = await room.join(), IndexFault()
    faults.api(fault)
    await client.send("everything")
    await until(lambda: fault.has_lapsed)
    faults.clear()
    assert await client.closed() == 1000
    assert [each for each in unused(deployment, "websocket") if not each[1].endswith(OF_ORDERED)] == []


async def test_the_control_function_uses_all_that_it_may(deployment: Deployment, room: Room, faults: Faults) -> None:
    client = await room.join("ada")
    ada, publisher = room.connection_id("ada"), room.publisher()
    many = f"{room.name}-many"

    def call() -> None:
        publisher.poll_for_connection(ada, timeout_ms=1000)
        publisher.subscribe(ada, f"{room.name}-elsewhere", presence=True)
        publisher.unsubscribe(ada, f"{room.name}-elsewhere")
        publisher.set_metadata(ada, room.chat.metadata("nobody"))
        publisher.send_text(ada, "to you")
        assert publisher.publish_text(room.chat.ghosts_channel, "boo") == Report(matched=1, sent=0, gone=1, queued=0)
        assert publisher.publish_text(many, "boo") == Report(INLINE_LIMIT + 1, 0, 0, INLINE_LIMIT + 1)
        first = publisher.publish_text(room.chat.kept_channel, "first", keep=KEEP).position
        assert [each.position for each in publisher.history(room.chat.kept_channel).messages] == [first]
        publisher.close(ada)

    with room.ghosts(room.chat.ghosts_channel), room.ghosts(many, count=INLINE_LIMIT + 1):
        await asyncio.to_thread(call)
        assert await client.closed() == 1000
        assert client.received == ["to you"]
        assert room.subscribers(room.chat.ghosts_channel) == []
        await until(lambda: room.subscribers(many) == [])

    faults.api(IndexFault())
    with pytest.raises(ControlApiUnavailable):
        await room.publish("nobody hears this")
    assert unused(deployment, "control") == []


async def test_the_deliver_function_uses_all_that_it_may(deployment: Deployment, room: Room, faults: Faults) -> None:
    room.chat.since = await kept(room)
    with room.ghosts(room.chat.ghosts_channel):
        client = await room.join(query="&everything=")
        assert await client.closed() == 1000
        assert client.received == ["second", "third"]
        assert room.subscribers(room.chat.ghosts_channel) == []

    fault = IndexFault()
    faults.api(fault)
    client = await room.join("bob", query="&everything=")
    await until(lambda: fault.has_lapsed)
    faults.clear()
    assert await client.closed() == 1000
    await room.received(Close, room.connection_id("bob"))  # before the table fails

    client, queue = await room.join("ada"), deferred(deployment)
    await until(lambda: queue.waiting == 0)
    faults.api(FailingService("dynamodb", (500, "InternalServerError")))
    await client.socket.close()
    await until(lambda: queue.waiting == 1)  # of a CLOSE with its metadata still in the table
    faults.clear()
    _, metadata = await room.received(Close, room.connection_id("ada"))
    assert metadata == room.chat.metadata("ada")

    def left_over() -> list[tuple[str, str]]:
        return [each for each in unused(deployment, "deliver") if not each[1].endswith(OF_ORDERED)]

    with suppress(TimeoutError):  # the member that left elsewhere is forgotten after its grace
        await until(lambda: left_over() == [])
    assert left_over() == []


def test_no_function_was_denied_anything(deployment: Deployment) -> None:
    """In all tests that share the deployment: this is the last one."""
    assert denied(deployment) == set()
