"""A function is killed (SIGKILL) before its first call, its second, and so on to the last, for each thing that it does.

Then its event comes again, as from a client, a publisher or the queue that tries again, and everything must be as if
nothing had happened but repetitions. Before that already, no row may outlive its time.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.events import AnswerEvent, PublishText, SendText
from slip_sockets.gateway.ports import CloseNotice, Continuation, Deferred, FanOut, FanOutChunk

from ..aws.moto_server import client, dynamodb, moto_url, sqs
from ..aws.moto_server import queue_url as new_queue
from ..aws.moto_server import table_name as new_table
from ..functions.conftest import event
from ..functions.test_functions import control_event
from .world import SECRET, World, world

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

__all__ = ["dynamodb", "moto_url", "sqs"]

ME = "AAAA1234AAAA123="
ME_AGAIN = "AAAA1234AAAA124="
OTHERS = [f"BBBB1234BBBB12{number}=" for number in range(4)]


@pytest.fixture(scope="module")
def shared_world(moto_url: str, dynamodb: DynamoDBClient, sqs: SQSClient) -> Iterator[World]:
    made_table: Callable[..., str] = new_table.__wrapped__  # type: ignore[attr-defined]
    made_queue: Callable[..., str] = new_queue.__wrapped__  # type: ignore[attr-defined]
    parameter = f"/{uuid.uuid4().hex}"
    client("ssm", moto_url).put_parameter(Name=parameter, Value=json.dumps([SECRET]), Type="SecureString")
    with world(moto_url, dynamodb, sqs, made_table(dynamodb), made_queue(sqs), parameter) as shared:
        yield shared


@pytest.fixture
def crashing(shared_world: World, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.WARNING, "werkzeug")  # moto's server has a line for each call
    shared_world.answers = {}
    shared_world.clear()
    yield shared_world
    shared_world.clear()


def at_each_call(
    crashing: World, prepare: Callable[[], None], run: Callable[[int | None], Any], check: Callable[[str], None]
) -> list[str]:
    """Run whole once, for the calls that it makes; then again for each of them, killed before it, and then `check`.

    Return the calls, but for those of a cold start.
    """
    prepare()
    assert run(None) is not None
    calls = list(crashing.calls)
    assert calls
    check("whole")
    for number, call in enumerate(calls):
        where = f"killed at call {number} of {len(calls)}, {call}"
        crashing.clear()
        prepare()
        run(number)
        assert len(crashing.calls) == number, where
        crashing.check_lifetimes()
        check(where)
        crashing.check_lifetimes()
    return [call for call in calls if call != "GetParameter"]


def firsts(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def repeated_at_most_once(texts: list[str]) -> bool:
    return all(texts.count(text) <= 2 for text in texts)


def ours(name: str, connection_id: str = ME) -> Any:
    payload = event(name)
    payload["requestContext"]["connectionId"] = connection_id
    return payload


def text(whose: str, data: str) -> dict[str, Any]:
    return {"type": "TEXT", "connectionId": whose, "data": data}


def publish(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": data, **more}


def test_open(crashing: World) -> None:
    other = OTHERS[0]

    def opening(whose: str) -> dict[str, list[dict[str, Any]]]:
        return {
            "OPEN": [
                {"type": "ACCEPT", "connectionId": whose},
                {"type": "SUBSCRIBE", "connectionId": whose, "channel": "lobby"},
                {"type": "SUBSCRIBE", "connectionId": other, "channel": "aside"},
                text(whose, "welcome"),
                publish("somebody has come"),
            ]
        }

    def prepare() -> None:
        crashing.connected(other, "lobby")
        crashing.answers = opening(ME)

    def check(where: str) -> None:
        """The client was not let in, and comes again as another connection. Nobody tells that the first is none."""
        crashing.closed.add(ME)
        crashing.answers = opening(ME_AGAIN)
        assert crashing.run("websocket", ours("websocket_connect", ME_AGAIN))["statusCode"] == 200, where
        assert crashing.channels_of(ME_AGAIN) == {f"$connection:{ME_AGAIN}", "lobby"}, where
        crashing.half_a_minute_later()
        crashing.drain()
        assert {"welcome", "somebody has come"} <= set(crashing.got(ME_AGAIN)), where
        assert "somebody has come" in crashing.got(other), where
        assert repeated_at_most_once(crashing.got(other)), where
        assert crashing.run("control", control_event(publish("later")))["statusCode"] == 200, where
        crashing.drain()
        assert crashing.got(other)[-1] == crashing.got(ME_AGAIN)[-1] == "later", where
        assert crashing.channels_of(ME) <= {f"$connection:{ME}"}, f"{where}: its subscriptions are gone"

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.run("websocket", ours("websocket_connect"), dies_at=dies_at), check
    )
    assert calls == ["the backend is told OPEN", "BatchWriteItem", "TransactWriteItems", "SendMessageBatch"]


def test_text(crashing: World) -> None:
    other = OTHERS[0]

    def prepare() -> None:
        crashing.connected(ME, "lobby")
        crashing.connected(other, "lobby")
        crashing.answers = {
            "TEXT": [
                {"type": "SUBSCRIBE", "connectionId": ME, "channel": "aside"},
                {"type": "SET_METADATA", "connectionId": ME, "metadata": "Zoë"},
                publish("said"),
                text(ME, "done"),
            ]
        }

    def check(where: str) -> None:
        """The client has been told that its text failed, and says it again."""
        assert crashing.run("websocket", ours("websocket_message"))["statusCode"] == 200, where
        assert crashing.channels_of(ME) == {f"$connection:{ME}", "lobby", "aside"}, where
        assert firsts(crashing.got(ME)) == ["said", "done"], where
        assert firsts(crashing.got(other)) == ["said"], where
        assert repeated_at_most_once(crashing.got(ME)), where
        assert repeated_at_most_once(crashing.got(other)), where

    calls = at_each_call(
        crashing, prepare, lambda dies_at: crashing.run("websocket", ours("websocket_message"), dies_at=dies_at), check
    )
    assert calls[:2] == ["GetItem", "the backend is told TEXT"]
    assert calls[-1] == f"POST to {ME}"


def test_close(crashing: World) -> None:
    """API Gateway does not say it again; if somebody did, the rest would be done. The metadata goes with the rows."""
    other = OTHERS[0]

    def prepare() -> None:
        crashing.connected(ME, "lobby", "aside", metadata='"Zoë"')
        crashing.connected(other, "lobby")
        crashing.answers = {"CLOSE": [publish("somebody has left")]}

    def check(where: str) -> None:
        assert crashing.run("websocket", ours("websocket_disconnect"))["statusCode"] == 200, where
        assert crashing.channels_of(ME) == set(), where
        assert {told["events"][0]["type"] for told in crashing.told} == {"CLOSE"}, where
        expected = None if "the backend is told" in where else "Zoë"
        assert crashing.told[0]["metadata"] == expected, where
        assert firsts(crashing.got(other)) == ["somebody has left"], where
        assert repeated_at_most_once(crashing.got(other)), where

    calls = at_each_call(
        crashing,
        prepare,
        lambda dies_at: crashing.run("websocket", ours("websocket_disconnect"), dies_at=dies_at),
        check,
    )
    assert calls[:3] == ["Query", "BatchWriteItem", "the backend is told CLOSE"]


def test_publish_to_few(crashing: World) -> None:
    few = OTHERS[:2]
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        for whose in few:
            crashing.connected(whose, "lobby")
        batch = control_event(publish("first", id=uuid.uuid4().hex), publish("second", id=uuid.uuid4().hex))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        assert crashing.run("control", batch)["statusCode"] == 200, where
        for whose in few:
            assert firsts(crashing.got(whose)) == ["first", "second"], where
            assert repeated_at_most_once(crashing.got(whose)), where

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)
    assert calls[0] == "PutItem"
    assert calls[-1] == "UpdateItem"
    assert len(calls) == 2 * 6


def test_publish_to_many(crashing: World) -> None:
    batch: Any = None

    def prepare() -> None:
        nonlocal batch
        for whose in OTHERS:
            crashing.connected(whose, "lobby")
        batch = control_event(publish("hi", id=uuid.uuid4().hex))

    def check(where: str) -> None:
        crashing.half_a_minute_later()
        assert crashing.run("control", batch)["statusCode"] == 200, where
        crashing.drain()
        for whose in OTHERS:
            assert crashing.got(whose) == ["hi"], f"{where}: the queue knows a repetition"

    calls = at_each_call(crashing, prepare, lambda dies_at: crashing.run("control", batch, dies_at=dies_at), check)
    assert "SendMessageBatch" in calls


def delivered(crashing: World, message: Callable[[], Deferred], check: Callable[[str], None], *rows: str) -> list[str]:
    """Kill the worker at each call while it handles a message, and hand out what is in the queue until all is done."""

    def prepare() -> None:
        for whose in OTHERS:
            crashing.connected(whose, "lobby", *rows, metadata='"Zoë"')
        crashing.put(message())

    def check_all(where: str) -> None:
        crashing.drain()
        check(where)

    return at_each_call(crashing, prepare, lambda dies_at: crashing.deliver(dies_at=dies_at), check_all)


def test_what_waits_for_the_socket_to_open(crashing: World) -> None:
    me = OTHERS[0]

    def check(where: str) -> None:
        assert firsts(crashing.got(me)) == ["first", "second", "to all"], where
        assert repeated_at_most_once(crashing.got(me)), where

    events: list[AnswerEvent] = [SendText(me, "first"), SendText(me, "second"), PublishText("lobby", "to all")]
    delivered(crashing, lambda: Continuation(me, events), check)


def test_close_that_waits_in_the_queue(crashing: World) -> None:
    """Its metadata is told whenever the worker dies: it is noted before the rows go."""
    me = OTHERS[0]
    crashing.answers = {"CLOSE": [publish("somebody has left")]}

    def check(where: str) -> None:
        assert crashing.channels_of(me) == set(), where
        assert [told["metadata"] for told in crashing.told] in (["Zoë"], ["Zoë", "Zoë"]), where
        for whose in OTHERS[1:]:
            assert firsts(crashing.got(whose)) == ["somebody has left"], where

    calls = delivered(crashing, lambda: CloseNotice(me, 1001, "bye", None), check, "aside")
    assert calls[:5] == ["GetItem", "PutItem", "Query", "BatchWriteItem", "the backend is told CLOSE"]


def test_split(crashing: World) -> None:
    def check(where: str) -> None:
        for whose in OTHERS:
            assert crashing.got(whose) == ["hi"], f"{where}: the queue knows a chunk that comes twice"

    delivered(crashing, lambda: FanOut(PublishText("lobby", "hi"), uuid.uuid4().hex), check)


def test_chunk(crashing: World) -> None:
    def check(where: str) -> None:
        for whose in OTHERS:
            assert firsts(crashing.got(whose)) == ["hi"], where
            assert repeated_at_most_once(crashing.got(whose)), where

    hi = PublishText("lobby", "hi")
    delivered(crashing, lambda: FanOutChunk(hi, uuid.uuid4().hex, list(OTHERS), shard=0), check)
