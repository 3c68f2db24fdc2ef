"""Months that are computed by hand, at the prices of us-east-1."""

from __future__ import annotations

from typing import Any

import pytest

from slip_sockets.cost import events
from slip_sockets.cost.model import Estimate, FreeTier, estimate
from slip_sockets.cost.prices import Meter, read_prices
from slip_sockets.cost.workload import Workload
from slip_sockets.gateway.worker import Inbound
from slip_sockets.protocol.errors import InvalidSettings

QUIET: dict[str, Any] = {"connections": 0, "publishes_per_s": 0}


def month(free_tier: FreeTier = "none", region: str = "us-east-1", **workload: Any) -> Estimate:
    return estimate(Workload(**workload), read_prices(), region=region, free_tier=free_tier)


def usd(result: Estimate, meter: Meter) -> float:
    return next((line.usd for line in result.lines if line.meter == meter.key), 0)


def test_no_traffic_costs_the_secret_and_the_polls_of_both_queues() -> None:
    result = month(**QUIET)
    assert [line.meter for line in result.lines] == ["sqsRequests", "secrets"]
    assert result.usd == pytest.approx(0.4 + 2 * 648_000 * 0.5e-6)
    assert month("always", **QUIET).usd == pytest.approx(0.4 + 296_000 * 0.5e-6)
    assert month(**QUIET, inbound=Inbound.ORDERED).lines == result.lines


def test_silent_sockets_cost_their_minutes_connects_and_disconnects() -> None:
    result = month(connections=1_000, connection_min=30, sent_per_min=0, publishes_per_s=0)
    assert usd(result, Meter.CONNECTION_MINUTES) == pytest.approx(1_000 * 43_200 * 0.25e-6)
    connects = 1_000 * 43_200 / 30
    # The row of a connection has 1,099 bytes, two units, its index entry one; a subscription and its entry one each.
    # Deleting costs the same again.
    assert usd(result, Meter.WRITE_UNITS) == pytest.approx(connects * 2 * (2 + 1 + 1 + 1) * 0.625e-6)
    # 1,099 + 60 bytes are one consistent unit.
    assert usd(result, Meter.READ_UNITS) == pytest.approx(connects * 1 * 0.125e-6)
    assert usd(result, Meter.LAMBDA_REQUESTS) == pytest.approx(connects * 2 * 0.2e-6)
    # At 512 MB, 0.2894 of a core: 3.0 ms of it take 10.4 ms and 4.9 ms 16.9 ms, 5 ms each call, 50 ms the backend.
    assert usd(result, Meter.LAMBDA_ARM64) == pytest.approx(connects * (0.066 + 0.077) / 2 * 0.0000133334)
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == 0


def test_a_text_is_a_message_a_read_and_an_invocation() -> None:
    result = month(connections=100, connection_min=120, sent_per_min=2, publishes_per_s=0, replied=0.5)
    texts = 100 * 43_200 * 2
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == pytest.approx(texts * 1.5e-6)
    (text,) = [line for line in result.events if line.event == "text"]
    assert (text.count, text.billed_ms, text.aws_calls) == (texts, 77, 2)


def test_a_text_in_order_is_sent_received_and_deleted_too() -> None:
    w = Workload(inbound=Inbound.ORDERED, replied=1)
    direct, usage = events.text(Workload(replied=1)), events.text(w)
    assert usage.units[Meter.SQS_REQUESTS] == 3
    for meter in (Meter.WEBSOCKET_MESSAGES, Meter.LAMBDA_REQUESTS, Meter.READ_UNITS, Meter.DATA_OUT, Meter.LOGS):
        assert usage.units[meter] == direct.units[meter]
    assert usage.aws_calls == direct.aws_calls + 3
    # Its base64 beside a few ids, 87,492 bytes, is more than 64 KB; the deletion is not.
    assert events.text(Workload(inbound=Inbound.ORDERED, text_bytes=64 * 1024)).units[Meter.SQS_REQUESTS] == 2 + 2 + 1


def test_texts_of_one_post_share_all_but_what_each_takes_of_its_own() -> None:
    usage = events.text(Workload(inbound=Inbound.ORDERED, texts_a_post=10, replied=1))
    assert usage.units[Meter.WEBSOCKET_MESSAGES] == 1 + 1
    assert usage.units[Meter.SQS_REQUESTS] == pytest.approx((10 + 1 + 1) / 10)
    assert usage.units[Meter.LAMBDA_REQUESTS] == pytest.approx(1 / 10)
    assert usage.units[Meter.READ_UNITS] == pytest.approx(1 / 10)
    assert usage.units[Meter.DATA_OUT] * 1024**3 == pytest.approx((800 + 1_000 + 10 * 200) / 10 + 200)
    # 3.5 + 9 x 0.6 ms of a core, 5 ms the table, ten replies of 20 ms, 50 ms the backend.
    assert usage.billed_ms == pytest.approx(286 / 10)


def test_a_ping_is_two_messages_and_nothing_of_ours() -> None:
    result = month(connections=100, connection_min=120, sent_per_min=0, publishes_per_s=0, pings_per_min=6)
    pings = 100 * 43_200 * 6
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == pytest.approx(pings * 2 * 1e-6)
    (ping,) = [line for line in result.events if line.event == "ping"]
    assert (ping.count, ping.billed_ms, ping.aws_calls) == (pings, 0, 0)
    units = events.ping(Workload()).units
    assert set(units) == {Meter.WEBSOCKET_MESSAGES, Meter.DATA_OUT}
    assert units[Meter.DATA_OUT] * 1024**3 == pytest.approx(len('{"slip":"pong"}'))


def test_a_disconnect_in_order_is_three_requests_and_a_read_more() -> None:
    direct, ordered = events.disconnect(Workload()), events.disconnect(Workload(inbound=Inbound.ORDERED))
    assert direct.units[Meter.SQS_REQUESTS] == 0
    assert ordered.units[Meter.SQS_REQUESTS] == 3
    assert ordered.units[Meter.READ_UNITS] == direct.units[Meter.READ_UNITS] + 1
    assert ordered.units[Meter.WRITE_UNITS] == direct.units[Meter.WRITE_UNITS]


def test_a_tick_of_a_timer_is_six_requests_two_invocations_a_read_and_a_text() -> None:
    silent: dict[str, Any] = {"connections": 100, "connection_min": 120, "sent_per_min": 0, "publishes_per_s": 0}
    without, result = month(**silent), month(**silent, timer_s=60)
    ticks = 100 * 43_200
    (timers,) = [line for line in result.events if line.event == "timer"]
    assert timers.count == ticks
    assert [line for line in without.events if line.event == "timer"] == []
    polls = events.IDLE_POLLS / events.QUEUES
    assert usd(result, Meter.SQS_REQUESTS) == pytest.approx((events.IDLE_POLLS + polls + 6 * ticks) * 0.5e-6)
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == pytest.approx(ticks * 1e-6)
    for meter, units, price in [(Meter.LAMBDA_REQUESTS, 2, 0.2e-6), (Meter.READ_UNITS, 1, 0.125e-6)]:
        assert usd(result, meter) - usd(without, meter) == pytest.approx(ticks * units * price)


def test_timers_that_tick_often_are_what_a_finding_is_about() -> None:
    (finding,) = month(connections=100, timer_s=55, publishes_per_s=0).findings
    assert finding.endswith(
        "Each tick of a timer takes six. A longer time costs less, and a page can keep its socket open itself."
    )


def test_a_publish_to_few_is_sent_by_the_function_of_the_control_api() -> None:
    result = month(connections=0, publishes_per_s=1, subscribers=100, text_bytes=200)
    publishes = 30 * 86_400
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == pytest.approx(publishes * 100 * 1e-6)
    assert usd(result, Meter.HTTP_REQUESTS) == pytest.approx(publishes * 1e-6)
    # Its id is claimed and confirmed, in a table without an index.
    assert usd(result, Meter.WRITE_UNITS) == pytest.approx(publishes * 2 * 0.625e-6)
    # The channel's state, and 100 rows of 60 bytes: two units of 4 KB, half price.
    assert usd(result, Meter.READ_UNITS) == pytest.approx(publishes * (1 + 1) * 0.125e-6)
    assert usd(result, Meter.LAMBDA_REQUESTS) == pytest.approx(publishes * 0.2e-6)


def test_the_second_billion_of_messages_is_cheaper_and_a_text_of_33_kb_is_two() -> None:
    result = month(connections=0, publishes_per_s=1, subscribers=500, text_bytes=33 * 1024)
    messages = 2_592_000 * 500 * 2
    assert usd(result, Meter.WEBSOCKET_MESSAGES) == pytest.approx(1_000 + (messages - 1e9) * 0.8e-6)


def test_a_publish_in_a_reply_needs_no_call_no_id_and_no_invocation_of_its_own() -> None:
    result = month(connections=0, publishes_per_s=1, subscribers=10, in_replies=True)
    for meter in (Meter.HTTP_REQUESTS, Meter.WRITE_UNITS, Meter.LAMBDA_REQUESTS):
        assert usd(result, meter) == 0
    assert usd(result, Meter.LAMBDA_ARM64) > 0


def test_a_million_subscribers_take_what_the_benchmark_counted() -> None:
    """docs/fan-out-benchmarks.md, `million`: its channel has a name of 4 bytes, and no chunk is sent."""
    w = Workload(subscribers=1_000_000, channel_bytes=4)
    usage = events.publish(w)
    chunks = 1_000
    assert usage.units[Meter.READ_UNITS] - chunks == pytest.approx(5_882 + 5_854, abs=1)
    # The benchmark claims no id, and has one page more, which is empty.
    assert usage.units[Meter.WRITE_UNITS] - 2 - 2 * chunks == pytest.approx(127, abs=1)
    assert usage.units[Meter.WEBSOCKET_MESSAGES] == 1_000_000
    assert usage.units[Meter.LAMBDA_REQUESTS] == 1 + 1 + chunks


def test_a_large_channel_goes_by_the_queue_from_one_more_than_the_limit_on() -> None:
    at, beyond = (events.publish(Workload(subscribers=count, inline_limit=100)) for count in (100, 101))
    assert (at.units[Meter.SQS_REQUESTS], at.units[Meter.LAMBDA_REQUESTS]) == (0, 1)
    # The FanOut: sent, received, deleted; 8 chunks: sent in one call, each received and deleted.
    assert beyond.units[Meter.SQS_REQUESTS] == 3 + 1 + 16
    assert beyond.units[Meter.LAMBDA_REQUESTS] == 1 + 1 + 8


def test_a_connect_is_one_call_and_a_disconnect_two() -> None:
    w = Workload(channels=1)
    assert (events.connect(w).aws_calls, events.disconnect(w).aws_calls) == (1, 2)


def test_a_user_is_a_row_more_of_each_connection() -> None:
    """Of the table, and of its index: they are written, and deleted."""
    nobody, some = Workload(channels=1), Workload(channels=1, users=0.5)
    for event in (events.connect, events.disconnect):
        more = event(some).units[Meter.WRITE_UNITS] - event(nobody).units[Meter.WRITE_UNITS]
        assert more == 0.5 * 2
        assert event(some).aws_calls == event(nobody).aws_calls
    stored = events.open_sockets(some).units[Meter.TABLE_STORAGE]
    assert stored > events.open_sockets(nobody).units[Meter.TABLE_STORAGE]
    assert events.connect(Workload(channels=24, users=1)).aws_calls == 2


def test_free_units_are_taken_off_before_the_tiers() -> None:
    workload: dict[str, Any] = {"connections": 0, "publishes_per_s": 1, "subscribers": 1, "text_bytes": 10}
    messages = 2_592_000
    assert usd(month(**workload), Meter.WEBSOCKET_MESSAGES) == pytest.approx(messages * 1e-6)
    assert usd(month("always", **workload), Meter.WEBSOCKET_MESSAGES) == pytest.approx(messages * 1e-6)
    assert usd(month("first-year", **workload), Meter.WEBSOCKET_MESSAGES) == pytest.approx((messages - 1e6) * 1e-6)
    assert usd(month("always", **workload), Meter.LAMBDA_REQUESTS) == pytest.approx((messages - 1e6) * 0.2e-6)


def test_functions_that_are_kept_warm_cost_each_second() -> None:
    result = month(**QUIET, provisioned=2, memory_mb=512)
    assert usd(result, Meter.PROVISIONED_ARM64) == pytest.approx(2 * 0.5 * 2_592_000 * 0.0000033334)
    x86 = month(**QUIET, provisioned=2, memory_mb=512, architecture="x86_64")
    assert usd(x86, Meter.PROVISIONED_X86) == pytest.approx(2 * 0.5 * 2_592_000 * 0.0000041667)


def test_events_and_lines_add_up_to_the_same() -> None:
    result = month("first-year", connections=2_000, replied=0.3, subscribers=1_500, provisioned=1)
    assert sum(line.usd for line in result.lines) == pytest.approx(result.usd)
    assert sum(event.usd for event in result.events) == pytest.approx(result.usd)
    assert sum(line.share for line in result.lines) == pytest.approx(1)
    assert [line.usd for line in result.lines] == sorted((line.usd for line in result.lines), reverse=True)


def test_findings_name_what_dominates_and_which_quotas_are_too_small() -> None:
    result = month(connections=0, publishes_per_s=1, subscribers=20_000)
    assert result.findings[0] == (
        "97% of it is for WebSocket messages. 100% of the texts are publishes. "
        "Combine texts where you can: one of 32 KB costs as much as one of a byte."
    )
    assert "20,000 calls of API Gateway a second" in result.findings[-1]
    pinging = month(connections=600_000, sent_per_min=0, publishes_per_s=0, pings_per_min=2)
    assert "100% of them are pings and pongs." in pinging.findings[0]
    assert "20,000 calls of API Gateway a second" in pinging.findings[-1]
    crowd = month(connections=60_000, connection_min=1, sent_per_min=0, publishes_per_s=0)
    assert crowd.findings[-1].startswith("1,000 connect a second")
    slow = month(connections=100, sent_per_min=1, publishes_per_s=0, backend_ms=9_950)
    assert slow.findings[0].startswith(
        "97% of it is for Lambda time, arm64. 100% of that time functions wait for your backend"
    )
    assert month(connections=1, publishes_per_s=0).findings[0].endswith("Lambda polls the queues while they are empty.")
    ordered = month(connections=100, sent_per_min=1, publishes_per_s=0, inbound=Inbound.ORDERED)
    assert ordered.findings[0].endswith("ten that come together take twelve. With direct there are none.")


def test_impossible_numbers_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidSettings) as error:
        Workload(connections=-1, connection_min=121, replied=2, text_bytes=131_073)
    assert error.value.problems == [
        "connections is -1. It must be 0 to 1,000,000,000",
        "connection minutes is 121. It must be 0 to 120",
        "replied is 2. It must be 0 to 1",
        "text bytes is 131073. It must be 0 to 131,072",
    ]
    with pytest.raises(InvalidSettings) as error:
        Workload(texts_a_post=11)
    assert error.value.problems == ["texts a POST is 11. It must be 1 to 10"]
    with pytest.raises(InvalidSettings):
        Workload(connections=float("nan"))
    with pytest.raises(InvalidSettings):
        Workload(connections=1, connection_min=0)


def test_keeping_and_recovering() -> None:
    plain = month(connections=100, connection_min=120, sent_per_min=0, publishes_per_s=1, text_bytes=1_024)
    more = month(
        connections=100,
        connection_min=120,
        sent_per_min=0,
        publishes_per_s=1,
        text_bytes=1_024,
        kept=0.5,
        recovered=1,
        missed=5,
    )
    by_event = {line.event: line for line in more.events}
    assert by_event["keep"].count == 2_592_000 / 2
    assert by_event["keep"].aws_calls == 2
    assert by_event["recovery"].count == 100 * 43_200 / 120
    assert {line.event for line in plain.events if line.count} == {"connect", "disconnect", "publish", "open sockets"}
    kept = events.keep(Workload(text_bytes=1_024)).units
    assert kept[Meter.WRITE_UNITS] == 3 + 1 / 16
    missed, nothing = (events.recovery(Workload(text_bytes=1_024, missed=count)).units for count in (5, 0))
    assert missed[Meter.WEBSOCKET_MESSAGES] - nothing[Meter.WEBSOCKET_MESSAGES] == 5
    assert missed[Meter.READ_UNITS] - nothing[Meter.READ_UNITS] == 5
    assert nothing[Meter.WEBSOCKET_MESSAGES] == 1


def test_each_pattern_that_may_match_is_half_a_unit_of_a_publish() -> None:
    without, with_patterns = (events.publish(Workload(pattern_segments=count)) for count in (0, 3))
    assert with_patterns.units[Meter.READ_UNITS] - without.units[Meter.READ_UNITS] == 1.5
    assert with_patterns.aws_calls - without.aws_calls == 3
    assert with_patterns.units[Meter.LAMBDA_REQUESTS] == without.units[Meter.LAMBDA_REQUESTS]
