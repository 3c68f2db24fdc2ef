"""What clients send, where it comes by a queue: texts, and disconnects.

Longer than 400 lines: both wait in the same groups, which all cases share.
"""

from __future__ import annotations

import logging
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from slip_sockets.gateway.deadlines import RESERVE_S
from slip_sockets.gateway.deferred import (
    MAX_TEXTS,
    MAX_TEXTS_BYTES,
    CloseNotice,
    Continuation,
    Deferred,
    Disconnected,
    ReceivedText,
    Texts,
    merged,
)
from slip_sockets.gateway.errors import HttpError, HttpFailure, Incomplete, Unavailable
from slip_sockets.gateway.observer import EventType, HandledEvent, current_event
from slip_sockets.gateway.ports import Checkpoint
from slip_sockets.gateway.values import Done, HttpResponse
from slip_sockets.gateway.worker import (
    DEFAULT_INBOUND_RETRY_S,
    MAX_INBOUND_PAUSE_S,
    DeadLetter,
    InboundWorker,
    Retry,
)
from slip_sockets.protocol.events import PublishText, SendText

from .doubles import ACCEPT, ME, YOU, RecordingQueue, Saved, World, socket_event

BACKEND = "backend https://app.example/slip"
TEXTS = Texts(ME, [ReceivedText("m1", b"hi"), ReceivedText("m2", b"Zo\xc3\xab \x00")])
LEFT = Disconnected(ME, 1001, b"bye")
CLOSE = {"type": "CLOSE", "connectionId": ME, "code": 1001, "reason": "bye"}
RETRYABLE = [HttpError("refused"), HttpError("late", HttpFailure.TIMEOUT), HttpResponse(429), HttpResponse(503)]
FINAL = [
    (HttpResponse(404), f"{BACKEND} responded with 404"),
    (HttpResponse(301), f"{BACKEND} responded with 301"),
    (HttpError("more than 1 byte", HttpFailure.TOO_LARGE), f"{BACKEND} responded with more than 1 byte"),
    (
        HttpResponse(200, body=b"{"),
        f"{BACKEND} responded with 200 and a body that is not valid: the body is not JSON: it breaks off (byte 1)",
    ),
]


def text_event(data: str, id_: str) -> dict[str, Any]:
    return {"type": "TEXT", "connectionId": ME, "data": data, "id": id_}


def text(data: str, connection_id: str = ME) -> dict[str, Any]:
    return {"type": "TEXT", "connectionId": connection_id, "data": data}


def publish(data: str) -> dict[str, Any]:
    return {"type": "PUBLISH_TEXT", "channelId": "room", "data": data}


# Texts


async def test_texts_are_one_post_in_order_with_their_ids_and_the_stored_metadata(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    await world.defer(TEXTS)
    events = [text_event("hi", "m1"), text_event("Zoë \x00", "m2")]
    assert world.client.requests == [{"connectionId": ME, "metadata": {"user": "ada"}, "events": events}]


async def test_texts_of_a_connection_that_is_not_stored_have_no_metadata(world: World) -> None:
    await world.defer(Texts(ME, [ReceivedText("m1", b"")]))
    assert world.client.requests == [{"connectionId": ME, "metadata": None, "events": [text_event("", "m1")]}]


async def test_bytes_that_are_not_utf_8_are_replaced(world: World) -> None:
    await world.defer(Texts(ME, [ReceivedText("m1", b"a\xffb")]))
    assert world.client.requests[0]["events"] == [text_event("a\ufffdb", "m1")]


@pytest.mark.parametrize("answer", RETRYABLE)
async def test_texts_that_the_backend_cannot_take_now_come_again_whole_with_the_same_ids(
    world: World, answer: HttpResponse | HttpError
) -> None:
    await world.connected(ME)
    world.client.response = answer
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(TEXTS)
    assert incomplete.value.remaining == TEXTS
    assert (world.sender.calls, world.queue.messages, world.checkpoint.saved) == ([], [], [])
    world.client.will_reply(text("echo"))
    await world.defer(TEXTS)
    first, second = world.client.requests
    assert first == second
    assert world.sender.sent == [(ME, "echo")]


@pytest.mark.parametrize(("answer", "reason"), FINAL)
async def test_texts_that_the_backend_does_not_want_are_logged_once_and_dropped(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpResponse | HttpError, reason: str
) -> None:
    await world.connected(ME)
    world.client.response = answer
    await world.defer(TEXTS)
    assert caplog.messages == [f"TEXT of connection {ME}, 2 in all: {reason}"]
    assert world.observer.failures == {"TEXT": 1}
    assert len(world.client.requests) == 1
    assert world.queue.messages == []


async def test_texts_whose_metadata_cannot_be_read_come_again_and_the_backend_is_not_called(world: World) -> None:
    await world.connected(ME)
    world.store.away = {"get"}
    with pytest.raises(Incomplete, match="the table is away for get; the backend was not called") as incomplete:
        await world.defer(TEXTS)
    assert incomplete.value.remaining == TEXTS
    assert world.client.requests == []


async def test_texts_without_a_secret_come_again(world: World) -> None:
    world.secrets_are_away = True
    with pytest.raises(Incomplete):
        await world.defer(TEXTS)
    assert world.client.requests == []


async def test_reply_to_texts_is_performed(world: World) -> None:
    await world.connected(ME)
    await world.connected(YOU, channels=["room"])
    world.client.will_reply({"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"}, publish("1"), text("2"))
    await world.defer(TEXTS)
    assert sorted(world.sender.sent) == sorted([(ME, "1"), (YOU, "1"), (ME, "2")])
    assert world.sender.sent[-1] == (ME, "2")


async def test_remaining_part_of_a_reply_is_queued_and_the_texts_are_done(world: World) -> None:
    await world.connected(ME, YOU)
    world.client.will_reply(text("1"), text("2", YOU), text("3"))
    world.sender.failing = {YOU: 1}
    await world.defer(TEXTS)
    assert world.sender.sent == [(ME, "1")]
    assert world.queue.messages == [Continuation(ME, [SendText(YOU, "2"), SendText(ME, "3")])]


async def test_reply_for_which_no_time_is_left_is_queued(world: World) -> None:
    await world.connected(ME)
    world.client.will_reply(text("1"))
    await world.defer(TEXTS, deadline=world.clock.now() + RESERVE_S - 0.1)
    assert world.queue.messages == [Continuation(ME, [SendText(ME, "1")])]


async def test_texts_come_again_where_the_reply_can_be_neither_performed_nor_queued(world: World) -> None:
    await world.connected(ME)
    world.client.will_reply(text("1"))
    world.sender.failing = {ME: 1}
    world.queue.is_away = True
    with pytest.raises(Incomplete, match="neither done nor queued") as incomplete:
        await world.defer(TEXTS)
    assert incomplete.value.remaining == TEXTS


# What OPEN's reply deferred


async def test_what_the_reply_to_open_deferred_goes_before_the_texts() -> None:
    world = World(is_ordered=True)
    world.client.will_reply(ACCEPT, text("hi"))
    await world.websocket(socket_event("CONNECT"))
    assert world.inbound.messages == [Continuation(ME, [SendText(ME, "hi")])]
    assert world.queue.messages == []


async def test_without_that_queue_it_goes_to_the_one_of_deferred_messages(world: World) -> None:
    world.client.will_reply(ACCEPT, text("hi"))
    await world.websocket(socket_event("CONNECT"))
    assert world.queue.messages == [Continuation(ME, [SendText(ME, "hi")])]


async def test_open_with_actions_that_cannot_be_put_before_the_texts_is_refused() -> None:
    world = World(is_ordered=True)
    world.inbound.is_away = True
    world.client.will_reply(ACCEPT, text("hi"))
    assert (await world.websocket(socket_event("CONNECT")))["statusCode"] == 500
    assert len(world.store) == 0


async def test_only_that_goes_there() -> None:
    world = World(is_ordered=True)
    await world.connected(ME)
    world.client.will_reply(text("1"))
    world.sender.failing = {ME: 1}
    await world.defer(TEXTS)
    world.client.response = HttpResponse(503)
    await world.defer(LEFT)
    assert [message.kind for message in world.queue.messages] == ["continuation", "close_notice"]
    assert world.inbound.messages == []


# Disconnects


async def test_backend_has_its_close_before_the_rows_go(world: World) -> None:
    await world.connected(ME, channels=["room"], metadata=b'{"user":"ada"}')
    world.store.away = {"remove"}
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(LEFT)
    assert incomplete.value.remaining == LEFT
    close = {"connectionId": ME, "metadata": {"user": "ada"}, "events": [CLOSE]}
    assert world.client.requests == [close]
    world.store.away.clear()
    await world.defer(LEFT)
    assert world.client.requests == [close, close], "the metadata is still known"
    assert len(world.store) == 0


@pytest.mark.parametrize(
    ("message", "close"),
    [
        (Disconnected(ME), {}),
        (Disconnected(ME, 1005), {"code": 1005, "reason": ""}),
        (Disconnected(ME, 4000, b""), {"code": 4000, "reason": ""}),
        (Disconnected(ME, 4000, b"gr\xc3\xbc\xff"), {"code": 4000, "reason": "grü\ufffd"}),
    ],
)
async def test_close_has_the_code_and_the_reason_that_are_known(
    world: World, message: Disconnected, close: dict[str, Any]
) -> None:
    await world.defer(message)
    event = {"type": "CLOSE", "connectionId": ME, **close}
    assert world.client.requests == [{"connectionId": ME, "metadata": None, "events": [event]}]


async def test_publishes_in_the_reply_to_a_close_do_not_count_the_one_that_left(world: World) -> None:
    await world.connected(ME, YOU, channels=["room"])
    world.client.will_reply(publish("one has left"))
    await world.defer(LEFT)
    assert world.sender.calls == [[YOU]]
    (report,) = world.observer.reports
    assert (report.matched, report.sent, report.gone) == (1, 1, 0)


async def test_reply_to_a_close_cannot_subscribe_the_one_that_left(world: World) -> None:
    await world.connected(ME)
    world.client.will_reply({"type": "SUBSCRIBE", "connectionId": ME, "channel": "room"})
    await world.defer(LEFT)
    assert len(world.store) == 0
    assert [page.connection_ids async for page in world.store.subscribers("room")] in ([], [[]])


@pytest.mark.parametrize("answer", RETRYABLE)
async def test_close_that_cannot_be_sent_is_queued_with_its_metadata(
    world: World, answer: HttpResponse | HttpError
) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.response = answer
    await world.defer(LEFT)
    assert world.queue.messages == [CloseNotice(ME, 1001, "bye", b'{"user":"ada"}')]
    assert len(world.store) == 0
    assert world.observer.failures == {"CLOSE": 1}


@pytest.mark.parametrize(("answer", "reason"), FINAL)
async def test_close_that_the_backend_does_not_want_is_logged_once_and_not_queued(
    world: World, caplog: pytest.LogCaptureFixture, answer: HttpResponse | HttpError, reason: str
) -> None:
    await world.connected(ME)
    world.client.response = answer
    await world.defer(LEFT)
    assert world.queue.messages == []
    assert len(world.store) == 0
    assert caplog.messages == [f"CLOSE of connection {ME}: {reason}"]


async def test_close_that_can_be_neither_sent_nor_queued_comes_again_with_its_rows(world: World) -> None:
    await world.connected(ME, metadata=b'{"user":"ada"}')
    world.client.response = HttpError("refused")
    world.queue.is_away = True
    with pytest.raises(Incomplete, match="the queue is away") as incomplete:
        await world.defer(LEFT)
    assert incomplete.value.remaining == LEFT
    assert len(world.store) == 1


async def test_close_with_a_reply_that_can_be_neither_performed_nor_queued_comes_again_with_its_rows(
    world: World,
) -> None:
    await world.connected(ME)
    world.client.will_reply(publish("one has left"))
    world.store.away = {"channel_state"}
    world.queue.is_away = True
    with pytest.raises(Incomplete):
        await world.defer(LEFT)
    assert len(world.store) == 1
    world.queue.is_away = False
    await world.defer(LEFT)
    assert world.queue.messages == [Continuation(ME, [PublishText("room", "one has left")])]
    assert len(world.store) == 0


async def test_close_whose_rows_cannot_be_read_comes_again_and_the_backend_is_not_called(world: World) -> None:
    await world.connected(ME)
    world.store.away = {"get"}
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(LEFT)
    assert incomplete.value.remaining == LEFT
    assert world.client.requests == []


# The worker

WAITING = Continuation(ME, [SendText(ME, "1"), SendText(ME, "2")])
REMAINING = Continuation(ME, [SendText(ME, "2")])


class Failing:
    """A handler that leaves a message as it is, or as it is in `remaining`."""

    def __init__(self, remaining: Deferred | None = None) -> None:
        self.remaining = remaining
        self.handled: list[Deferred] = []
        self.events: list[HandledEvent | None] = []

    async def __call__(self, message: Any, checkpoint: Checkpoint, /, *, deadline: float) -> None:
        self.handled.append(message)
        self.events.append(current_event.get())
        raise Incomplete(self.remaining or message, "away")


class Inbound:
    """The worker with one handler for all kinds of messages, the queue of deferred messages, and a checkpoint."""

    def __init__(self, handler: Failing | None = None, *, retry_for_s: float = DEFAULT_INBOUND_RETRY_S) -> None:
        self.handler = handler or Failing()
        self.queue = RecordingQueue()
        self.checkpoint = Saved()
        kinds = (Continuation, CloseNotice, Texts, Disconnected)
        self._worker = InboundWorker(dict.fromkeys(kinds, self.handler), self.queue, retry_for_s=retry_for_s)

    async def attempt(self, message: Deferred, number: int) -> Done | Retry | DeadLetter:
        return await self._worker.attempt(message, number, self.checkpoint, deadline=1e12)

    async def until_the_end(self, message: Deferred) -> tuple[list[float], Done | DeadLetter]:
        """Make all attempts; return the pauses between them, and the last result."""
        pauses: list[float] = []
        while True:
            match await self.attempt(message, len(pauses) + 1):
                case Retry(after_s):
                    pauses.append(after_s)
                case result:
                    return pauses, result


async def test_texts_are_tried_again_after_pauses_of_ten_seconds_at_most_and_then_are_a_dead_letter() -> None:
    inbound = Inbound()
    pauses, result = await inbound.until_the_end(TEXTS)
    assert pauses == [1, 2, 4, 8, 10, 10, 10, 10]
    assert result == DeadLetter(TEXTS)
    assert inbound.handler.handled == [TEXTS] * 9
    assert inbound.queue.messages == []


@pytest.mark.parametrize("retry_for_s", [10, 15, 24, 25, 240])
async def test_pauses_fill_the_time_and_do_not_pass_it(retry_for_s: int) -> None:
    pauses, _ = await Inbound(retry_for_s=retry_for_s).until_the_end(TEXTS)
    assert retry_for_s - MAX_INBOUND_PAUSE_S < sum(pauses) <= retry_for_s


async def test_texts_are_handled_and_logged_as_a_text(caplog: pytest.LogCaptureFixture) -> None:
    inbound = Inbound()
    await inbound.attempt(TEXTS, 1)
    await inbound.attempt(LEFT, 1)
    assert inbound.handler.events == [HandledEvent(EventType.TEXT, ME), HandledEvent(EventType.CLOSE, ME)]
    assert caplog.messages[0] == f"connection {ME}: deferred, attempt 1: away; again in 1 s"


@pytest.mark.parametrize("message", [WAITING, LEFT])
async def test_anything_else_goes_on_in_the_queue_of_deferred_messages_and_frees_its_group(message: Deferred) -> None:
    inbound = Inbound()
    pauses, result = await inbound.until_the_end(message)
    assert sum(pauses) <= DEFAULT_INBOUND_RETRY_S
    assert result == Done()
    assert inbound.queue.messages == [message]


async def test_only_what_remains_goes_on_there() -> None:
    inbound = Inbound(Failing(REMAINING))
    _, result = await inbound.until_the_end(WAITING)
    assert (result, inbound.queue.messages) == (Done(), [REMAINING])
    assert inbound.handler.handled == [WAITING, *[REMAINING] * 8]


async def test_without_that_queue_it_is_tried_again_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    inbound = Inbound(Failing(REMAINING))
    inbound.queue.is_away = True
    for number in (9, 10, 30):
        assert await inbound.attempt(WAITING, number) == Retry(MAX_INBOUND_PAUSE_S)
    assert inbound.handler.handled == [WAITING, REMAINING, REMAINING], "nothing is done twice"
    assert caplog.messages[-1] == f"connection {ME}: deferred: it cannot be queued: the queue is away"
    inbound.queue.is_away = False
    assert await inbound.attempt(WAITING, 31) == Done()
    assert inbound.queue.messages == [REMAINING]


class Lost(Saved):
    async def load(self) -> Deferred | None:
        raise Unavailable("the table is away")


async def test_texts_are_a_dead_letter_in_time_although_the_table_is_away() -> None:
    inbound = Inbound()
    inbound.checkpoint = Lost()
    assert await inbound.attempt(TEXTS, 2) == Retry(2)
    assert await inbound.attempt(TEXTS, 9) == DeadLetter(TEXTS)
    assert inbound.handler.handled == []


# Several messages in one POST


@st.composite
def _groups(draw: st.DrawFn) -> list[Deferred]:
    """The messages of a group: texts of all sizes, and other messages here and there."""
    count = draw(st.integers(1, 12))
    messages: list[Deferred] = []
    for number in range(count):
        kind = draw(st.sampled_from(["texts"] * 9 + ["others"]))
        if kind == "others":
            others: list[Deferred] = [WAITING, LEFT]
            messages.append(draw(st.sampled_from(others)))
            continue
        sizes = draw(
            st.one_of(
                st.lists(st.integers(0, 20), min_size=1, max_size=4),
                st.lists(st.just(1), min_size=15, max_size=MAX_TEXTS + 5),
                st.lists(st.sampled_from([1, 40_000, 99_999, 100_000, 131_072, 200_001]), min_size=1, max_size=2),
            )
        )
        texts = [ReceivedText(f"{number}.{index}", b"x" * size) for index, size in enumerate(sizes)]
        messages.append(Texts(ME, texts))
    return messages


def _texts_of(messages: list[Deferred]) -> list[ReceivedText]:
    return [received for message in messages if isinstance(message, Texts) for received in message.texts]


def _fits(texts: list[ReceivedText]) -> bool:
    return len(texts) <= MAX_TEXTS and sum(len(received.data) for received in texts) <= MAX_TEXTS_BYTES


@given(_groups())
def test_all_messages_are_merged_in_order_and_no_more_than_fit_into_a_post(messages: list[Deferred]) -> None:
    rest = messages
    made: list[Deferred] = []
    while rest:
        message, count = merged(rest)
        assert 1 <= count <= len(rest)
        made.append(message)
        joined, rest = rest[:count], rest[count:]
        if not isinstance(message, Texts):
            assert joined == [message]
            continue
        assert message.texts == _texts_of(joined)
        assert all(isinstance(each, Texts) for each in joined)
        assert count == 1 or _fits(message.texts)
        if rest and isinstance(rest[0], Texts):
            assert not _fits([*message.texts, *rest[0].texts]), "as many as fit"
    assert _texts_of(made) == _texts_of(messages)
    others = [message for message in made if not isinstance(message, Texts)]
    assert others == [message for message in messages if not isinstance(message, Texts)]


def test_limits_of_a_post_are_reached_and_not_passed() -> None:
    one = Texts(ME, [ReceivedText("m", b"x")])
    message, count = merged([one] * (MAX_TEXTS + 1))
    assert isinstance(message, Texts)
    assert (len(message.texts), count) == (MAX_TEXTS, MAX_TEXTS)
    half = Texts(ME, [ReceivedText("m", b"x" * (MAX_TEXTS_BYTES // 2))])
    assert merged([half, half, one])[1] == 2
    larger = Texts(ME, [ReceivedText("m", b"x" * (MAX_TEXTS_BYTES + 1))])
    assert merged([larger, one]) == (larger, 1)
    assert merged([one, larger]) == (one, 1)
