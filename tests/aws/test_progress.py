"""What is left of half-done messages, remembered in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slip_sockets.aws.connections import DynamoDbConnectionStore
from slip_sockets.aws.progress import PROGRESS_TTL_S, DynamoDbProgress
from slip_sockets.gateway.ports import Unavailable

from ..gateway.doubles import START, FakeClock
from .http_stub import RESET, Answer, HttpStub, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

MESSAGE = "5fea7756-0ea4-451a-a703-a558b933e274"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def progress(moto_url: str, table_name: str, clock: FakeClock) -> DynamoDbProgress:
    return DynamoDbProgress(client("dynamodb", moto_url), table_name, clock)


async def test_nothing_is_kept_at_first(progress: DynamoDbProgress) -> None:
    assert await progress.kept(MESSAGE) is None


async def test_last_text_of_each_message_is_kept(progress: DynamoDbProgress) -> None:
    await progress.keep(MESSAGE, "é" * 150_000)
    await progress.keep("another", "")
    assert await progress.kept(MESSAGE) == "é" * 150_000
    await progress.keep(MESSAGE, '{"after":"\\u0000"}')
    assert await progress.kept(MESSAGE) == '{"after":"\\u0000"}'
    assert await progress.kept("another") == ""


async def test_it_outlives_dead_letters(progress: DynamoDbProgress, clock: FakeClock) -> None:
    await progress.keep(MESSAGE, "rest")
    clock.time = START + PROGRESS_TTL_S - 1
    assert await progress.kept(MESSAGE) == "rest"
    clock.time = START + PROGRESS_TTL_S
    assert await progress.kept(MESSAGE) is None


async def test_row_is_as_the_table_has_it(
    progress: DynamoDbProgress, dynamodb: DynamoDBClient, table_name: str, clock: FakeClock
) -> None:
    await progress.keep(MESSAGE, "rest")
    assert dynamodb.scan(TableName=table_name)["Items"] == [
        {
            "connectionId": {"S": f"$progress:{MESSAGE}"},
            "channel": {"S": f"$connection:$progress:{MESSAGE}"},
            "rest": {"S": "rest"},
            "ttl": {"N": str(int(START) + 15 * 24 * 60 * 60)},
        }
    ]
    store = DynamoDbConnectionStore(dynamodb, table_name, clock)
    assert [page.connection_ids async for page in store.subscribers(MESSAGE)] == [[]]


async def test_it_is_read_consistently(stub: HttpStub, moto_url: str, table_name: str, clock: FakeClock) -> None:
    stub.script = forward_to(moto_url)
    progress = DynamoDbProgress(client("dynamodb", stub.url), table_name, clock)
    await progress.keep(MESSAGE, "rest")
    await progress.kept(MESSAGE)
    assert stub.operations == ["PutItem", "GetItem"]
    assert stub.requests[1].json["ConsistentRead"] is True


@pytest.mark.parametrize(
    "answer",
    [Answer.error("ProvisionedThroughputExceededException"), Answer(500, b"<html>"), RESET],
    ids=["throttled", "failing", "reset"],
)
async def test_it_says_that_the_table_is_away(stub: HttpStub, clock: FakeClock, answer: Answer | None) -> None:
    stub.script = lambda _: answer
    progress = DynamoDbProgress(client("dynamodb", stub.url), "Connections", clock)
    with pytest.raises(Unavailable, match=r"^DynamoDB: "):
        await progress.keep(MESSAGE, "rest")
    with pytest.raises(Unavailable, match=r"^DynamoDB: "):
        await progress.kept(MESSAGE)
