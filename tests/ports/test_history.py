"""Every engine's port History."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.gateway.ports import History
from slip_sockets.gateway.values import ChannelState, Origin, Publication
from slip_sockets.protocol.events import Keep
from slip_sockets.protocol.positions import Position

from ..gateway.doubles import START, FakeClock
from .engines import Channels

KEEP = Keep(count=1_000, seconds=3_600)


class Publisher:
    """Keeps texts in a channel as the gateway does: it reads the channel's state first."""

    def __init__(self, channels: Channels, history: History) -> None:
        self._channels = channels
        self._history = history
        self._names = itertools.count()

    async def __call__(
        self, text: str, keep: Keep = KEEP, channel: str = "lobby", *, origin: Origin | None = None
    ) -> Position:
        state = await self._channels.channel_state(channel)
        return await self.keep_in(state, text, keep, channel, origin=origin)

    async def keep_in(
        self, state: ChannelState, text: str, keep: Keep = KEEP, channel: str = "lobby", *, origin: Origin | None = None
    ) -> Position:
        origin = origin or Origin(f"{next(self._names):016d}")
        return await self._history.keep(Publication(channel, text, keep=keep), origin, state)


@pytest.fixture
def keep(channels: Channels, history: History) -> Publisher:
    return Publisher(channels, history)


async def texts(history: History, since: Position | None = None, *, limit: int = 1_000) -> list[str]:
    past = await history.past("lobby", since, limit=limit)
    assert past.is_whole
    return [message.data for message in past.messages]


async def test_offsets_count_from_one_and_each_channel_has_its_own(keep: Publisher, history: History) -> None:
    first, second = await keep("a"), await keep("b")
    assert (first.offset, second.offset) == (1, 2)
    assert first.epoch == second.epoch
    other = await keep("c", channel="kitchen")
    assert other.offset == 1
    assert other.epoch != first.epoch
    assert await history.newest("lobby") == second
    past = await history.past("lobby", Position(first.epoch, 0), limit=10)
    assert [(message.position, message.data, message.published_at) for message in past.messages] == [
        (str(first), "a", round(START * 1000)),
        (str(second), "b", round(START * 1000)),
    ]
    assert past.newest == second
    assert not past.more


async def test_past_of_many_is_whole_and_in_order(keep: Publisher, history: History) -> None:
    kept = [await keep(str(number)) for number in range(1, 101)]
    assert [position.offset for position in kept] == list(range(1, 101))
    epoch = kept[0].epoch
    for since in (0, 1, 15, 16, 17, 50, 83, 84, 85, 99, 100):
        assert await texts(history, Position(epoch, since)) == [str(number) for number in range(since + 1, 101)]
    assert await texts(history) == [str(number) for number in range(1, 101)]


@pytest.mark.parametrize("limit", [1, 15, 16, 17, 40])
async def test_past_ends_at_its_limit(keep: Publisher, history: History, limit: int) -> None:
    last = [await keep(str(number)) for number in range(1, 42)][-1]
    past = await history.past("lobby", Position(last.epoch, 0), limit=limit)
    assert [message.data for message in past.messages] == [str(number) for number in range(1, limit + 1)]
    assert past.more
    newest = await history.past("lobby", None, limit=limit)
    assert [message.data for message in newest.messages] == [str(number) for number in range(42 - limit, 42)]
    assert newest.more
    assert not (await history.past("lobby", None, limit=41)).more
    assert not (await history.past("lobby", Position(last.epoch, 0), limit=41)).more


async def test_past_ends_at_a_megabyte(keep: Publisher, history: History) -> None:
    last = [await keep(letter * 131_000) for letter in "abcdefghi"][-1]
    past = await history.past("lobby", Position(last.epoch, 0), limit=100)
    assert [message.data[0] for message in past.messages] == list("abcdefgh")
    assert past.more
    past = await history.past("lobby", None, limit=100)
    assert [message.data[0] for message in past.messages] == list("bcdefghi")
    assert past.more
    assert await texts(history, Position(last.epoch, 1)) == [letter * 131_000 for letter in "bcdefghi"]


async def test_message_is_kept_until_enough_newer_ones_are(keep: Publisher, history: History) -> None:
    first = await keep("a", Keep(count=2, seconds=60))
    await keep("b", Keep(count=2, seconds=60))
    assert await texts(history) == ["a", "b"]
    await keep("c", Keep(count=2, seconds=60))
    assert await texts(history) == ["b", "c"]
    past = await history.past("lobby", Position(first.epoch, 0), limit=10)
    assert (past.is_whole, list(past.messages)) == (False, [])
    assert await texts(history, first) == ["b", "c"]


async def test_message_is_kept_for_its_seconds(keep: Publisher, history: History, clock: FakeClock) -> None:
    first = await keep("a", Keep(count=10, seconds=60))
    await keep("b", Keep(count=10, seconds=90))
    clock.time = START + 59.5
    assert await texts(history) == ["a", "b"]
    clock.time = START + 60
    assert await texts(history) == ["b"]
    assert not (await history.past("lobby", Position(first.epoch, 0), limit=10)).is_whole
    assert await texts(history, first) == ["b"]


async def test_one_that_is_kept_for_a_short_time_does_not_shorten_what_others_are_kept(
    keep: Publisher, history: History, clock: FakeClock
) -> None:
    first = await keep("a", Keep(count=10, seconds=600))
    await keep("b", Keep(count=10, seconds=1))
    clock.time = START + 599
    assert await history.newest("lobby") == Position(first.epoch, 2)
    assert await texts(history) == ["a"]
    assert not (await history.past("lobby", first, limit=10)).is_whole
    assert await keep("c") == Position(first.epoch, 3)


async def test_memory_that_has_run_out_begins_anew(keep: Publisher, history: History, clock: FakeClock) -> None:
    first = await keep("a", Keep(count=10, seconds=60))
    clock.time = START + 60
    newest = await history.newest("lobby")
    assert newest.offset == 0
    assert newest.epoch != first.epoch
    assert not (await history.past("lobby", first, limit=10)).is_whole
    second = await keep("b", Keep(count=10, seconds=60))
    assert second == Position(newest.epoch, 1)
    assert await texts(history, newest) == ["b"]
    clock.time = START + 60 + ROW_LIFETIME_S
    assert (await keep("c")).epoch not in (first.epoch, second.epoch)
    assert await texts(history) == ["c"]


async def test_epoch_that_a_connection_was_told_stays_as_long_as_that_may_live(
    keep: Publisher, history: History, clock: FakeClock
) -> None:
    told = await history.newest("lobby")
    assert told.offset == 0
    clock.time = START + ROW_LIFETIME_S - 1
    assert await history.newest("lobby") == told
    clock.time += ROW_LIFETIME_S - 1
    assert await keep("a") == Position(told.epoch, 1)
    assert await texts(history, told) == ["a"]


@pytest.mark.parametrize("offset", [3, 1_000])
async def test_position_ahead_of_the_newest_or_of_another_epoch_is_not_whole(
    keep: Publisher, history: History, offset: int
) -> None:
    await keep("a")
    newest = await keep("b")
    for since in (Position(newest.epoch, offset), Position("elsewhere", 1)):
        past = await history.past("lobby", since, limit=10)
        assert (past.is_whole, list(past.messages), past.newest) == (False, [], newest)
    assert await texts(history, newest) == []


async def test_no_more_are_kept_than_any_publish_may_ask_for(keep: Publisher, history: History) -> None:
    last = [await keep(str(number), Keep(count=40, seconds=60)) for number in range(1, 43)][-1]
    assert not (await history.past("lobby", Position(last.epoch, 1), limit=1_000)).is_whole
    assert await texts(history, Position(last.epoch, 2)) == [str(number) for number in range(3, 43)]
    assert await texts(history) == [str(number) for number in range(3, 43)]


async def test_repeated_attempt_has_the_position_of_the_first(keep: Publisher, history: History) -> None:
    first = await keep("a", origin=Origin("the first one 01"))
    last = [await keep(str(number)) for number in range(40)][-1]
    again = await keep("a", origin=Origin("the first one 01", is_repeated=True))
    assert again == first
    assert await keep("39", origin=Origin("0000000000000039", is_repeated=True)) == last
    assert await history.newest("lobby") == last
    new = await keep("b", origin=Origin("the other one 02", is_repeated=True))
    assert new.offset == last.offset + 1


async def test_repeated_attempt_has_its_position_when_it_is_kept_no_more(keep: Publisher, history: History) -> None:
    first = await keep("a", Keep(count=1, seconds=60), origin=Origin("the first one 01"))
    last = [await keep(str(number), Keep(count=1, seconds=60)) for number in range(40)][-1]
    assert await keep("a", Keep(count=1, seconds=60), origin=Origin("the first one 01", is_repeated=True)) == first
    assert await history.newest("lobby") == last


async def test_publishers_side_by_side_leave_no_gap(keep: Publisher, history: History, channels: Channels) -> None:
    async def publish_ten() -> list[int]:
        return [(await keep("a")).offset for _ in range(10)]

    offsets = sorted(itertools.chain(*await asyncio.gather(*(publish_ten() for _ in range(8)))))
    assert offsets == list(range(1, 81))
    assert len(await texts(history)) == 80


async def test_state_that_is_old_by_now_costs_no_message(
    keep: Publisher, history: History, channels: Channels, clock: FakeClock
) -> None:
    nothing_yet = await channels.channel_state("lobby")
    for number in range(33):
        await keep(str(number), Keep(count=100, seconds=60))
    many = await channels.channel_state("lobby")
    await keep.keep_in(nothing_yet, "beside the first", Keep(count=100, seconds=30))
    await keep("33", Keep(count=100, seconds=60))
    await keep.keep_in(many, "beside the last", Keep(count=100, seconds=60))
    assert await texts(history) == [*map(str, range(33)), "beside the first", "33", "beside the last"]
    clock.time = START + 70
    began = await keep("later", Keep(count=100, seconds=60))
    assert began.offset == 1
    assert await keep.keep_in(many, "and later", Keep(count=100, seconds=60)) == Position(began.epoch, 2)
    assert await texts(history) == ["later", "and later"]
