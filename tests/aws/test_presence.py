"""The rows of members, and failures in the midst of both tables. `tests/ports` has what all engines do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.aws.connections import DynamoDbConnections
from slip_sockets.aws.presence import LEFT_LIFETIME_S, NOTIFIED_LIFETIME_S, DynamoDbPresence
from slip_sockets.aws.table import RETRY_PAUSES_S
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.values import Form, Membership, Notified

from ..gateway.doubles import START, FakeClock
from .http_stub import Answer, HttpStub, Request, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

ME = "AAAAAAAAAAAAAAA="
ANN = Membership("ann", b'{"a":1}')
MEMBER_KEY = {"channel": {"S": "lobby"}, "key": {"S": f"presence:member:ann\0{ME}"}}


def seconds(time: float) -> dict[str, str]:
    return {"N": str(int(time))}


@pytest.fixture
def store(stub: HttpStub, moto_url: str, connections_table: str, channels_table: str, clock: FakeClock) -> Any:
    """It calls through `stub`: a test may replace responses."""
    stub.script = forward_to(moto_url)
    return DynamoDbConnections(client("dynamodb", stub.url), connections_table, channels_table, clock)


@pytest.fixture
def presence(moto_url: str, channels_table: str, clock: FakeClock) -> DynamoDbPresence:
    return DynamoDbPresence(client("dynamodb", moto_url), channels_table, clock)


async def test_rows_are_as_documented(
    store: DynamoDbConnections,
    presence: DynamoDbPresence,
    dynamodb: DynamoDBClient,
    connections_table: str,
    channels_table: str,
    clock: FakeClock,
) -> None:
    def rows(table: str) -> list[dict[str, Any]]:
        return [dict(item) for item in dynamodb.scan(TableName=table, ConsistentRead=True)["Items"]]

    clock.time = START + 0.0304
    await store.open(ME, b"1", ["lobby"], Form.SLIP_V1, memberships={"lobby": ANN})
    clock.time = START
    joined = {"info": {"S": '{"a":1}'}, "joinedAt": seconds(START * 1000 + 30), "form": {"S": "slip.v1"}}
    lives = {"ttl": seconds(START + ROW_LIFETIME_S + 1)}
    subscription = {"connectionId": {"S": ME}, "channel": {"S": "lobby"}, "member": {"S": "ann"}, **joined, **lives}
    assert subscription in rows(connections_table)
    assert rows(channels_table) == [{**MEMBER_KEY, **joined, **lives}]
    clock.time = START + 60.5
    await store.remove(ME)
    left = {"leftAt": seconds(START * 1000 + 60_500), "ttl": seconds(START + 61 + LEFT_LIFETIME_S)}
    assert rows(channels_table) == [{**MEMBER_KEY, **joined, **left}]
    assert rows(connections_table) == []
    await presence.forget("lobby", (await presence.read("lobby"))[0])
    assert await presence.note("lobby", Notified(version=1, count=2))
    assert rows(channels_table) == [
        {
            "channel": {"S": "lobby"},
            "key": {"S": "presence:notified"},
            "version": {"N": "1"},
            "notified": {"S": '{"version":1,"count":2}'},
            "ttl": seconds(START + 61 + NOTIFIED_LIFETIME_S),
        }
    ]


async def test_unprocessed_rows_of_both_tables_are_written_again(
    store: DynamoDbConnections,
    presence: DynamoDbPresence,
    stub: HttpStub,
    clock: FakeClock,
    connections_table: str,
    channels_table: str,
) -> None:
    forward, batches = stub.script, 0

    def script(request: Request) -> Answer | None:
        """Take nothing of the first batch, and of the second what is for one table."""
        nonlocal batches
        batches += 1
        by_table = request.json["RequestItems"]
        if batches == 1:
            return Answer.of({"UnprocessedItems": by_table})
        if batches == 2:
            body = Answer.of({"RequestItems": {connections_table: by_table[connections_table]}}).body
            forward(Request(request.method, request.path, request.headers, body))
            return Answer.of({"UnprocessedItems": {channels_table: by_table[channels_table]}})
        return forward(request)

    stub.script = script
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    assert [set(request.json["RequestItems"]) for request in stub.requests] == [
        {connections_table, channels_table},
        {connections_table, channels_table},
        {channels_table},
    ]
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])
    assert [member.name for member in (await presence.read("lobby"))[0]] == ["ann"]


async def test_subscriptions_stay_while_members_cannot_be_marked(
    store: DynamoDbConnections, presence: DynamoDbPresence, stub: HttpStub, clock: FakeClock
) -> None:
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    forward = stub.script
    stub.script = lambda request: (
        Answer.of({"UnprocessedItems": request.json["RequestItems"]})
        if request.operation == "BatchWriteItem"
        else forward(request)
    )
    with pytest.raises(Unavailable):
        await store.remove(ME)
    stub.script = forward
    assert await store.is_subscribed(ME, "lobby")
    assert await store.remove(ME) is not None
    assert [member.left_at for member in (await presence.read("lobby"))[0]] == [clock.time]


async def test_membership_that_another_call_has_ended_is_not_ended_again(
    store: DynamoDbConnections, presence: DynamoDbPresence, stub: HttpStub
) -> None:
    """UNSUBSCRIBE has read the row; then the client leaves, and a look forgets it."""
    await store.open(ME, b"1", ["lobby"], memberships={"lobby": ANN})
    forward = stub.script

    def script(request: Request) -> Answer | None:
        if request.operation == "TransactWriteItems":
            (delete, _) = request.json["TransactItems"]
            key = {name: delete["Delete"][name] for name in ("TableName", "Key")}
            forward(
                Request(
                    request.method,
                    request.path,
                    {**request.headers, "X-Amz-Target": "DynamoDB_20120810.DeleteItem"},
                    Answer.of(key).body,
                )
            )
        return forward(request)

    stub.script = script
    await store.unsubscribe(ME, "lobby")
    assert [member.left_at for member in (await presence.read("lobby"))[0]] == [None], "it wrote nothing"
