"""Subscribers that are sent what they missed, and publishes that are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from slip_sockets.gateway.deferred import CatchUp, LateLook
from slip_sockets.gateway.errors import ActionFailed, Incomplete
from slip_sockets.gateway.observer import EventType, HandledEvent, handling
from slip_sockets.gateway.values import Form
from slip_sockets.protocol.events import History, HistoryReport, Keep, PublishText, Report, SendText, Subscribe

from .doubles import INLINE_LIMIT, ME, YOU, World, control_event

KEEP = Keep(count=100, seconds=3_600)


@pytest.fixture
def world() -> World:
    return World()


async def framed(world: World, *connection_ids: str, channels: Sequence[str] = ()) -> None:
    await world.connected(*connection_ids, channels=channels, form=Form.SLIP_V1)


async def kept(world: World, *texts: str, channel: str = "room") -> list[str]:
    """Publish texts that are kept, and return their positions."""
    reports = await world.performer.run([PublishText(channel, text, keep=KEEP) for text in texts])
    return [report.position for report in reports if isinstance(report, Report) and report.position is not None]


def frames(world: World, connection_id: str = ME) -> list[dict[str, Any]]:
    """Return the frames that a connection was sent, and forget them."""
    found = [json.loads(text) for id_, text in world.sender.sent if id_ == connection_id]
    world.sender.sent.clear()
    return found


def message(text: str, position: str) -> dict[str, Any]:
    return {"slip": "message", "channel": "room", "data": text, "position": position}


def subscribed(position: str, *, recovered: bool, since: str | None = None) -> dict[str, Any]:
    more = {} if since is None else {"since": since}
    return {"slip": "subscribed", "channel": "room", "position": position, "recovered": recovered, **more}


# Publishing


async def test_each_subscriber_gets_its_form(world: World) -> None:
    await framed(world, ME, channels=["room"])
    await world.connected(YOU, channels=["room"])
    (position,) = await kept(world, "hi")
    assert sorted(world.sender.sent) == [
        (ME, f'{{"slip":"message","channel":"room","data":"hi","position":"{position}"}}'),
        (YOU, "hi"),
    ]
    world.sender.sent.clear()
    (report,) = await world.performer.run([PublishText("room", "not kept")])
    assert report == Report(2, 2, 0, 0)
    assert sorted(world.sender.sent) == [
        (ME, '{"slip":"message","channel":"room","data":"not kept"}'),
        (YOU, "not kept"),
    ]


async def test_subscriber_of_the_same_batch_gets_its_form(world: World) -> None:
    await framed(world, ME)
    world.store.unseen = {ME}
    await world.performer.run([Subscribe(ME, "room"), PublishText("room", "hi")])
    assert frames(world) == [{"slip": "message", "channel": "room", "data": "hi"}]


async def test_many_subscribers_get_their_forms_by_the_queue(world: World) -> None:
    raw = [f"{number:015d}=" for number in range(INLINE_LIMIT)]
    in_frames = [f"{number:015d}=" for number in range(INLINE_LIMIT, 2 * INLINE_LIMIT)]
    await world.connected(*raw, channels=["room"])
    await framed(world, *in_frames, channels=["room"])
    await framed(world, ME)
    world.store.unseen = {ME}
    _, report = await world.performer.run([Subscribe(ME, "room"), PublishText("room", "hi", keep=KEEP)])
    assert isinstance(report, Report)
    assert report.position is not None
    assert report.sent == 0
    while world.queue.messages:
        await world.defer(world.queue.messages.pop(0))
    frame = f'{{"slip":"message","channel":"room","data":"hi","position":"{report.position}"}}'
    assert sorted(world.sender.sent) == sorted(
        [(id_, "hi") for id_ in raw] + [(id_, frame) for id_ in (*in_frames, ME)]
    )


async def test_text_that_outgrows_its_frame_is_not_sent_in_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await framed(world, ME, channels=["room"])
    await world.connected(YOU, channels=["room"])
    with handling(HandledEvent(EventType.CONTROL)):
        (report,) = await world.performer.run([PublishText("room", "x" * 131_072)])
    assert report == Report(2, 1, 0, 0)
    assert [id_ for id_, _ in world.sender.sent] == [YOU]
    assert "does not fit into its frame" in caplog.text


async def test_same_id_has_the_same_position_and_is_kept_once(world: World) -> None:
    (first,) = await world.performer.run([PublishText("room", "hi", "id-1", KEEP)])
    (again,) = await world.performer.run([PublishText("room", "hi", "id-1", KEEP)])
    assert isinstance(first, Report)
    assert again == Report(0, 0, 0, 0, position=first.position)
    assert (await world.history.newest("room")).offset == 1


async def test_publish_that_failed_after_it_was_kept_is_kept_once(world: World) -> None:
    await framed(world, ME, channels=["room"])
    world.store.away = {"subscribers"}
    with pytest.raises(ActionFailed):
        await world.performer.run([PublishText("room", "hi", "id-1", KEEP)])
    world.store.away = set()
    (report,) = await world.performer.run([PublishText("room", "hi", "id-1", KEEP)])
    assert isinstance(report, Report)
    assert frames(world) == [message("hi", f"{(await world.history.newest('room')).epoch}:1")]
    assert (await world.history.newest("room")).offset == 1


# Subscribing


async def test_newcomer_learns_the_newest_position(world: World) -> None:
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True)])
    newest = await world.history.newest("room")
    assert frames(world) == [{"slip": "subscribed", "channel": "room", "position": f"{newest.epoch}:0"}]
    (position,) = await kept(world, "hi")
    assert position == f"{newest.epoch}:1"


async def test_what_was_missed_is_sent_before_the_newest_position(world: World) -> None:
    positions = await kept(world, "a", "b", "c")
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True, since=positions[0])])
    assert frames(world) == [
        message("b", positions[1]),
        message("c", positions[2]),
        subscribed(positions[2], recovered=True, since=positions[0]),
    ]
    await world.performer.run([Subscribe(ME, "room", recover=True, since=positions[2])])
    assert frames(world) == [subscribed(positions[2], recovered=True, since=positions[2])]


@pytest.mark.parametrize("since", ["elsewhere:1", "{epoch}:99"])
async def test_what_cannot_be_recovered_is_not_sent_in_part(world: World, since: str) -> None:
    positions = await kept(world, "a", "b")
    await framed(world, ME)
    since = since.format(epoch=positions[0].partition(":")[0])
    await world.performer.run([Subscribe(ME, "room", recover=True, since=since)])
    assert frames(world) == [subscribed(positions[1], recovered=False, since=since)]


@pytest.mark.parametrize("since", ["nonsense", ""])
async def test_what_is_no_position_is_not_sent_back(world: World, since: str) -> None:
    (position,) = await kept(world, "a")
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True, since=since)])
    assert frames(world) == [subscribed(position, recovered=False)]


async def test_more_than_a_megabyte_is_not_recovered(world: World) -> None:
    positions = await kept(world, *(letter * 130_000 for letter in "abcdefghij"))
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True, since=positions[0])])
    assert [frame.get("recovered") for frame in frames(world)] == [False]
    await world.performer.run([Subscribe(ME, "room", recover=True, since=positions[1])])
    assert len(frames(world)) == 9


async def test_raw_subscriber_gets_the_texts_alone(world: World) -> None:
    positions = await kept(world, "a", "b", "c")
    await world.connected(ME)
    await world.performer.run([Subscribe(ME, "room", since=positions[0])])
    assert world.sender.sent == [(ME, "b"), (ME, "c")]
    world.sender.sent.clear()
    await world.performer.run([Subscribe(ME, "room", recover=True), Subscribe(ME, "room", since="elsewhere:1")])
    assert world.sender.sent == []
    assert world.queue.messages == []


async def test_since_of_a_framed_connection_needs_recover(world: World) -> None:
    await framed(world, ME)
    await world.connected(YOU)
    batch = [{"type": "SUBSCRIBE", "connectionId": id_, "channel": "room", "since": "a:1"} for id_ in (YOU, ME)]
    response = await world.control(control_event(batch))
    assert response["statusCode"] == 400
    assert json.loads(response["body"])["error"] == "events[1].since: SUBSCRIBE of a client of slip.v1 needs recover"
    assert not await world.store.is_subscribed(YOU, "room")


async def test_recovery_that_fails_is_tried_again(world: World) -> None:
    await framed(world, ME)
    world.history.away = {"newest"}
    with pytest.raises(ActionFailed) as failure:
        await world.performer.run([Subscribe(ME, "room", recover=True)])
    assert failure.value.index == 0


async def test_what_there_is_no_time_for_is_sent_by_the_queue(world: World) -> None:
    positions = await kept(world, "a", "b", "c")
    await framed(world, ME)
    world.sender.has_time_for = 0
    await world.performer.run([Subscribe(ME, "room", recover=True, since=positions[0])])
    _, catch_up = world.queue.messages
    assert catch_up == CatchUp(ME, "room", positions[0])
    world.sender.has_time_for = 1
    await world.defer(catch_up)
    assert [frame.get("position") for frame in frames(world)] == [positions[1], positions[2], positions[2]]


# The late look


async def late_look(world: World) -> LateLook:
    (found,) = [each for each in world.queue.messages if isinstance(each, LateLook)]
    return found


async def test_late_look_sends_what_the_index_hid(world: World) -> None:
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True)])
    look = await late_look(world)
    world.store.unseen = {ME}
    positions = await kept(world, "a", "b")
    assert [frame["slip"] for frame in frames(world)] == ["subscribed"]
    with pytest.raises(Incomplete) as too_early:
        await world.defer(look)
    assert too_early.value.pause_s == world.store.index_lag_s
    world.clock.time += world.store.index_lag_s
    await world.defer(look)
    assert frames(world) == [message("a", positions[0]), message("b", positions[1])]


async def test_nobody_is_told_that_it_is_subscribed_without_a_late_look(world: World) -> None:
    await framed(world, ME)
    world.queue.is_away = True
    with pytest.raises(ActionFailed):
        await world.performer.run([Subscribe(ME, "room", recover=True)])
    assert frames(world) == []


async def test_late_look_says_nothing_where_nothing_was_kept(world: World) -> None:
    await kept(world, "a")
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True)])
    frames(world)
    world.clock.time += world.store.index_lag_s
    await world.defer(await late_look(world))
    assert frames(world) == []


async def test_late_look_leaves_those_alone_who_have_left(world: World) -> None:
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True)])
    await kept(world, "a")
    frames(world)
    await world.store.unsubscribe(ME, "room")
    world.clock.time += world.store.index_lag_s
    await world.defer(await late_look(world))
    assert frames(world) == []


async def test_late_look_that_finds_too_much_tells_the_position(world: World) -> None:
    await framed(world, ME)
    await world.performer.run([Subscribe(ME, "room", recover=True)])
    world.store.unseen = {ME}
    positions = await kept(world, *(letter * 130_000 for letter in "abcdefghij"))
    frames(world)
    world.clock.time += world.store.index_lag_s
    await world.defer(await late_look(world))
    assert frames(world) == [{"slip": "subscribed", "channel": "room", "position": positions[-1]}]


# HISTORY


async def test_history(world: World) -> None:
    positions = await kept(world, "a", "b", "c")
    (newest,) = await world.performer.run([History("room")])
    assert isinstance(newest, HistoryReport)
    assert [each.data for each in newest.messages] == ["a", "b", "c"]
    response = await world.control(
        control_event(
            [
                {"type": "HISTORY", "channelId": "room", "limit": 2},
                {"type": "HISTORY", "channelId": "room", "since": positions[0], "limit": 1},
                {"type": "HISTORY", "channelId": "room", "since": "elsewhere:1"},
                {"type": "HISTORY", "channelId": "nothing yet"},
            ]
        )
    )
    published_at = round(world.clock.time * 1000)
    assert [
        {**report, "messages": [each["data"] for each in report["messages"]]}
        for report in json.loads(response["body"])["events"]
    ] == [
        {"position": positions[2], "messages": ["b", "c"], "more": True},
        {"position": positions[2], "messages": ["b"], "more": True, "recovered": True},
        {"position": positions[2], "messages": [], "more": False, "recovered": False},
        {"position": str(await world.history.newest("nothing yet")), "messages": [], "more": False},
    ]
    assert json.loads(response["body"])["events"][0]["messages"][0] == {
        "position": positions[1],
        "data": "b",
        "publishedAt": published_at,
    }


async def test_history_of_a_batch_fits_into_a_response(world: World) -> None:
    positions = await kept(world, *("\x01" * 100_000 for _ in range(5)))
    epoch = positions[0].partition(":")[0]
    asked = [History("room"), History("room", f"{epoch}:0"), History("room", f"{epoch}:0")]
    newest, first, second = await world.performer.run(asked)
    assert isinstance(newest, HistoryReport)
    assert isinstance(first, HistoryReport)
    assert isinstance(second, HistoryReport)
    assert [each.position for each in newest.messages] == positions[2:]
    assert newest.more
    assert (first.messages, first.more, first.recovered) == ([], True, True)
    assert (second.messages, second.more) == ([], True)
    (alone,) = await world.performer.run(asked[1:2])
    assert isinstance(alone, HistoryReport)
    assert [each.position for each in alone.messages] == positions[:3]
    assert alone.more


# Texts


async def test_text_is_framed_for_those_who_take_frames(world: World) -> None:
    await framed(world, ME)
    await world.connected(YOU)
    await world.performer.run([SendText(ME, 'say "hi"'), SendText(YOU, 'say "hi"')])
    assert world.sender.sent == [(ME, '{"slip":"text","data":"say \\"hi\\""}'), (YOU, 'say "hi"')]


async def test_text_too_large_for_its_frame_is_invalid(world: World) -> None:
    await framed(world, ME)
    await world.connected(YOU)
    text = "x" * 131_072
    batch = [{"type": "TEXT", "connectionId": id_, "data": text} for id_ in (YOU, ME)]
    response = await world.control(control_event(batch))
    assert response["statusCode"] == 400
    assert json.loads(response["body"])["error"] == (
        "events[1].data: TEXT needs at most 131072 bytes in its frame, got 131097"
    )
    assert world.sender.sent == []
