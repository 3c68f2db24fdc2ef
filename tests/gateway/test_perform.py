from __future__ import annotations

from typing import Any

import pytest

from slip_sockets.apigateway.limits import OPENING_WINDOW_S
from slip_sockets.gateway.deadlines import RESERVE_S
from slip_sockets.gateway.errors import ActionFailed, Incomplete
from slip_sockets.gateway.idempotency import CLAIM_WAIT_S
from slip_sockets.gateway.observer import EventType, HandledEvent, handling
from slip_sockets.gateway.perform import Performer
from slip_sockets.gateway.ports import Claim
from slip_sockets.protocol.events import (
    Accept,
    CloseChannel,
    CloseConnection,
    PollForConnection,
    PublishText,
    Report,
    SendText,
    SetMetadata,
    Subscribe,
    Unsubscribe,
)

from .doubles import ME, YOU, World


@pytest.fixture
def performer(world: World) -> Performer:
    return world.performer


async def subscribers(world: World, channel: str) -> list[str]:
    return [id_ async for page in world.store.subscribers(channel) for id_ in page.connection_ids]


async def test_events_take_effect_in_order(world: World, performer: Performer) -> None:
    await world.connected(ME, YOU)
    reports = await performer.run(
        [
            PublishText("room", "nobody"),
            Subscribe(ME, "room"),
            PublishText("room", "one"),
            SendText(YOU, "two"),
            Unsubscribe(ME, "room"),
            PublishText("room", "nobody"),
        ]
    )
    assert world.sender.sent == [(ME, "one"), (YOU, "two")]
    assert reports == [Report(0, 0, 0, 0), None, Report(1, 1, 0, 0), None, None, Report(0, 0, 0, 0)]


async def test_a_publish_to_a_subscriber_who_has_left_forgets_him(world: World, performer: Performer) -> None:
    await world.connected(ME, YOU, channels=["room", "other"], metadata=b'"m"')
    world.sender.gone = {YOU}
    assert await performer.run([PublishText("room", "1"), PublishText("room", "2")]) == [
        Report(2, 1, 1, 0),
        Report(1, 1, 0, 0),
    ]
    assert await subscribers(world, "other") == [ME]
    stored = await world.store.get(YOU)
    assert stored is not None, "his disconnect event still finds the metadata"
    assert stored.metadata == b'"m"'
    assert world.clock.sleeps == []


async def test_a_connection_that_is_just_being_accepted_is_waited_for(world: World, performer: Performer) -> None:
    await world.store.open(ME, b"null", ["room"])
    world.sender.gone = {ME}
    original_sleep = world.clock.sleep

    async def open_in_half_a_second(seconds: float) -> None:
        await original_sleep(seconds)
        if sum(world.clock.sleeps) > 0.5:
            world.sender.gone.clear()

    world.clock.sleep = open_in_half_a_second  # type: ignore[method-assign]
    assert await performer.run([PublishText("room", "hi")]) == [Report(1, 1, 0, 0)]
    assert world.sender.sent == [(ME, "hi")]


async def test_a_connection_that_never_opens_is_gone_when_the_accept_window_has_passed(
    world: World, performer: Performer
) -> None:
    await world.store.open(ME, b"null", ["room"])
    world.sender.gone = {ME}
    assert await performer.run([PublishText("room", "hi")]) == [Report(1, 0, 0, 1)]
    assert await subscribers(world, "room") == [ME]
    (single,) = world.queue.messages
    world.clock.time += OPENING_WINDOW_S - sum(world.clock.sleeps) - 3
    with pytest.raises(Incomplete) as incomplete:
        await world.defer(single)
    assert incomplete.value.remaining == single
    world.clock.time += 3
    await world.defer(single)
    assert await subscribers(world, "room") == []


async def test_a_text_to_a_connection_that_does_not_open_fails(world: World, performer: Performer) -> None:
    await world.store.open(ME, b"null", [])
    world.sender.gone = {ME}
    with pytest.raises(ActionFailed) as failure:
        await performer.run([SendText(ME, "hi")])
    reason = "the connection was accepted lately and is not open yet"
    assert str(failure.value) == f"events[0]: TEXT failed: {reason}"
    assert not failure.value.lacked_time


@pytest.mark.parametrize("skew_s", [-30, 30])
async def test_clocks_half_a_minute_apart_prune_nobody_who_is_about_to_open(
    world: World, performer: Performer, skew_s: float
) -> None:
    world.clock.time += skew_s
    await world.store.open(ME, b"null", ["room"])
    world.clock.time -= skew_s  # another function's
    world.sender.gone = {ME}
    assert await performer.run([PublishText("room", "hi")]) == [Report(1, 0, 0, 1)]
    world.sender.gone = set()
    (single,) = world.queue.messages
    await world.defer(single)
    assert world.sender.sent == [(ME, "hi")]
    assert await subscribers(world, "room") == [ME]


async def test_a_refused_connection_is_a_failure_and_not_gone(
    world: World, performer: Performer, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME, channels=["room"])
    world.sender.refused = {ME}
    with handling(HandledEvent(EventType.CONTROL)):
        assert await performer.run([PublishText("room", "")]) == [Report(1, 0, 0, 0)]
    assert world.observer.failures == {"CONTROL": 1}
    assert world.observer.gone == 0
    assert await subscribers(world, "room") == [ME]
    assert caplog.messages == [f"connection {ME}: it is refused: Invalid connectionId; skipped"]


async def test_the_same_id_on_the_same_channel_is_delivered_once(world: World, performer: Performer) -> None:
    await world.connected(ME, channels=["room", "hall"])
    publish = PublishText("room", "hi", "m1")
    await performer.run([publish, publish, PublishText("hall", "hi", "m1"), PublishText("room", "hi", "m2")])
    assert len(world.sender.sent) == 3
    world.clock.time += 301
    assert await performer.run([publish]) == [Report(1, 1, 0, 0)]


async def test_an_id_is_remembered_even_when_nobody_listened(world: World, performer: Performer) -> None:
    await performer.run([PublishText("room", "hi", "m1")])
    await world.connected(ME, channels=["room"])
    assert await performer.run([PublishText("room", "hi", "m1")]) == [Report(0, 0, 0, 0)]
    assert world.sender.sent == []


async def test_a_publish_that_failed_may_be_repeated_with_its_id(world: World, performer: Performer) -> None:
    await world.connected(ME, channels=["room"])
    world.store.away = {"subscribers"}
    with pytest.raises(ActionFailed):
        await performer.run([PublishText("room", "hi", "m1")])
    world.store.away.clear()
    assert await performer.run([PublishText("room", "hi", "m1")]) == [Report(1, 1, 0, 0)]


async def test_a_publish_waits_for_one_with_its_id_that_may_yet_fail(world: World, performer: Performer) -> None:
    await world.connected(ME, channels=["room"])
    assert (await world.store.claim("room", "m1", "somebody", lease_s=CLAIM_WAIT_S / 2)).claim is Claim.GRANTED
    assert await performer.run([PublishText("room", "hi", "m1")]) == [Report(1, 1, 0, 0)]
    assert CLAIM_WAIT_S / 2 <= sum(world.clock.sleeps) < CLAIM_WAIT_S


async def test_a_publish_does_not_wait_for_ever_for_another_one_with_its_id(world: World, performer: Performer) -> None:
    await world.connected(ME, channels=["room"])
    await world.store.claim("room", "m1", "somebody", lease_s=60)
    with pytest.raises(ActionFailed) as failure:
        await performer.run([PublishText("room", "hi", "m1")])
    assert str(failure.value) == (
        "events[0]: PUBLISH_TEXT failed: another publish with the id 'm1' is in progress, or was broken off"
    )
    assert sum(world.clock.sleeps) == pytest.approx(CLAIM_WAIT_S, abs=0.2)
    assert world.sender.sent == []


async def test_a_publish_whose_claim_cannot_be_confirmed_was_sent(
    world: World, performer: Performer, caplog: pytest.LogCaptureFixture
) -> None:
    await world.connected(ME, channels=["room"])
    world.store.away = {"confirm"}
    assert await performer.run([PublishText("room", "hi", "m1")]) == [Report(1, 1, 0, 0)]
    assert caplog.messages == [
        "channel 'room': a repetition within five minutes may be sent again: the table is away for confirm"
    ]


async def test_nothing_is_begun_when_no_time_is_left(world: World, performer: Performer) -> None:
    await world.connected(ME)
    deadline = world.clock.now() + RESERVE_S
    world.clock.time += 0.001
    with pytest.raises(ActionFailed) as failure:
        await performer.run([SendText(ME, "hi")], deadline=deadline)
    assert str(failure.value) == "events[0]: TEXT failed: no time is left for it"
    assert failure.value.lacked_time
    assert world.sender.calls == []


async def test_a_text_that_lacked_time_is_reported(world: World, performer: Performer) -> None:
    await world.connected(ME)
    world.sender.has_time_for = 0
    with pytest.raises(ActionFailed) as failure:
        await performer.run([SendText(ME, "hi")], deadline=world.clock.now() + 10)
    assert str(failure.value) == "events[0]: TEXT failed: no time was left to send it"
    assert failure.value.lacked_time
    assert world.sender.untils == [world.clock.now() + 10 - RESERVE_S]


async def test_the_action_that_fails_is_reported_and_ends_the_batch(world: World, performer: Performer) -> None:
    await world.connected(ME, YOU)
    world.sender.failing = {ME: 99}
    with pytest.raises(ActionFailed) as failure:
        await performer.run([SendText(YOU, "before"), SendText(ME, "at"), SendText(YOU, "after")])
    assert str(failure.value) == "events[1]: TEXT failed: the client's buffer is full"
    assert failure.value.index == 1
    assert world.sender.sent == [(YOU, "before")]


async def test_a_close_takes_the_subscriptions_and_leaves_the_metadata(world: World, performer: Performer) -> None:
    await world.connected(ME, channels=["room"], metadata=b'"m"')
    await performer.run([CloseConnection(ME)])
    assert world.sender.closed == [ME]
    assert await subscribers(world, "room") == []
    stored = await world.store.get(ME)
    assert stored is not None
    assert stored.metadata == b'"m"'


async def test_a_channel_is_closed_for_each_subscriber(world: World, performer: Performer) -> None:
    await world.connected(ME, YOU, channels=["room"])
    world.sender.gone = {YOU}
    assert await performer.run([CloseChannel("room")]) == [Report(2, 1, 1, 0)]
    assert world.sender.closed == [ME]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SendText("no\tid", "x"), "TEXT skipped: connection 'no\\tid' is not a connection id"),
        (SendText(YOU, "x"), f"TEXT skipped: connection '{YOU}' is not connected"),
        (CloseConnection(YOU), f"CLOSE skipped: connection '{YOU}' is not connected"),
        (Subscribe(YOU, "room"), f"SUBSCRIBE skipped: connection '{YOU}' is not connected"),
        (Subscribe("x" * 5000, "room"), "SUBSCRIBE skipped: connection 'xxxxxxxxxxxxx"),
        (SetMetadata(YOU, 1), f"SET_METADATA skipped: connection '{YOU}' is not connected"),
        (PollForConnection(YOU, 0), f"POLL_FOR_CONNECTION skipped: connection '{YOU}' did not open in time"),
    ],
)
async def test_a_connection_that_is_none_is_skipped_and_logged(
    world: World, performer: Performer, caplog: pytest.LogCaptureFixture, event: Any, line: str
) -> None:
    is_impossible = event.connection_id != YOU
    await world.connected(ME)
    world.sender.gone = {YOU}
    world.sender.opens_after_polls = 1
    with handling(HandledEvent(EventType.CONTROL)):
        assert await performer.run([event, SendText(ME, "still")]) == [None, None]
    assert world.sender.sent == [(ME, "still")]
    assert world.observer.failures == ({"CONTROL": 1} if is_impossible else {})
    (logged,) = caplog.messages
    assert logged.startswith(line)
    assert len(logged) < 120
    assert len(world.store) == 1


async def test_accept_means_nothing_here(world: World, performer: Performer) -> None:
    assert await performer.run([Accept(ME), Accept("nonsense")]) == [None, None]
    assert world.sender.calls == []


async def test_metadata_is_replaced(world: World, performer: Performer) -> None:
    await world.connected(ME, metadata=b'"old"')
    await performer.run([SetMetadata(ME, {"é": None})])
    stored = await world.store.get(ME)
    assert stored is not None
    assert stored.metadata == '{"é":null}'.encode()


async def test_a_poll_ends_when_the_connection_is_open(world: World, performer: Performer) -> None:
    world.sender.opens_after_polls = 3
    await performer.run([PollForConnection(ME, 25_000)])
    assert len(world.clock.sleeps) == 3


async def test_a_poll_ends_in_time(world: World, performer: Performer) -> None:
    world.sender.opens_after_polls = 10**9
    await performer.run([PollForConnection(ME, 120)])
    assert sum(world.clock.sleeps) == pytest.approx(0.12)
