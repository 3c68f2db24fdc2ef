"""The deployed functions while the backend, AWS's services or they themselves fail: what a client and a publisher see,
what is tried again, and that nothing promised is lost."""

from __future__ import annotations

import asyncio
import http
from typing import Any, Literal

import pytest

from slip_sockets import Close, ControlApiUnavailable, Open, Report, Text
from slip_sockets.protocol.events import ConnectionEvent

from .backend import ChatBackend, no_fault
from .deployment import INLINE_LIMIT, PRODUCTION, Deployment
from .faults import FailingService, Faults, throttled_table
from .patience import until
from .queues import StageQueue, deferred
from .room import Room, all_hear

pytestmark = pytest.mark.e2e

SOCKETS = INLINE_LIMIT + 10
THROTTLED_FOR_S = 5.0

OPEN_STATUSES = {"500": 500, "429": 500, "reset": 502, "endless": 400, "hanging": 504, "dripping": 504}
"""Ways in which the backend fails, and the status with which a client is refused."""
CLOSE_RETRIED = ("500", "429", "reset")
"""Those at a CLOSE that are tried again here; `tests/contract/test_close_delivery.py` has the ones that take long."""


async def test_a_backend_that_fails_refuses_clients_loses_no_socket_and_gets_a_close_again(
    deployment: Deployment, room: Room
) -> None:
    def fault(event: ConnectionEvent, metadata: Any) -> str | None:
        match event:
            case Open():
                return str(metadata["query"]["user"][0]).partition("stranger-")[2] or None
            case Text(data=data):
                return data.partition("fail: ")[2] or None
            case Close():
                is_first = event not in room.chat.failed
                return str(metadata["user"]) if metadata["user"] in (*CLOSE_RETRIED, "endless") and is_first else None

    queue = deferred(deployment)
    listener = await room.join("listener")
    speakers = {way: await room.join(way) for way in OPEN_STATUSES}
    room.chat.fault = fault
    for way, speaker in speakers.items():
        await speaker.send(f"fail: {way}")
    statuses = await asyncio.gather(*(room.refusal(f"stranger-{way}") for way in OPEN_STATUSES))
    assert dict(zip(OPEN_STATUSES, statuses, strict=True)) == OPEN_STATUSES
    for way, speaker in speakers.items():
        await speaker.send("still here")
        await speaker.hear(f"{way}: still here")
    heard = {text for speaker in speakers.values() for text in speaker.received}
    assert heard <= {f"{way}: still here" for way in speakers}
    await room.leave(*speakers.values())
    await listener.hear(*(f"{way} left" for way in OPEN_STATUSES if way != "endless"))
    await until(lambda: len(room.rows()) == 2 and queue.waiting == 0)
    assert len(listener.received) == len(set(listener.received))
    assert "endless left" not in listener.received
    failed = [type(event) for event in room.chat.failed]
    assert [failed.count(kind) for kind in (Open, Text, Close)] == [6, 6, 4], "nothing else was sent again"


async def test_a_backend_that_is_away_gets_a_close_when_it_is_back(
    deployment: Deployment, backend: ChatBackend, room: Room
) -> None:
    queue = deferred(deployment)
    listener, bob = await room.join("listener"), await room.join("bob")
    with backend.away():
        await listener.send("the backend does not get this")
        await until(lambda: has_failed_text(deployment, room.connection_id("listener")))
        assert await room.refusal("ada") == 502
        await bob.socket.close(4000, "done")
        await until(lambda: len(room.rows()) == 2 and queue.waiting == 1)
    await listener.hear("bob left")
    event, metadata = await room.received(Close, room.connection_id("bob"))
    assert event == Close(room.connection_id("bob"), 4000, "done")
    assert metadata == room.chat.metadata("bob")
    assert listener.received == ["bob left"]


def has_failed_text(deployment: Deployment, connection_id: str) -> bool:
    """Whether the log has a text of a connection that the backend did not get."""
    return any(
        line.get("eventType") == "TEXT" and line.get("connectionId") == connection_id and line.get("BackendFailures")
        for line in deployment.log_lines(f"{PRODUCTION}-websocket")
    )


async def test_a_table_that_throttles_for_five_seconds_costs_time_and_no_message(
    deployment: Deployment, room: Room, faults: Faults
) -> None:
    queue = deferred(deployment)
    refusals: list[ControlApiUnavailable] = []

    async def publish_until_done(text: str, message_id: str) -> Report:
        """Publish again and again with the same id, as an application may."""
        while True:
            try:
                return await room.publish(text, message_id)
            except ControlApiUnavailable as error:
                refusals.append(error)

    listener, bob, ada = [await room.join(user) for user in ("listener", "bob", "ada")]
    throttling = throttled_table()
    faults.api(throttling)
    await bob.socket.close()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_until_done("published", "while-throttled"))
        assert await room.refusal("eve") == 500
        await until(lambda: throttling.age_s > THROTTLED_FOR_S and refusals != [] and queue.waiting == 1)
        throttling.stop()
    await listener.hear("bob left", "published")
    # Where "published" went out before bob's rows were deleted, its chunk for him waits: he may be about to open.
    await until(lambda: queue.waiting == 0)

    # The backend receives the text, and replies once with what it wants done.
    throttling = throttled_table(but="GetItem")
    faults.api(throttling)
    await ada.send("hello")
    await until(lambda: throttling.age_s > THROTTLED_FOR_S and queue.waiting == 1)
    throttling.stop()
    await listener.hear("ada: hello")
    await publish_until_done("published", "while-throttled")
    await publish_until_done("the end", "the-end")
    await listener.hear("the end")
    assert sorted(listener.received) == ["ada: hello", "bob left", "published", "the end"]


async def test_a_queue_that_fails_refuses_what_needs_it_and_a_repetition_is_heard_once(
    room: Room, faults: Faults
) -> None:
    clients = await room.join_many(SOCKETS)
    rows = len(room.rows())
    faults.api(FailingService("sqs", (500, "InternalError"), operation="SendMessageBatch"))
    assert await room.refusal("ada") == 500
    with pytest.raises(ControlApiUnavailable) as refused:
        await room.publish("published", "while-refused")
    assert refused.value.status == http.HTTPStatus.SERVICE_UNAVAILABLE
    faults.clear()
    assert len(room.rows()) == rows
    assert (await room.publish("published", "while-refused")).queued == SOCKETS
    await room.publish("last")
    await all_hear(clients, "last")
    assert [client.received for client in clients] == [["published", "last"]] * SOCKETS


async def test_secrets_that_cannot_be_read_at_a_cold_start_refuse_clients_and_lose_no_close(
    deployment: Deployment, room: Room, faults: Faults
) -> None:
    arns = [deployment.function_arn(f"{PRODUCTION}-{name}") for name in ("websocket", "control", "deliver")]
    queue = deferred(deployment)
    carol = await room.join("carol")
    await until(lambda: queue.waiting == 0)  # `deliver` is to be killed between two events
    faults.api(FailingService("secretsmanager", (500, "InternalServerError")))
    for arn in arns:
        deployment.aws.kill(arn)
    await until(lambda: not any(deployment.aws.environments(arn) for arn in arns))
    assert await room.refusal("ada") == 500
    with pytest.raises(ControlApiUnavailable) as refused:
        await room.publish("nobody hears this")
    assert refused.value.status == http.HTTPStatus.SERVICE_UNAVAILABLE
    await carol.socket.close(4000, "done")
    await until(lambda: room.rows() == [] and queue.waiting == 1)

    faults.clear()
    await until(lambda: queue.waiting == 0)
    event, metadata = await room.received(Close, room.connection_id("carol"))
    assert event == Close(room.connection_id("carol"), 4000, "done")
    assert metadata == room.chat.metadata("carol")
    await room.join("ada")


async def test_a_management_api_that_resets_connections_is_called_again(room: Room, faults: Faults) -> None:
    clients = await room.join_many(5)
    called: set[str] = set()

    def reset_first(connection_id: str) -> Literal["reset"] | None:
        is_first = connection_id not in called
        called.add(connection_id)
        return "reset" if is_first else None

    faults.management(reset_first)
    assert (await room.publish("first")).matched == 5
    await room.publish("last")
    await all_hear(clients, "last")
    assert len(called) == 5
    assert [client.received for client in clients] == [["first", "last"]] * 5


async def test_a_dead_letter_can_be_understood_and_sent_again(
    deployment: Deployment, room: Room, dead: StageQueue
) -> None:
    async def redrive(*options: str) -> str:
        return await asyncio.to_thread(deployment.run, "slip-sockets", "redrive", "--stack", PRODUCTION, *options)

    queue = deferred(deployment)
    listener, bob = await room.join("listener"), await room.join("bob")
    left = room.connection_id("bob")
    await until(lambda: queue.waiting == 0)
    with queue.dead_after(2, dead):
        room.chat.fault = lambda event, metadata: "500" if isinstance(event, Close) else None
        await bob.socket.close(4000, "done")
        queue.send("not ours", group="poison")
        await until(lambda: dead.waiting == 2)
    listed = await redrive("--dry-run")
    assert f"connection {left}" in listed
    assert "close notice" in listed
    assert "unreadable" in listed
    assert dead.waiting == 2
    room.chat.fault = no_fault
    assert "1 sent again" in await redrive()
    await listener.hear("bob left")
    event, metadata = await room.received(Close, left)
    assert event == Close(left, 4000, "done")
    assert metadata == room.chat.metadata("bob")
    assert dead.waiting == 1, "what cannot be read stays"
