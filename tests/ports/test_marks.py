"""Every engine's port ChannelMarks."""

from __future__ import annotations

from slip_sockets.gateway.values import ChannelState

from ..gateway.doubles import START, FakeClock
from .engines import ME, YOU, Channels, Store


async def test_channel_has_no_state_of_its_own_accord(store: Store, channels: Channels) -> None:
    await store.open(ME, b"null", ["lobby"])
    assert await channels.channel_state("lobby") == ChannelState(is_queued=False, slow=frozenset())


async def test_marks_are_the_channels_alone(channels: Channels) -> None:
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_slow("games", [ME, YOU], for_s=60)
    await channels.mark_slow("lobby ", [], for_s=60)
    assert await channels.channel_state("lobby") == ChannelState(is_queued=True)
    assert await channels.channel_state("games") == ChannelState(slow=frozenset({ME, YOU}))
    assert await channels.channel_state("lobby ") == ChannelState()


async def test_marks_expire_each_by_itself(channels: Channels, clock: FakeClock) -> None:
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_slow("lobby", [ME], for_s=30)
    await channels.mark_slow("lobby", [YOU], for_s=90)
    seen = []
    for seconds in (29, 30, 59, 60, 89, 90):
        clock.time = START + seconds
        seen.append(await channels.channel_state("lobby"))
    both, you = frozenset({ME, YOU}), frozenset({YOU})
    assert seen == [
        ChannelState(is_queued=True, slow=both),
        ChannelState(is_queued=True, slow=you),
        ChannelState(is_queued=True, slow=you),
        ChannelState(slow=you),
        ChannelState(slow=you),
        ChannelState(),
    ]


async def test_marks_are_prolonged_and_never_made_shorter(channels: Channels, clock: FakeClock) -> None:
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_queued("lobby", for_s=10)
    await channels.mark_slow("lobby", [ME], for_s=60)
    await channels.mark_slow("lobby", [YOU, ME], for_s=10)
    clock.time = START + 59
    assert await channels.channel_state("lobby") == ChannelState(is_queued=True, slow=frozenset({ME}))
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_slow("lobby", [ME], for_s=60)
    clock.time = START + 118
    assert await channels.channel_state("lobby") == ChannelState(is_queued=True, slow=frozenset({ME}))
    clock.time = START + 119
    assert await channels.channel_state("lobby") == ChannelState()


async def test_last_id_is_the_channels_alone_until_it_expires(channels: Channels, clock: FakeClock) -> None:
    await channels.set_last_id("lobby", "1", for_s=60)
    await channels.set_last_id("lobby", "Zoë 2", for_s=30)
    await channels.mark_queued("lobby", for_s=60)
    assert await channels.channel_state("lobby") == ChannelState(is_queued=True, last_id="Zoë 2")
    assert await channels.channel_state("games") == ChannelState()
    clock.time = START + 29
    assert (await channels.channel_state("lobby")).last_id == "Zoë 2"
    clock.time = START + 30
    assert (await channels.channel_state("lobby")).last_id is None


async def test_last_id_is_forgotten(channels: Channels) -> None:
    await channels.set_last_id("lobby", None, for_s=60)
    await channels.set_last_id("lobby", "1", for_s=60)
    await channels.set_last_id("games", "1", for_s=60)
    await channels.set_last_id("lobby", None, for_s=60)
    assert await channels.channel_state("lobby") == ChannelState()
    assert await channels.channel_state("games") == ChannelState(last_id="1")


async def test_channel_has_content_filters_for_a_time_which_is_never_made_shorter(
    channels: Channels, clock: FakeClock
) -> None:
    await channels.mark_filtered("lobby", for_s=60)
    await channels.mark_filtered("lobby", for_s=10)
    assert await channels.channel_state("lobby") == ChannelState(has_content_filters=True)
    assert await channels.channel_state("games") == ChannelState()
    clock.time = START + 60
    assert await channels.channel_state("lobby") == ChannelState()


async def test_deployment_has_patterns_for_a_time_which_is_never_made_shorter(
    channels: Channels, clock: FakeClock
) -> None:
    assert not await channels.has_patterns()
    await channels.mark_patterns(for_s=60)
    await channels.mark_patterns(for_s=10)
    assert await channels.has_patterns()
    clock.time = START + 59
    assert await channels.has_patterns()
    await channels.mark_patterns(for_s=60)
    clock.time = START + 118
    assert await channels.has_patterns()
    clock.time = START + 119
    assert not await channels.has_patterns()


async def test_mark_of_the_deployment_is_not_one_of_a_channel(channels: Channels) -> None:
    await channels.mark_patterns(for_s=60)
    for channel in ("deployment", "orders:1", "orders:*"):
        assert await channels.channel_state(channel) == ChannelState()
        await channels.mark_queued(channel, for_s=60)
    assert await channels.channel_state("deployment") == ChannelState(is_queued=True)


async def test_mark_may_be_set_again_after_its_time(channels: Channels, clock: FakeClock) -> None:
    await channels.mark_queued("lobby", for_s=60)
    clock.time = START + 600
    await channels.mark_queued("lobby", for_s=5)
    assert await channels.channel_state("lobby") == ChannelState(is_queued=True)
