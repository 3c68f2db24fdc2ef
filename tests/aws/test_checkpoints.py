"""What is left of messages that were begun: rows of the table `Channels`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.aws.checkpoints import CHECKPOINT_LIFETIME_S, DynamoDbCheckpoints
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.values import ChannelState

from ..gateway.doubles import START, FakeClock
from .http_stub import RESET, Answer, HttpStub, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

MESSAGE = "5fea7756-0ea4-451a-a703-a558b933e274"


@pytest.fixture
def checkpoints(moto_url: str, channels_table: str, clock: FakeClock) -> DynamoDbCheckpoints:
    return DynamoDbCheckpoints(client("dynamodb", moto_url), channels_table, clock)


async def test_nothing_is_saved_at_first(checkpoints: DynamoDbCheckpoints) -> None:
    assert await checkpoints.load(MESSAGE) is None


async def test_last_text_of_each_message_is_loaded(checkpoints: DynamoDbCheckpoints) -> None:
    await checkpoints.save(MESSAGE, "é" * 150_000)
    await checkpoints.save("another", "")
    assert await checkpoints.load(MESSAGE) == "é" * 150_000
    await checkpoints.save(MESSAGE, '{"after":"\\u0000"}')
    assert await checkpoints.load(MESSAGE) == '{"after":"\\u0000"}'
    assert await checkpoints.load("another") == ""


async def test_it_outlives_dead_letters(checkpoints: DynamoDbCheckpoints, clock: FakeClock) -> None:
    await checkpoints.save(MESSAGE, "remaining")
    clock.time = START + CHECKPOINT_LIFETIME_S - 1
    assert await checkpoints.load(MESSAGE) == "remaining"
    clock.time = START + CHECKPOINT_LIFETIME_S
    assert await checkpoints.load(MESSAGE) is None


async def test_row_is_as_documented(
    checkpoints: DynamoDbCheckpoints, dynamodb: DynamoDBClient, moto_url: str, channels_table: str, clock: FakeClock
) -> None:
    await checkpoints.save(MESSAGE, "remaining")
    assert dynamodb.scan(TableName=channels_table)["Items"] == [
        {
            "channel": {"S": MESSAGE},
            "key": {"S": "checkpoint"},
            "remaining": {"S": "remaining"},
            "ttl": {"N": str(int(START) + 15 * 24 * 60 * 60)},
        }
    ]
    channels = DynamoDbChannels(client("dynamodb", moto_url), channels_table, clock)
    assert await channels.channel_state(MESSAGE) == ChannelState()


async def test_it_is_read_consistently(stub: HttpStub, moto_url: str, channels_table: str, clock: FakeClock) -> None:
    stub.script = forward_to(moto_url)
    checkpoints = DynamoDbCheckpoints(client("dynamodb", stub.url), channels_table, clock)
    await checkpoints.save(MESSAGE, "remaining")
    await checkpoints.load(MESSAGE)
    assert stub.operations == ["PutItem", "GetItem"]
    assert stub.requests[1].json["ConsistentRead"] is True


@pytest.mark.parametrize(
    "answer",
    [Answer.error("ProvisionedThroughputExceededException"), Answer(500, b"<html>"), RESET],
    ids=["throttled", "failing", "reset"],
)
async def test_both_methods_raise_unavailable_where_dynamodb_fails(
    stub: HttpStub, clock: FakeClock, answer: Answer | None
) -> None:
    stub.script = lambda _: answer
    checkpoints = DynamoDbCheckpoints(client("dynamodb", stub.url), "Channels", clock)
    with pytest.raises(Unavailable, match=r"^DynamoDB: "):
        await checkpoints.save(MESSAGE, "remaining")
    with pytest.raises(Unavailable, match=r"^DynamoDB: "):
        await checkpoints.load(MESSAGE)
