"""A function is killed (SIGKILL) before its first call, its second, and so on to the last, for each kind of event.

Then its event comes again, as from a client, a publisher or the queue that tries again. In the end everything must be
as without the crash, but for repetitions. Before that already, no row may outlive its time.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from slip_sockets.gateway.deferred import (
    CloseNotice,
    Continuation,
    Deferred,
    Disconnected,
    FanOut,
    FanOutChunk,
    ReceivedText,
    Texts,
)
from slip_sockets.gateway.deferred_presence import OccupancyNotice
from slip_sockets.gateway.values import Publication
from slip_sockets.protocol.events import Action, PublishText, SendText

from ..functions.test_functions import control_event
from .points import ME, ME_AGAIN, OTHERS, at_each_call, firsts, ours, publish, repeated_at_most_once, text
from .world import World


def test_open(crashing: World) -> None:
    other = OTHERS[0]

    def opening(id_: str) -> dict[str, list[dict[str, Any]]]:
        return {
            "OPEN": [
                {"type": "ACCEPT", "connectionId": id_},
                {"type": "SUBSCRIBE", "connectionId": id_, "channel": "lobby"},
                {"type": "SUBSCRIBE", "connectionId": other, "channel": "aside"},
                text(id_, "welcome"),
                publish("a client has come"),
            ]
        }

    def prepare() -> None:
        crashing.connected(other, "lobby")
        crashing.replies = opening(ME)

    def check(where: str) -> None:
        """The client was not let in, and connects again. No CLOSE comes for the first connection."""
        crashing.closed.add(ME)
        crashing.replies = opening(ME_AGAIN)
        assert crashing.run("websocket", ours("websocket_connect", ME_AGAIN))["statusCode"] == 200, where
        assert crashing.channels_of(ME_AGAIN) == {f"$connection:{ME_AGAIN}", "lobby"}, where
        crashing.half_a_minute_later()
        crashing.drain()
        assert {"welcome", "a client has come"} <= set(crashing.received(ME_AGAIN)), where
        assert "a client has come" in crashing.received(other), where
        assert repeated_at_most_once(crashing.received(other)), where
        assert crashing.run("control", control_event(publish("later")))["statusCode"] == 200, where
        crashing.drain()
        assert crashing.received(other)[-1] == crashing.received(ME_AGAIN)[-1] == "later", where
        assert crashing.channels_of(ME) <= {f"$connection:{ME}"}, f"{where}: its subscriptions are gone"

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.run("websocket", ours("websocket_connect"), dies_at=dies_at), check
    )
    assert calls == ["OPEN to the backend", "BatchWriteItem", "TransactWriteItems", "SendMessageBatch"]


def test_text(crashing: World) -> None:
    other = OTHERS[0]

    def prepare() -> None:
        crashing.connected(ME, "lobby")
        crashing.connected(other, "lobby")
        crashing.replies = {
            "TEXT": [
                {"type": "SUBSCRIBE", "connectionId": ME, "channel": "aside"},
                {"type": "SET_METADATA", "connectionId": ME, "metadata": "Zoë"},
                publish("said"),
                text(ME, "done"),
            ]
        }

    def check(where: str) -> None:
        """The client knows that its text failed, and sends it again."""
        assert crashing.run("websocket", ours("websocket_message"))["statusCode"] == 200, where
        assert crashing.channels_of(ME) == {f"$connection:{ME}", "lobby", "aside"}, where
        assert firsts(crashing.received(ME)) == ["said", "done"], where
        assert firsts(crashing.received(other)) == ["said"], where
        assert repeated_at_most_once(crashing.received(ME)), where
        assert repeated_at_most_once(crashing.received(other)), where

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.run("websocket", ours("websocket_message"), dies_at=dies_at), check
    )
    assert calls[:2] == ["GetItem", "TEXT to the backend"]
    assert calls[-1] == f"POST to {ME}"


def test_close(crashing: World) -> None:
    """API Gateway does not repeat $disconnect; if it did, the rest would be done. The metadata goes with the rows."""
    other = OTHERS[0]

    def prepare() -> None:
        crashing.connected(ME, "lobby", "aside", metadata='"Zoë"')
        crashing.connected(other, "lobby")
        crashing.replies = {"CLOSE": [publish("a client has left")]}

    def check(where: str) -> None:
        assert crashing.run("websocket", ours("websocket_disconnect"))["statusCode"] == 200, where
        assert crashing.channels_of(ME) == set(), where
        assert {request["events"][0]["type"] for request in crashing.requests} == {"CLOSE"}, where
        expected = None if "to the backend" in where else "Zoë"
        assert crashing.requests[0]["metadata"] == expected, where
        assert firsts(crashing.received(other)) == ["a client has left"], where
        assert repeated_at_most_once(crashing.received(other)), where

    calls = at_each_call(
        crashing,
        prepare,
        lambda dies_at: crashing.run("websocket", ours("websocket_disconnect"), dies_at=dies_at),
        check,
    )
    assert calls[:3] == ["Query", "BatchWriteItem", "CLOSE to the backend"]


def test_publish_to_few(crashing: World) -> None:
    few = OTHERS[:2]
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        for id_ in few:
            crashing.connected(id_, "lobby")
        batch = control_event(publish("first", id=uuid.uuid4().hex), publish("second", id=uuid.uuid4().hex))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        assert crashing.run("control", batch)["statusCode"] == 200, where
        for id_ in few:
            assert firsts(crashing.received(id_)) == ["first", "second"], where
            assert repeated_at_most_once(crashing.received(id_)), where

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)
    assert calls[0] == "PutItem"
    assert calls[-1] == "UpdateItem"
    assert len(calls) == 2 * 6


def test_publish_to_many(crashing: World) -> None:
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        for id_ in OTHERS:
            crashing.connected(id_, "lobby")
        batch = control_event(publish("hi", id=uuid.uuid4().hex))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        assert crashing.run("control", batch)["statusCode"] == 200, where
        crashing.drain()
        for id_ in OTHERS:
            assert crashing.received(id_) == ["hi"], f"{where}: the queue drops a repetition"

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)
    assert "SendMessageBatch" in calls


def delivered(crashing: World, message: Callable[[], Deferred], check: Callable[[str], None], *rows: str) -> list[str]:
    """Kill the function at each call for a message; then deliver the messages of the queue until it is empty."""

    def prepare() -> None:
        for id_ in OTHERS:
            crashing.connected(id_, "lobby", *rows, metadata='"Zoë"')
        crashing.put(message())

    def check_all(where: str) -> None:
        crashing.drain()
        check(where)

    return at_each_call(crashing, prepare, lambda dies_at: crashing.deliver(dies_at=dies_at), check_all)


def test_continuation(crashing: World) -> None:
    me = OTHERS[0]

    def check(where: str) -> None:
        assert firsts(crashing.received(me)) == ["first", "second", "to all"], where
        assert repeated_at_most_once(crashing.received(me)), where

    actions: list[Action] = [SendText(me, "first"), SendText(me, "second"), PublishText("lobby", "to all")]
    delivered(crashing, lambda: Continuation(me, actions), check)


def test_close_notice(crashing: World) -> None:
    """Whenever the function dies, the backend has the metadata: it is saved before the rows go."""
    me = OTHERS[0]
    crashing.replies = {"CLOSE": [publish("a client has left")]}

    def check(where: str) -> None:
        assert crashing.channels_of(me) == set(), where
        assert [request["metadata"] for request in crashing.requests] in (["Zoë"], ["Zoë", "Zoë"]), where
        for id_ in OTHERS[1:]:
            assert firsts(crashing.received(id_)) == ["a client has left"], where

    calls = delivered(crashing, lambda: CloseNotice(me, 1001, "bye", None), check, "aside")
    assert calls[:5] == ["GetItem", "PutItem", "Query", "BatchWriteItem", "CLOSE to the backend"]


def test_occupancy_notice(crashing: World) -> None:
    """Whenever the function dies, the backend has the event at least once, and the next one after it."""
    me = OTHERS[0]
    crashing.replies = {"OCCUPIED": [publish("open")], "VACATED": [publish("closed")]}

    def prepare() -> None:
        for id_ in OTHERS:
            crashing.connected(id_, "lobby", metadata='"Zoë"')
        crashing.put(OccupancyNotice("room", True, me, 1, None, "ann"))
        crashing.put(OccupancyNotice("room", False, me, 2, '"Zoë"'.encode(), "ann"))

    def check(where: str) -> None:
        crashing.drain()
        events = [request["events"][0]["type"] for request in crashing.requests]
        assert firsts(events) == ["OCCUPIED", "VACATED"], where
        assert repeated_at_most_once(events), where
        assert {(request["metadata"], request["user"]) for request in crashing.requests} == {("Zoë", "ann")}, where
        for id_ in OTHERS:
            assert firsts(crashing.received(id_)) == ["open", "closed"], where
            assert repeated_at_most_once(crashing.received(id_)), where

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.deliver(dies_at=dies_at), check)
    assert calls[:2] == ["GetItem", "OCCUPIED to the backend"]


def test_split(crashing: World) -> None:
    def check(where: str) -> None:
        for id_ in OTHERS:
            assert crashing.received(id_) == ["hi"], f"{where}: the queue drops a chunk that is put twice"

    delivered(crashing, lambda: FanOut(Publication("lobby", "hi"), uuid.uuid4().hex), check)


def test_chunk(crashing: World) -> None:
    def check(where: str) -> None:
        for id_ in OTHERS:
            assert firsts(crashing.received(id_)) == ["hi"], where
            assert repeated_at_most_once(crashing.received(id_)), where

    hi = Publication("lobby", "hi")
    delivered(crashing, lambda: FanOutChunk(hi, uuid.uuid4().hex, list(OTHERS), shard=0), check)


# What clients send, with INBOUND=ordered

YOU = "CCCC1234CCCC123="


def received_text(connection_id: str, data: str) -> Texts:
    return Texts(connection_id, [ReceivedText(uuid.uuid4().hex, data.encode())])


def test_texts_of_two_connections_and_a_disconnect(crashing: World) -> None:
    other = OTHERS[0]
    numbers = [str(number) for number in range(4)]

    def prepare() -> None:
        crashing.connected(ME, "lobby", metadata='"Zoë"')
        crashing.connected(YOU, metadata='"Ada"')
        crashing.connected(other, "lobby")
        crashing.replies = {"TEXT": [text(other, "said")], "CLOSE": [publish("a client has left")]}
        for number in numbers:
            for id_ in (ME, YOU):
                crashing.put(received_text(id_, number), crashing.inbound_url)
        crashing.put(Disconnected(ME, 1001, b"bye"), crashing.inbound_url)

    def check(where: str) -> None:
        crashing.drain()
        posts = crashing.events_of(ME)
        texts, close = batch = posts[-2:]
        assert posts in (batch, [texts, *batch], [*batch, *batch]), f"{where}: only a whole batch is repeated"
        assert [event["data"] for event in texts] == numbers, where
        assert [event["type"] for event in close] == ["CLOSE"], where
        first_close = next(request for request in crashing.requests if request["events"] == close)
        assert first_close["metadata"] == "Zoë", where
        of_you = crashing.events_of(YOU)
        assert of_you in ([of_you[0]], [of_you[0]] * 2), where
        assert [event["data"] for event in of_you[0]] == numbers, where
        assert crashing.channels_of(ME) == set(), where
        assert crashing.channels_of(YOU) == {f"$connection:{YOU}"}, where
        assert set(crashing.received(other)) == {"said", "a client has left"}, where
        assert crashing.received(other).count("said") >= 2, where

    calls = at_each_call(
        crashing,
        prepare,
        lambda dies_at: crashing.deliver(crashing.inbound_url, dies_at=dies_at),
        check,
        is_concurrent=True,
    )
    assert calls.count("TEXT to the backend") == 2
    assert calls.count("CLOSE to the backend") == 1
    assert calls.count("DeleteMessageBatch") == 1


def test_disconnect(crashing: World) -> None:
    """Whenever the function dies, the first CLOSE that is complete has the metadata: the rows go last."""
    me = OTHERS[0]
    crashing.replies = {"CLOSE": [publish("a client has left")]}

    def prepare() -> None:
        for id_ in OTHERS[:2]:
            crashing.connected(id_, "lobby", metadata='"Zoë"')
        crashing.put(Disconnected(me, 1001, b"bye"), crashing.inbound_url)

    def check(where: str) -> None:
        crashing.drain()
        assert crashing.channels_of(me) == set(), where
        close = {"type": "CLOSE", "connectionId": me, "code": 1001, "reason": "bye"}
        assert crashing.events_of(me) in ([[close]], [[close]] * 2), where
        assert crashing.requests[0]["metadata"] == "Zoë", where
        assert firsts(crashing.received(OTHERS[1])) == ["a client has left"], where
        assert repeated_at_most_once(crashing.received(OTHERS[1])), where
        assert crashing.received(me) == [], where

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.deliver(crashing.inbound_url, dies_at=dies_at), check
    )
    assert calls[:2] == ["GetItem", "CLOSE to the backend"]
    assert calls[-2:] == ["Query", "BatchWriteItem"]


def test_disconnect_that_the_backend_does_not_take_yet(crashing: World) -> None:
    me = OTHERS[0]

    def prepare() -> None:
        crashing.status = 503
        crashing.connected(me, metadata='"Zoë"')
        crashing.put(Disconnected(me, 1001, b"bye"), crashing.inbound_url)

    def check(where: str) -> None:
        crashing.status = 200
        before = len(crashing.requests)
        crashing.drain()
        assert crashing.channels_of(me) == set(), where
        taken = crashing.requests[before:]
        assert 1 <= len(taken) <= 2, where
        assert taken[0]["metadata"] == "Zoë", where

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.deliver(crashing.inbound_url, dies_at=dies_at), check
    )
    assert calls == ["GetItem", "CLOSE to the backend", "SendMessageBatch", "Query", "BatchWriteItem"]
