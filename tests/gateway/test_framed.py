"""What clients of slip.v1 send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slip_sockets.gateway.deferred import LateLook, ReceivedText, Texts
from slip_sockets.gateway.errors import Incomplete
from slip_sockets.gateway.values import Connect, Done, Form, HttpResponse, Message
from slip_sockets.protocol.events import Keep, PublishText, SendText

from .doubles import ME, World


async def framed(*, is_ordered: bool = False) -> World:
    world = World(is_ordered=is_ordered)
    await world.connected(ME, channels=["room"], form=Form.SLIP_V1)
    return world


async def say(world: World, frame: object) -> None:
    text = frame if isinstance(frame, str) else json.dumps(frame)
    assert await world.gateway.sockets.message(Message(ME, text)) == Done()


def frames(world: World) -> list[dict[str, Any]]:
    return [json.loads(text) for id_, text in world.sender.sent if id_ == ME]


def events(world: World) -> list[dict[str, Any]]:
    return [event for request in world.client.requests for event in request["events"]]


async def test_text_of_a_frame_comes_to_the_backend_and_its_reply_is_framed() -> None:
    world = await framed()
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": "hello"})
    await say(world, {"slip": "text", "data": "hi", "more": 1})
    assert events(world) == [{"type": "TEXT", "connectionId": ME, "data": "hi"}]
    assert world.sender.sent == [(ME, '{"slip":"text","data":"hello"}')]


@pytest.mark.parametrize(
    "frame",
    [
        "hi",
        "",
        "[]",
        "{}",
        '{"slip":1}',
        '{"slip":"text"}',
        '{"slip":"text","data":1}',
        '{"slip":"recover","channel":"room"}',
        '{"slip":"recover","channel":"","since":"a:1"}',
        '{"slip":"recover","channel":"$connection:x","since":"a:1"}',
    ],
)
async def test_what_is_no_frame_is_invalid_and_goes_no_further(frame: str) -> None:
    world = await framed()
    await say(world, frame)
    assert frames(world) == [{"slip": "error", "code": "invalid"}]
    assert events(world) == []


async def test_frame_of_an_unknown_kind_is_ignored() -> None:
    world = await framed()
    await say(world, {"slip": "wave"})
    await say(world, {"slip": "subscribed", "channel": "room", "position": "a:1"})
    assert (frames(world), events(world)) == ([], [])


async def test_client_recovers_without_the_backend() -> None:
    world = await framed()
    publishes = [PublishText("room", text, keep=Keep(count=9, seconds=3_600)) for text in "abc"]
    await world.performer.run(publishes)
    epoch = (await world.history.newest("room")).epoch
    world.sender.sent.clear()
    await say(world, {"slip": "recover", "channel": "room", "since": f"{epoch}:1"})
    assert frames(world) == [
        {"slip": "message", "channel": "room", "data": "b", "position": f"{epoch}:2"},
        {"slip": "message", "channel": "room", "data": "c", "position": f"{epoch}:3"},
        {"slip": "subscribed", "channel": "room", "position": f"{epoch}:3", "recovered": True, "since": f"{epoch}:1"},
    ]
    assert events(world) == []
    assert world.queue.messages == []


async def test_client_recovers_only_what_it_listens_to() -> None:
    world = await framed()
    await say(world, {"slip": "recover", "channel": "kitchen", "since": "a:1"})
    assert frames(world) == [{"slip": "error", "code": "not_subscribed", "channel": "kitchen"}]


async def test_recovering_the_channel_of_its_user_is_looked_at_again() -> None:
    world = World()
    await world.connected(ME, channels=["room", "$user:ann"], form=Form.SLIP_V1)
    newest = {channel: str(await world.history.newest(channel)) for channel in ("room", "$user:ann")}
    for channel, since in newest.items():
        await say(world, {"slip": "recover", "channel": channel, "since": since})
    looks = [(look.channel, look.since) for look in world.queue.messages if isinstance(look, LateLook)]
    assert looks == [("$user:ann", newest["$user:ann"])]


async def test_ping_that_no_edge_has_answered_is_answered() -> None:
    world = await framed()
    await say(world, {"slip": "ping"})
    assert frames(world) == [{"slip": "pong"}]


async def test_raw_connection_may_send_what_looks_like_a_frame() -> None:
    world = World()
    await world.connected(ME)
    await say(world, '{"slip":"text","data":"hi"}')
    assert events(world) == [{"type": "TEXT", "connectionId": ME, "data": '{"slip":"text","data":"hi"}'}]


async def test_subprotocol_makes_the_form() -> None:
    world = World()
    world.client.will_reply(
        {"type": "ACCEPT", "connectionId": ME, "subprotocol": "slip.v1"},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "room", "recover": True},
        {"type": "SUBSCRIBE", "connectionId": ME, "channel": "kitchen"},
        {"type": "TEXT", "connectionId": ME, "data": "welcome"},
    )
    await world.gateway.sockets.connect(Connect(ME, {}, {}, None, ["other", "slip.v1"]))
    stored = await world.store.get(ME)
    assert stored is not None
    assert stored.form is Form.SLIP_V1
    assert await world.store.is_subscribed(ME, "kitchen")
    (continuation,) = world.queue.messages
    world.queue.messages.clear()
    await world.defer(continuation)
    newest = await world.history.newest("room")
    assert frames(world) == [
        {"slip": "subscribed", "channel": "room", "position": str(newest)},
        {"slip": "text", "data": "welcome"},
    ]


async def test_reply_with_a_text_too_large_for_its_frame_is_invalid() -> None:
    world = await framed()
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": '"' * 70_000})
    result = await world.gateway.sockets.message(Message(ME, '{"slip":"text","data":"hi"}'))
    assert result != Done()
    assert world.sender.sent == []


async def test_texts_in_order_are_unframed_and_the_rest_is_answered_once() -> None:
    world = await framed(is_ordered=True)
    texts = [b'{"slip":"text","data":"\\u00012\\u0001b"}', b"nonsense", b'{"slip":"text","data":"\\u00011\\u0001a"}']
    message = Texts(ME, [ReceivedText(str(number), text) for number, text in enumerate(texts)])
    world.client.response = HttpResponse(500)
    with pytest.raises(Incomplete) as failure:
        await world.defer(message)
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": "thanks"})
    world.client.requests.clear()
    await world.defer(failure.value.remaining)
    assert [event["data"] for event in events(world)] == ["a", "b"]
    assert frames(world) == [{"slip": "error", "code": "invalid"}, {"slip": "text", "data": "thanks"}]


async def test_frames_without_a_text_do_not_call_the_backend() -> None:
    world = await framed(is_ordered=True)
    await world.defer(Texts(ME, [ReceivedText("1", b"nonsense"), ReceivedText("2", b'{"slip":"ping"}')]))
    assert events(world) == []
    assert frames(world) == [{"slip": "error", "code": "invalid"}, {"slip": "pong"}]


async def test_reply_that_waits_in_the_queue_is_framed() -> None:
    world = await framed()
    world.sender.failing = {ME: 1}
    world.client.will_reply({"type": "TEXT", "connectionId": ME, "data": "hello"})
    await say(world, {"slip": "text", "data": "hi"})
    (continuation,) = world.queue.messages
    world.store.away = {"get"}  # its form comes with it
    await world.defer(continuation)
    assert world.sender.sent == [(ME, '{"slip":"text","data":"hello"}')]


async def test_text_from_elsewhere_finds_the_form() -> None:
    world = await framed()
    await world.performer.run([SendText(ME, "hi"), SendText(ME, "there")])
    assert [frame["data"] for frame in frames(world)] == ["hi", "there"]
