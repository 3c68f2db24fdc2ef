"""What channels remember in memory: it stays small. tests/ports holds what all engines do."""

from __future__ import annotations

from slip_sockets.dev.channels import SWEEP_PAUSE_S, MemoryChannels
from slip_sockets.gateway.ports import CLAIM_LIFETIME_S

from ..gateway.doubles import START, FakeClock


async def test_claims_and_marks_are_dropped_in_time() -> None:
    clock = FakeClock()
    channels = MemoryChannels(clock)
    for number in range(1000):
        clock.time = START + number
        await channels.claim("lobby", str(number), "me", lease_s=30)
        await channels.confirm("lobby", str(number), "me")
        await channels.claim("games", "prolonged again and again", "me", lease_s=30)
        await channels.mark_queued(f"channel-{number}", for_s=10)
        await channels.mark_slow("lobby", [str(number)], for_s=10)
        await channels.set_last_id(f"channel-{number}", "1", for_s=10)
    assert len(channels._claims) == CLAIM_LIFETIME_S + 1
    assert len(channels._marks) <= SWEEP_PAUSE_S + 10
    assert len(channels._last_ids) <= SWEEP_PAUSE_S + 10
    assert len(channels._marks["lobby"]) <= SWEEP_PAUSE_S + 10
