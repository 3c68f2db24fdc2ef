"""The rate in the table: its row, its calls, races, and clocks that differ. What all engines do: tests/ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slip_sockets.aws.delivery_rate import ATTEMPTS, FURTHEST_S, DynamoDbDeliveryRate
from slip_sockets.gateway.errors import Unavailable

from ..gateway.doubles import START, FakeClock
from .http_stub import Answer, HttpStub, Request, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

PER_S = 1_000.0


class Functions:
    """Functions of one stage, whose calls of the table the stub sees."""

    def __init__(self, stub: HttpStub, moto_url: str, table: str) -> None:
        self.stub = stub
        self.forward = stub.script = forward_to(moto_url)
        self._table = table

    def __call__(self, clock: FakeClock) -> DynamoDbDeliveryRate:
        return DynamoDbDeliveryRate(client("dynamodb", self.stub.url), self._table, PER_S, clock)

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.stub.requests]


@pytest.fixture
def functions(stub: HttpStub, moto_url: str, channels_table: str) -> Functions:
    return Functions(stub, moto_url, channels_table)


async def test_row_is_as_documented(
    functions: Functions, clock: FakeClock, dynamodb: DynamoDBClient, channels_table: str
) -> None:
    await functions(clock).reserve(250, wait_at_most_s=0)
    (row,) = dynamodb.scan(TableName=channels_table, ConsistentRead=True)["Items"]
    assert row == {
        "channel": {"S": "fan-out"},
        "key": {"S": "rate"},
        "reservedUntil": {"N": str(int(START * 1e6) + 250_000)},
        "ttl": {"N": str(int(START) + 3600)},
    }


async def test_a_reservation_is_one_write_and_of_another_function_at_first_two(
    functions: Functions, clock: FakeClock
) -> None:
    one, other = functions(clock), functions(clock)
    for expected, rate in ((1, one), (2, one), (4, other), (5, other), (6, one)):
        await rate.reserve(1_000, wait_at_most_s=60)
        assert functions.operations == ["UpdateItem"] * expected
    clock.time += 60
    await one.reserve(1_000, wait_at_most_s=60)
    assert len(functions.operations) == 7


async def test_it_gives_up_where_others_always_come_first(functions: Functions, clock: FakeClock) -> None:
    """Each time just before the write, so that neither of the two conditions holds."""
    until = iter(range(10**9))

    def taken_or_idle(request: Request) -> Answer:
        is_even = next(until) % 2 == 0
        at = int(clock.now() * 1e6) + (1_000 if is_even else -1_000)
        item = f'{{"reservedUntil":{{"N":"{at}"}}}}'
        body = f'{{"__type":"ConditionalCheckFailedException","message":"no","Item":{item}}}'
        return Answer(400, body.encode())

    functions.stub.script = taken_or_idle
    with pytest.raises(Unavailable, match=f"other functions came first {ATTEMPTS} times"):
        await functions(clock).reserve(1, wait_at_most_s=60)
    assert len(functions.operations) == ATTEMPTS


async def test_a_function_whose_clock_is_ahead_makes_others_late_and_nothing_faster(functions: Functions) -> None:
    early_by_s, turn_s = 0.2, 0.1
    true, ahead = FakeClock(), FakeClock()
    ahead.time += early_by_s
    early, late = functions(ahead), functions(true)
    begin = []
    for _ in range(10):
        begin.append(true.time + await early.reserve(100, wait_at_most_s=60))
        begin.append(true.time + await late.reserve(100, wait_at_most_s=60))
        true.time += 0.05
        ahead.time += 0.05
    late_by_s = [at - START - number * turn_s for number, at in enumerate(begin)]
    assert late_by_s == pytest.approx([0.0, early_by_s] * 10, abs=1e-3)


async def test_a_time_that_no_clock_but_a_wrong_one_can_have_written_is_replaced(
    functions: Functions, clock: FakeClock
) -> None:
    wrong = FakeClock()
    wrong.time += FURTHEST_S + 1
    await functions(wrong).reserve(1, wait_at_most_s=60)
    assert await functions(clock).reserve(500, wait_at_most_s=60) == 0
    assert await functions(clock).reserve(500, wait_at_most_s=60) == pytest.approx(0.5)
