"""The table `Channels`: its rows, the number of calls, and failures. `tests/ports` has what all engines do."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.ports import CLAIM_LIFETIME_S, Claim
from slip_sockets.gateway.values import ChannelState

from ..gateway.doubles import START, FakeClock
from .http_stub import RESET, Answer, HttpStub, Request, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

ME = "AAAAAAAAAAAAAAA="


@pytest.fixture
def channels(moto_url: str, channels_table: str, clock: FakeClock) -> DynamoDbChannels:
    return DynamoDbChannels(client("dynamodb", moto_url), channels_table, clock)


@pytest.fixture
def proxied(stub: HttpStub, moto_url: str, channels_table: str, clock: FakeClock) -> DynamoDbChannels:
    """The same, with calls that pass through `stub`: a test may replace responses."""
    stub.script = forward_to(moto_url)
    return DynamoDbChannels(client("dynamodb", stub.url), channels_table, clock)


def rows(dynamodb: DynamoDBClient, channels_table: str) -> list[dict[str, Any]]:
    items = dynamodb.scan(TableName=channels_table, ConsistentRead=True)["Items"]
    return sorted(items, key=lambda item: item["key"]["S"])


async def test_row_of_a_claim_is_as_documented(
    channels: DynamoDbChannels, dynamodb: DynamoDBClient, channels_table: str, clock: FakeClock
) -> None:
    clock.time = START + 0.25
    await channels.claim("lobby", "1", "me", lease_s=2)
    claim = {
        "channel": {"S": hashlib.sha256(b'["lobby","1"]').hexdigest()},
        "key": {"S": "claim"},
        "claimant": {"S": "me"},
        "firstClaimant": {"S": "me"},
        "ttl": {"N": str(int(START) + CLAIM_LIFETIME_S + 1)},
    }
    assert rows(dynamodb, channels_table) == [{**claim, "leaseUntil": {"N": str(int(START) * 1000 + 2250)}}]
    await channels.confirm("lobby", "1", "me", position="abc:1")
    assert rows(dynamodb, channels_table) == [{**claim, "position": {"S": "abc:1"}}]


async def test_rows_of_marks_are_as_documented(
    channels: DynamoDbChannels, dynamodb: DynamoDBClient, channels_table: str
) -> None:
    await channels.mark_queued("lobby", for_s=60)
    await channels.mark_slow("lobby", [ME], for_s=30)
    assert rows(dynamodb, channels_table) == [
        {"channel": {"S": "lobby"}, "key": {"S": f"mark:{mark}"}, "ttl": {"N": str(int(START) + for_s)}}
        for mark, for_s in (("queued", 60), (f"slow:{ME}", 30))
    ]


async def test_row_of_a_last_id_is_as_documented(
    channels: DynamoDbChannels, dynamodb: DynamoDBClient, channels_table: str
) -> None:
    await channels.set_last_id("lobby", "1", for_s=60)
    assert rows(dynamodb, channels_table) == [
        {"channel": {"S": "lobby"}, "key": {"S": "mark:last"}, "lastId": {"S": "1"}, "ttl": {"N": str(int(START) + 60)}}
    ]


async def test_channel_with_the_name_of_a_claims_partition_has_no_part_in_it(channels: DynamoDbChannels) -> None:
    """Both are the partition keys of rows; the sort keys keep them apart."""
    await channels.claim("lobby", "1", "me", lease_s=30)
    partition = hashlib.sha256(b'["lobby","1"]').hexdigest()
    assert await channels.channel_state(partition) == ChannelState()
    await channels.mark_queued(partition, for_s=60)
    assert await channels.channel_state(partition) == ChannelState(is_queued=True)
    assert (await channels.claim("lobby", "1", "another", lease_s=30)).claim is Claim.PENDING


async def test_each_method_is_one_call_and_a_call_for_each_slow_connection(
    proxied: DynamoDbChannels, stub: HttpStub
) -> None:
    for claimant in ("me", "another"):
        await proxied.claim("lobby", "1", claimant, lease_s=30)
        await proxied.confirm("lobby", "1", claimant)
        await proxied.release("lobby", "1", claimant)
    await proxied.mark_queued("lobby", for_s=60)
    await proxied.mark_slow("lobby", [ME, "another="], for_s=60)
    await proxied.set_last_id("lobby", "1", for_s=60)
    await proxied.set_last_id("lobby", None, for_s=60)
    await proxied.mark_patterns(for_s=60)
    await proxied.channel_state("lobby")
    await proxied.has_patterns()
    assert stub.operations == ["PutItem", "UpdateItem", "UpdateItem"] * 2 + ["PutItem"] * 6 + ["Query", "GetItem"]
    assert [request.json["ConsistentRead"] for request in stub.requests[-2:]] == [True, True]


# Failures


async def test_claim_with_a_lost_response_is_granted_to_its_repetition(
    proxied: DynamoDbChannels, stub: HttpStub, channels_table: str, clock: FakeClock
) -> None:
    forward, puts = stub.script, 0

    def lose_the_first_response(request: Request) -> Answer | None:
        nonlocal puts
        puts += 1
        response = forward(request)
        return RESET if puts == 1 else response

    stub.script = lose_the_first_response

    repeating = DynamoDbChannels(client("dynamodb", stub.url, attempts=2), channels_table, clock)
    assert (await repeating.claim("lobby", "1", "me", lease_s=30)).claim is Claim.GRANTED
    assert puts == 2
    assert (await proxied.claim("lobby", "1", "another", lease_s=30)).claim is Claim.PENDING


async def test_claim_that_is_refused_without_a_row_is_not_taken_for_published(
    proxied: DynamoDbChannels, stub: HttpStub
) -> None:
    stub.script = lambda _: Answer.error("ConditionalCheckFailedException")
    assert (await proxied.claim("lobby", "1", "me", lease_s=30)).claim is Claim.PENDING


METHODS: dict[str, Callable[[DynamoDbChannels], Awaitable[object]]] = {
    "claim": lambda channels: channels.claim("lobby", "1", "me", lease_s=30),
    "confirm": lambda channels: channels.confirm("lobby", "1", "me"),
    "release": lambda channels: channels.release("lobby", "1", "me"),
    "channel_state": lambda channels: channels.channel_state("lobby"),
    "mark_queued": lambda channels: channels.mark_queued("lobby", for_s=60),
    "mark_slow": lambda channels: channels.mark_slow("lobby", [ME], for_s=60),
    "mark_patterns": lambda channels: channels.mark_patterns(for_s=60),
    "has_patterns": lambda channels: channels.has_patterns(),
    "set_last_id": lambda channels: channels.set_last_id("lobby", "1", for_s=60),
    "set_last_id to none": lambda channels: channels.set_last_id("lobby", None, for_s=60),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "answer",
    [Answer.error("ProvisionedThroughputExceededException"), Answer(500, b"<html>"), RESET],
    ids=["throttled", "failing", "reset"],
)
async def test_each_method_raises_unavailable_where_dynamodb_fails(
    proxied: DynamoDbChannels, stub: HttpStub, method: str, answer: Answer | None
) -> None:
    stub.script = lambda _: answer
    with pytest.raises(Unavailable, match=r"^DynamoDB: ") as error:
        await METHODS[method](proxied)
    assert error.value.__cause__ is not None
