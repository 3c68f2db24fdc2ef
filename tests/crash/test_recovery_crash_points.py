"""A function is killed before each of its calls while it keeps a message, and while it recovers a subscriber."""

from __future__ import annotations

import json
import uuid
from typing import Any

from slip_sockets.gateway.deferred import CatchUp
from slip_sockets.protocol.frames import SUBPROTOCOL

from ..functions.test_functions import control_event
from .points import ME, OTHERS, at_each_call, firsts, ours, publish, text
from .world import World

KEEP = {"count": 100, "seconds": 3_600}
SEVERAL = 40
"""Enough for the head to put names into a page."""


def history(crashing: World) -> dict[str, Any]:
    response = crashing.run("control", control_event({"type": "HISTORY", "channelId": "lobby", "limit": 1_000}))
    assert response["statusCode"] == 200
    (report,) = json.loads(response["body"])["events"]
    return dict(report)


def offsets(crashing: World) -> list[int]:
    return [int(message["position"].partition(":")[2]) for message in history(crashing)["messages"]]


def test_kept_publish(crashing: World) -> None:
    """Killed wherever, it is kept once when it comes again, at the offset after those before it."""
    few = OTHERS[:1]
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        for id_ in few:
            crashing.connected(id_, "lobby")
        crashing.connected(ME, "lobby", form=SUBPROTOCOL)
        before = [publish(f"before {number}", keep=KEEP) for number in range(SEVERAL)]
        assert crashing.run("control", control_event(*before))["statusCode"] == 200
        crashing.posted.clear()
        batch = control_event(publish("hi", id=uuid.uuid4().hex, keep=KEEP))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        response = crashing.run("control", batch)
        assert response["statusCode"] == 200, where
        (report,) = json.loads(response["body"])["events"]
        assert report["position"].endswith(f":{SEVERAL + 1}"), where
        assert offsets(crashing) == list(range(1, SEVERAL + 2)), where
        assert history(crashing)["messages"][-1]["data"] == "hi", where
        for id_ in few:
            assert firsts(crashing.received(id_)) == ["hi"], where
        frame = {"slip": "message", "channel": "lobby", "data": "hi", "position": report["position"]}
        assert [json.loads(each) for each in firsts(crashing.received(ME))] == [frame], where

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)
    assert calls[:5] == ["PutItem", "Query", "BatchWriteItem", "UpdateItem", "Query"]


def test_kept_publish_of_a_new_channel(crashing: World) -> None:
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        batch = control_event(publish("hi", id=uuid.uuid4().hex, keep=KEEP))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        assert crashing.run("control", batch)["statusCode"] == 200, where
        assert crashing.run("control", control_event(publish("there", keep=KEEP)))["statusCode"] == 200, where
        assert [message["data"] for message in history(crashing)["messages"]] == ["hi", "there"], where
        assert offsets(crashing) == [1, 2], where

    at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)


def test_publishes_without_an_id_leave_no_gap(crashing: World) -> None:
    """The publisher does not know whether it was kept, and publishes another."""
    batch = control_event(publish("first", keep=KEEP))

    def check(where: str) -> None:
        assert crashing.run("control", control_event(publish("second", keep=KEEP)))["statusCode"] == 200, where
        kept = history(crashing)["messages"]
        assert [message["data"] for message in kept] in (["first", "second"], ["second"]), where
        assert offsets(crashing) == list(range(1, len(kept) + 1)), where

    at_each_call(crashing, lambda: None, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)


def recovered(crashing: World, where: str) -> None:
    """All that was missed has come, and `subscribed` behind it."""
    frames = [json.loads(each) for each in firsts(crashing.received(ME))]
    messages = [frame["data"] for frame in frames if frame["slip"] == "message"]
    assert messages == ["second", "third"], where
    ends = [frame for frame in frames if frame["slip"] == "subscribed"]
    assert ends, where
    assert ends[0]["recovered"], where
    assert frames.index(ends[0]) == 2, where


def test_subscribe_with_since(crashing: World) -> None:
    """The client knows that its text failed, and sends it again; what it asked for is sent by the queue otherwise."""
    since = ""

    def prepare() -> None:
        nonlocal since
        crashing.connected(ME, form=SUBPROTOCOL)
        kept = [publish(data, keep=KEEP) for data in ("first", "second", "third")]
        response = crashing.run("control", control_event(*kept))
        since = json.loads(response["body"])["events"][0]["position"]
        subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby", "recover": True, "since": since}
        crashing.replies = {"TEXT": [subscribe, text(ME, "done")]}

    event = ours("websocket_message")
    event["body"] = '{"slip":"text","data":"please"}'

    def check(where: str) -> None:
        assert crashing.run("websocket", event)["statusCode"] == 200, where
        assert "lobby" in crashing.channels_of(ME), where
        recovered(crashing, where)
        assert '{"slip":"text","data":"done"}' in crashing.received(ME), where

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("websocket", event, dies_at=dies_at), check)
    assert calls[:5] == ["GetItem", "TEXT to the backend", "TransactWriteItems", "GetItem", "BatchGetItem"]
    assert "SendMessageBatch" in calls, "the late look"


def test_catch_up(crashing: World) -> None:
    def prepare() -> None:
        crashing.connected(ME, "lobby", form=SUBPROTOCOL)
        kept = [publish(data, keep=KEEP) for data in ("first", "second", "third")]
        response = crashing.run("control", control_event(*kept))
        crashing.posted.clear()
        since = json.loads(response["body"])["events"][0]["position"]
        crashing.put(CatchUp(ME, "lobby", since))

    def check(where: str) -> None:
        crashing.drain()
        recovered(crashing, where)

    at_each_call(crashing, prepare, lambda dies_at: crashing.deliver(dies_at=dies_at), check)


def test_late_look(crashing: World) -> None:
    """The index has not shown the newcomer to a publish; the function that looks again dies."""
    frame: dict[str, Any] = {}

    def prepare() -> None:
        nonlocal frame
        crashing.connected(ME, form=SUBPROTOCOL)
        subscribe = {"type": "SUBSCRIBE", "connectionId": ME, "channel": "lobby", "recover": True}
        assert crashing.run("control", control_event(subscribe))["statusCode"] == 200
        response = crashing.run("control", control_event(publish("hidden", keep=KEEP)))
        (report,) = json.loads(response["body"])["events"]
        frame = {"slip": "message", "channel": "lobby", "data": "hidden", "position": report["position"]}
        crashing.posted.clear()

    def check(where: str) -> None:
        crashing.drain()
        assert [json.loads(each) for each in firsts(crashing.received(ME))] == [frame], where

    at_each_call(crashing, prepare, lambda dies_at: crashing.deliver(dies_at=dies_at), check)


def test_calls_of_a_page_that_asks(crashing: World) -> None:
    crashing.connected(ME, "lobby", form=SUBPROTOCOL)
    kept = [publish(str(number), keep=KEEP) for number in range(6)]
    response = crashing.run("control", control_event(*kept))
    since = json.loads(response["body"])["events"][0]["position"]
    event = ours("websocket_message")
    event["body"] = json.dumps({"slip": "recover", "channel": "lobby", "since": since})
    assert crashing.run("websocket", event)["statusCode"] == 200
    calls = [call for call in crashing.calls if call != "GetSecretValue"]
    assert calls == ["GetItem", "GetItem", "GetItem", "BatchGetItem", *[f"POST to {ME}"] * 6]
