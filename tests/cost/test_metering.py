from __future__ import annotations

import pytest

from slip_sockets.cost.metering import (
    connection_row_bytes,
    gb_seconds,
    http_requests,
    read_units,
    sqs_requests,
    stretched,
    subscription_row_bytes,
    websocket_messages,
    write_units,
)

KIB = 1024


@pytest.mark.parametrize(
    ("size", "messages"), [(0, 1), (1, 1), (32 * KIB, 1), (32 * KIB + 1, 2), (33 * KIB, 2), (128 * KIB, 4)]
)
def test_a_message_is_metered_per_32_kb(size: int, messages: int) -> None:
    assert websocket_messages(size) == messages


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (512 * KIB, 1), (512 * KIB + 1, 2)])
def test_a_call_of_an_http_api_is_metered_per_512_kb(size: int, requests: int) -> None:
    assert http_requests(size) == requests


@pytest.mark.parametrize(("size", "units"), [(0, 1), (KIB, 1), (KIB + 1, 2), (400 * KIB, 400)])
def test_a_write_is_metered_per_kb(size: int, units: int) -> None:
    assert write_units(size) == units


@pytest.mark.parametrize(
    ("rows", "consistent", "units"),
    [
        ([], True, 1),
        ([], False, 0.5),
        ([4 * KIB], True, 1),
        ([4 * KIB + 1], True, 2),
        ([2_000] * 8, False, 2),  # AWS's own example: 16,000 bytes are 4 units, half of that if reads may lag
        ([100] * 1_000, False, 12.5),
    ],
)
def test_a_query_sums_its_rows_and_then_rounds_to_4_kb(rows: list[int], consistent: bool, units: float) -> None:
    assert read_units(*rows, consistent=consistent) == units


@pytest.mark.parametrize(("size", "requests"), [(0, 1), (64 * KIB, 1), (64 * KIB + 1, 2), (256 * KIB, 4)])
def test_a_call_of_sqs_is_metered_per_64_kb(size: int, requests: int) -> None:
    assert sqs_requests(size) == requests


@pytest.mark.parametrize(
    ("duration_ms", "memory_mb", "expected"),
    [(1_000, 1_024, 1), (1_000, 512, 0.5), (0.2, 1_024, 0.001), (10.01, 128, 0.001375)],
)
def test_lambda_bills_each_millisecond_that_has_begun(duration_ms: float, memory_mb: int, expected: float) -> None:
    assert gb_seconds(duration_ms, memory_mb) == pytest.approx(expected)


def test_a_small_function_has_a_part_of_a_core() -> None:
    assert stretched(10, 1_769) == 10
    assert stretched(10, 512) == pytest.approx(34.55, abs=0.01)
    assert stretched(10, 3_538) == 10  # one thread has no use of a second core


def test_rows_are_as_large_as_dynamodb_counts_them() -> None:
    # connectionId 12 + 16, channel 7 + 28 ("$connection:" and the id), metadata 8 + 100, connectedAt 11 + 8, ttl 3 + 6
    assert connection_row_bytes(100) == 28 + 35 + 108 + 19 + 9
    assert subscription_row_bytes(5) == 28 + 12 + 9
