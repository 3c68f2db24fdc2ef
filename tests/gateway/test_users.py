"""Users: who is at a connection, as ACCEPT says, and what reaches all of their connections."""

from __future__ import annotations

from typing import Any

import pytest

from slip_sockets.gateway.deferred import CloseNotice, Disconnected, ReceivedText, Texts
from slip_sockets.gateway.errors import HttpError
from slip_sockets.gateway.values import Form
from slip_sockets.protocol.events import CloseChannel, Keep, PublishText, user_channel

from .doubles import ACCEPT, ME, YOU, World, socket_event

THEY = "T0000000000000="
CONNECT = socket_event("CONNECT", headers={"Sec-WebSocket-Protocol": "slip.v1"})
TEXT = socket_event("MESSAGE", body="hi")
DISCONNECT = socket_event("DISCONNECT", context={"disconnectStatusCode": 1001, "disconnectReason": "bye"})


async def test_later_events_bring_the_user_that_accept_named(world: World) -> None:
    world.client.will_reply(ACCEPT | {"user": "ann"})
    assert (await world.websocket(CONNECT))["statusCode"] == 200
    world.client.will_reply()
    await world.websocket(TEXT)
    await world.websocket(DISCONNECT)
    opened, text, close = world.client.requests
    assert "user" not in opened
    assert (text["user"], close["user"]) == ("ann", "ann")
    assert len(world.store) == 0


async def test_nothing_is_there_of_a_user_whom_nobody_named(world: World) -> None:
    world.client.will_reply(ACCEPT)
    await world.websocket(CONNECT)
    world.client.will_reply()
    await world.websocket(TEXT)
    await world.websocket(DISCONNECT)
    assert not any("user" in request for request in world.client.requests)


@pytest.mark.parametrize("user", [ME, YOU])
async def test_nobody_is_named_like_a_connection(world: World, user: str) -> None:
    world.client.will_reply(ACCEPT | {"user": user})
    assert (await world.websocket(CONNECT))["statusCode"] == 400
    assert len(world.store) == 0
    assert world.observer.failures == {"OPEN": 1}


async def test_a_user_is_reached_on_all_devices_and_nobody_else_is(world: World) -> None:
    channel = user_channel("ann")
    await world.connected(ME, channels=[channel], user="ann")
    await world.connected(YOU, channels=[channel], user="ann", form=Form.SLIP_V1)
    await world.connected(THEY, channels=[user_channel("anna")], user="anna")
    keep = Keep(count=10, seconds=60)
    (report,) = await world.performer.run([PublishText(channel, "hi", "m1", keep)])
    assert (report.matched, report.sent) == (2, 2)  # type: ignore[union-attr]
    frame = f'{{"slip":"message","channel":"{channel}","data":"hi","position":"{report.position}"}}'  # type: ignore[union-attr]
    assert sorted(world.sender.sent) == sorted([(ME, "hi"), (YOU, frame)])


async def test_a_user_is_signed_out_on_all_other_devices(world: World) -> None:
    await world.connected(ME, YOU, THEY, channels=[user_channel("ann")], user="ann")
    (report,) = await world.performer.run([CloseChannel(user_channel("ann"), except_connection_id=YOU)])
    assert (report.matched, report.sent) == (2, 2)  # type: ignore[union-attr]
    assert sorted(world.sender.closed) == sorted([ME, THEY])


@pytest.mark.parametrize("type_", ["SUBSCRIBE", "UNSUBSCRIBE"])
async def test_the_channel_of_a_user_is_not_for_the_asking(world: World, type_: str) -> None:
    await world.connected(ME)
    world.client.will_reply({"type": type_, "connectionId": ME, "channel": "$user:bob"})
    assert (await world.websocket(TEXT))["statusCode"] == 400
    assert await world.store.is_subscribed(ME, "$user:bob") is False


async def test_a_page_recovers_the_channel_of_its_user(world: World) -> None:
    await world.connected(ME, channels=[user_channel("ann")], user="ann", form=Form.SLIP_V1)
    await world.websocket(socket_event("MESSAGE", body='{"slip":"recover","channel":"$user:ann","since":""}'))
    ((_, frame),) = world.sender.sent
    assert '"slip":"subscribed","channel":"$user:ann"' in frame
    await world.websocket(socket_event("MESSAGE", body='{"slip":"recover","channel":"$user:bob","since":""}'))
    assert world.sender.sent[-1][1] == '{"slip":"error","code":"not_subscribed","channel":"$user:bob"}'


async def test_a_close_that_waits_knows_the_user(world: World) -> None:
    await world.connected(ME, user="ann")
    world.client.response = HttpError("refused")
    await world.websocket(DISCONNECT)
    assert world.queue.messages == [CloseNotice(ME, 1001, "bye", b"null", "ann")]
    world.client.will_reply()
    await world.defer(CloseNotice(ME, 1001, "bye", b"null", "ann"))
    assert world.client.requests[-1]["user"] == "ann"


async def test_a_close_whose_rows_are_read_later_knows_the_user(world: World) -> None:
    await world.connected(ME, user="ann")
    world.client.will_reply()
    await world.defer(CloseNotice(ME, 1001, "bye", None))
    assert world.client.requests[-1]["user"] == "ann"


async def test_what_comes_in_order_brings_the_user() -> None:
    world = World(is_ordered=True)
    await world.connected(ME, user="ann")
    world.client.will_reply()
    await world.defer(Texts(ME, [ReceivedText("m", b"hi")]))
    await world.defer(Disconnected(ME, 1001, b"bye"))
    users: list[Any] = [request["user"] for request in world.client.requests]
    assert users == ["ann", "ann"]
