"""Every engine's port Claims."""

from __future__ import annotations

import pytest

from slip_sockets.gateway.ports import CLAIM_LIFETIME_S, Claim, Claimed

from ..gateway.doubles import START, FakeClock
from .engines import ME, Channels, Store, subscribers

OTHER = "another claimant"


async def test_claim_has_one_owner_for_its_lease(channels: Channels, clock: FakeClock) -> None:
    assert (await channels.claim("lobby", "1", "me", lease_s=30)).claim is Claim.GRANTED
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PENDING
    clock.time = START + 29.75
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PENDING
    clock.time = START + 30
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED
    assert (await channels.claim("lobby", "1", "me", lease_s=30)).claim is Claim.PENDING


async def test_same_claimant_may_ask_again_and_prolongs_the_lease(channels: Channels, clock: FakeClock) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 20
    assert (await channels.claim("lobby", "1", "me", lease_s=30)).claim is Claim.GRANTED
    clock.time = START + 49.75
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PENDING
    clock.time = START + 50
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED


async def test_lease_may_be_longer_than_the_memory_of_a_claim(channels: Channels, clock: FakeClock) -> None:
    await channels.claim("lobby", "1", "me", lease_s=CLAIM_LIFETIME_S + 60)
    clock.time = START + CLAIM_LIFETIME_S + 59
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PENDING


async def test_confirmed_claim_is_done_for_five_minutes(channels: Channels, clock: FakeClock) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 10
    await channels.confirm("lobby", "1", "me")
    for seconds in (10, 40, 10 + CLAIM_LIFETIME_S - 1):
        clock.time = START + seconds
        assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PUBLISHED
        assert (await channels.claim("lobby", "1", "me", lease_s=30)).claim is Claim.PUBLISHED
    clock.time = START + 10 + CLAIM_LIFETIME_S
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED


async def test_confirmed_claim_is_done_for_as_long_as_it_is_asked_for(channels: Channels, clock: FakeClock) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    await channels.confirm("lobby", "1", "me", for_s=60)
    clock.time = START + 59
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PUBLISHED
    clock.time = START + 60
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED


async def test_confirmation_after_the_lease_counts_while_nobody_else_has_claimed(
    channels: Channels, clock: FakeClock
) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 60
    await channels.confirm("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PUBLISHED


async def test_who_lost_the_lease_changes_nothing(channels: Channels, clock: FakeClock) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    clock.time = START + 30
    await channels.claim("lobby", "1", OTHER, lease_s=30)
    await channels.confirm("lobby", "1", "me")
    await channels.release("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", "a third", lease_s=30)).claim is Claim.PENDING
    await channels.confirm("lobby", "1", OTHER)
    await channels.release("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", "a third", lease_s=30)).claim is Claim.PUBLISHED


async def test_confirmation_of_what_is_forgotten_creates_nothing(channels: Channels, clock: FakeClock) -> None:
    await channels.confirm("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED
    clock.time = START + CLAIM_LIFETIME_S
    await channels.confirm("lobby", "1", OTHER)
    assert (await channels.claim("lobby", "1", "me", lease_s=30)).claim is Claim.GRANTED


@pytest.mark.parametrize(
    ("channel", "message_id"), [("games", "1"), ("lobby", "2"), ("lobby1", ""), ("lobb", "y1"), ('lobby","1', "x")]
)
async def test_claims_of_other_names_are_others(channels: Channels, channel: str, message_id: str) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    await channels.claim("lobby", '1","x', "me", lease_s=30)
    assert (await channels.claim(channel, message_id, OTHER, lease_s=30)).claim is Claim.GRANTED


async def test_released_claim_can_be_had_again(channels: Channels) -> None:
    await channels.release("lobby", "1", "me")
    await channels.claim("lobby", "1", "me", lease_s=30)
    await channels.claim("lobby", "2", "me", lease_s=30)
    await channels.release("lobby", "1", "me")
    await channels.release("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.GRANTED
    assert (await channels.claim("lobby", "2", OTHER, lease_s=30)).claim is Claim.PENDING


async def test_confirmed_claim_is_not_released(channels: Channels) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    await channels.confirm("lobby", "1", "me")
    await channels.release("lobby", "1", "me")
    assert (await channels.claim("lobby", "1", OTHER, lease_s=30)).claim is Claim.PUBLISHED


async def test_claims_and_marks_are_not_subscribers(store: Store, channels: Channels) -> None:
    await channels.claim("lobby", "1", "me", lease_s=30)
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_slow("lobby", [ME], for_s=60)
    assert await subscribers(store, "lobby") == []


async def test_claim_that_was_given_back_has_the_name_of_its_first_claimant(
    channels: Channels, clock: FakeClock
) -> None:
    assert await channels.claim("lobby", "1", "me", lease_s=30) == Claimed(Claim.GRANTED, "me")
    await channels.release("lobby", "1", "me")
    assert await channels.claim("lobby", "1", OTHER, lease_s=30) == Claimed(Claim.GRANTED, "me")
    clock.time = START + 30
    assert await channels.claim("lobby", "1", "a third", lease_s=30) == Claimed(Claim.GRANTED, "me")
    await channels.confirm("lobby", "1", "a third", position="abc:7")
    assert await channels.claim("lobby", "1", "me", lease_s=30) == Claimed(Claim.PUBLISHED, position="abc:7")
    clock.time = START + 30 + CLAIM_LIFETIME_S
    assert await channels.claim("lobby", "1", OTHER, lease_s=30) == Claimed(Claim.GRANTED, OTHER)
