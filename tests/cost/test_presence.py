"""Members that join and leave, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from slip_sockets.cost import events, presence
from slip_sockets.cost.metering import member_row_bytes, read_units
from slip_sockets.cost.model import estimate
from slip_sockets.cost.prices import Meter, read_prices
from slip_sockets.cost.workload import Workload
from slip_sockets.protocol.errors import InvalidSettings

ALONE: dict[str, Any] = {"members": 2, "connections": 1e9, "connection_min": 120}


def test_a_join_is_a_row_two_looks_and_a_frame_for_each_member() -> None:
    usage = presence.join(Workload(**ALONE))
    # Announced; then the first look: received, put off, received, deleted. So is the second, and sent on, received,
    # and deleted.
    assert usage.units[Meter.SQS_REQUESTS] == pytest.approx(1 + 4 + (4 + 3), rel=1e-3)
    assert usage.units[Meter.LAMBDA_REQUESTS] == pytest.approx(2 + 3, rel=1e-3)
    assert usage.units[Meter.READ_UNITS] == pytest.approx(2, rel=1e-3)
    # Its row; that frames may have been sent, and that they have.
    assert usage.units[Meter.WRITE_UNITS] == pytest.approx(1 + 2, rel=1e-3)
    assert usage.units[Meter.WEBSOCKET_MESSAGES] == pytest.approx(1 + 1, rel=1e-3)


def test_a_leave_is_a_row_twice_and_one_look() -> None:
    usage = presence.leave(Workload(**ALONE))
    assert usage.units[Meter.SQS_REQUESTS] == pytest.approx(1 + 4 + 3, rel=1e-3)
    assert usage.units[Meter.LAMBDA_REQUESTS] == pytest.approx(3, rel=1e-3)
    assert usage.units[Meter.READ_UNITS] == pytest.approx(1, rel=1e-3)
    assert usage.units[Meter.WRITE_UNITS] == pytest.approx(1 + 2 + 1, rel=1e-3)
    assert usage.units[Meter.WEBSOCKET_MESSAGES] == pytest.approx(1, rel=1e-3)


def test_changes_of_a_second_share_their_looks() -> None:
    crowd = presence.join(Workload(members=60_000, connection_min=1))  # a thousand a second
    alone = presence.join(Workload(**ALONE))
    assert crowd.units[Meter.LAMBDA_REQUESTS] == pytest.approx(2 / 1_000 + 3 / 2_000, rel=1e-6)
    assert crowd.units[Meter.SQS_REQUESTS] == pytest.approx(1 + 4 / 1_000 + 7 / 2_000, rel=1e-6)
    assert crowd.units[Meter.LAMBDA_REQUESTS] < alone.units[Meter.LAMBDA_REQUESTS] / 1_000


def test_above_200_members_each_is_told_a_number_every_five_seconds_at_most() -> None:
    w = Workload(members=6_000, connection_min=10)  # ten join and ten leave each second
    usage = presence.leave(w)
    assert usage.units[Meter.WEBSOCKET_MESSAGES] == pytest.approx(5_999 / (5 * 20))
    few, many = (presence.leave(Workload(members=members, connection_min=120)) for members in (200, 201))
    assert few.units[Meter.WRITE_UNITS] > many.units[Meter.WRITE_UNITS] + 5  # the names that were told


def test_a_look_reads_all_members_in_one_query() -> None:
    rows = [member_row_bytes(16)] * 100
    assert member_row_bytes(16) == 26 + 16 + 49 + 32 + 8 + 7 + 9
    usage = presence.leave(Workload(members=100, connection_min=120))
    looks = usage.units[Meter.READ_UNITS] / read_units(*rows, consistent=True)
    assert 0.98 < looks < 1
    assert read_units(*rows, consistent=True) == 4


def test_members_are_in_the_bill_where_there_are_some() -> None:
    prices = read_prices()
    quiet, w = Workload(), Workload(joined=0.5)
    without, result = (estimate(each, prices, region="us-east-1") for each in (quiet, w))
    assert {line.event for line in result.events} - {line.event for line in without.events} == {"join", "leave"}
    counts = {line.event: line.count for line in result.events}
    assert counts["join"] == counts["leave"] == counts["connect"] / 2
    assert sum(line.usd for line in result.events) == pytest.approx(result.usd)
    assert events.connect(w).units == events.connect(quiet).units


def test_occupied_and_vacated_are_a_message_and_a_call_of_the_backend() -> None:
    usage = presence.occupancy(Workload(backend_ms=50))
    assert usage.units[Meter.SQS_REQUESTS] == 3
    assert usage.units[Meter.LAMBDA_REQUESTS] == 1
    assert usage.units[Meter.READ_UNITS] == 1
    assert usage.waiting_for_backend_ms == 50


def test_fewer_channels_become_empty_the_more_members_they_have() -> None:
    few, many = (Workload(joined=0.5, members=members, occupancy_events=True) for members in (1, 20))
    assert few.occupancies == pytest.approx(2 * few.joins / math.e)
    assert many.occupancies < few.occupancies / 1e8
    assert Workload(joined=0.5, members=1).occupancies == 0


def test_each_channel_with_members_has_a_sweep_in_the_queue_of_timers() -> None:
    prices = read_prices()
    quiet, w = (Workload(joined=0.5, occupancy_events=is_on) for is_on in (False, True))
    without, result = (estimate(each, prices, region="us-east-1") for each in (quiet, w))
    assert {line.event for line in result.events} - {line.event for line in without.events} == {"occupancy", "sweep"}
    (sweeps,) = (line.count for line in result.events if line.event == "sweep")
    assert sweeps == (1_000 * 0.5 / 10) * 30 * 24 * 4
    polls = events.open_sockets(w).units[Meter.SQS_REQUESTS] / events.open_sockets(quiet).units[Meter.SQS_REQUESTS]
    assert polls == 3 / 2


def test_impossible_members_are_refused() -> None:
    with pytest.raises(InvalidSettings) as error:
        Workload(joined=1.5, members=0)
    assert error.value.problems == ["joined is 1.5. It must be 0 to 1", "members is 0. It must be 1 to 100,000"]
