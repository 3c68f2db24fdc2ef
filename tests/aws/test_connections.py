"""What is DynamoDB's own: the rows, the number of calls, and what goes wrong. `test_store_contract` has the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.aws.connections import RETRY_PAUSES_S, DynamoDbConnectionStore
from slip_sockets.events import RESERVED_CHANNEL_PREFIX
from slip_sockets.gateway.ports import CLAIM_TTL_S, ROW_TTL_S, StoredConnection, Unavailable

from ..gateway.doubles import START, FakeClock
from .http_stub import RESET, Answer, HttpStub, Request, Script, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

ME = "AAAAAAAAAAAAAAA="
EXPIRY = {"N": str(int(START) + ROW_TTL_S)}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(dynamodb: DynamoDBClient, table_name: str, clock: FakeClock) -> DynamoDbConnectionStore:
    return DynamoDbConnectionStore(dynamodb, table_name, clock)


@pytest.fixture
def proxied(stub: HttpStub, moto_url: str, table_name: str, clock: FakeClock) -> DynamoDbConnectionStore:
    """A store whose calls pass through `stub`, which a test may have answer otherwise."""
    stub.script = forward_to(moto_url)
    return DynamoDbConnectionStore(client("dynamodb", stub.url), table_name, clock)


@pytest.fixture
def calls(dynamodb: DynamoDBClient) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """The operations that boto3 is asked for, with their parameters."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def see(params: dict[str, Any], model: Any, **_: object) -> None:
        seen.append((model.name, params))

    dynamodb.meta.events.register("provide-client-params.dynamodb", see)
    yield seen
    dynamodb.meta.events.unregister("provide-client-params.dynamodb", see)


def first(count: int, answer: Answer | None, *, to: str, then: Script) -> Script:
    """Answer the first `count` calls of the operation `to` so, and everything else by `then`."""
    left = count

    def script(request: Request) -> Answer | None:
        nonlocal left
        if request.operation == to and left:
            left -= 1
            return answer
        return then(request)

    return script


def rows(dynamodb: DynamoDBClient, table_name: str) -> list[dict[str, Any]]:
    items = dynamodb.scan(TableName=table_name, ConsistentRead=True)["Items"]
    return sorted(items, key=lambda item: item["channel"]["S"])


# Rows


async def test_rows_are_as_the_design_has_them(
    store: DynamoDbConnectionStore, dynamodb: DynamoDBClient, table_name: str, clock: FakeClock
) -> None:
    clock.time = START + 0.0304
    await store.open(ME, b'{"a":1}', ["lobby"])
    clock.time = START
    await store.subscribe(ME, "games")
    assert rows(dynamodb, table_name) == [
        {
            "connectionId": {"S": ME},
            "channel": {"S": f"$connection:{ME}"},
            "metadata": {"S": '{"a":1}'},
            "connectedAt": {"N": str(int(START) * 1000 + 30)},
            "ttl": {"N": str(int(START) + ROW_TTL_S + 1)},
        },
        {"connectionId": {"S": ME}, "channel": {"S": "games"}, "ttl": EXPIRY},
        {"connectionId": {"S": ME}, "channel": {"S": "lobby"}, "ttl": {"N": str(int(START) + ROW_TTL_S + 1)}},
    ]


async def test_claim_cannot_be_met_by_a_name_of_anybody(
    store: DynamoDbConnectionStore, dynamodb: DynamoDBClient, table_name: str
) -> None:
    await store.claim("lobby", "1")
    (row,) = rows(dynamodb, table_name)
    claim = "$published:" + hashlib.sha256(b'["lobby","1"]').hexdigest()
    assert row.pop("claimant")
    assert row == {
        "connectionId": {"S": claim},
        "channel": {"S": f"{RESERVED_CHANNEL_PREFIX}{claim}"},
        "ttl": {"N": str(int(START) + CLAIM_TTL_S)},
    }


# The number of calls


@pytest.mark.parametrize(("channels", "expected"), [(0, 1), (1, 1), (24, 1), (25, 2), (49, 2), (50, 3)])
async def test_open_is_one_call_for_25_rows(
    store: DynamoDbConnectionStore, calls: list[tuple[str, Any]], channels: int, expected: int
) -> None:
    await store.open(ME, b"null", [f"room-{number}" for number in range(channels)])
    assert [name for name, _ in calls] == ["BatchWriteItem"] * expected


async def test_remove_is_one_query_and_one_batch(store: DynamoDbConnectionStore, calls: list[tuple[str, Any]]) -> None:
    await store.open(ME, b"null", [f"room-{number}" for number in range(24)])
    calls.clear()
    await store.remove(ME)
    assert [name for name, _ in calls] == ["Query", "BatchWriteItem"]
    assert calls[0][1]["ConsistentRead"] is True


async def test_remove_and_unsubscribe_all_of_nothing_delete_nothing(
    store: DynamoDbConnectionStore, calls: list[tuple[str, Any]]
) -> None:
    await store.remove(ME)
    await store.open(ME, b"null", [])
    calls.clear()
    await store.unsubscribe_all(ME)
    assert [name for name, _ in calls] == ["Query"]


async def test_each_other_method_is_one_call(store: DynamoDbConnectionStore, calls: list[tuple[str, Any]]) -> None:
    await store.open(ME, b"null", [])
    calls.clear()
    await store.get(ME)
    await store.set_metadata(ME, b"1")
    await store.subscribe(ME, "lobby")
    await store.unsubscribe(ME, "lobby")
    await store.claim("lobby", "1")
    await store.release("lobby", "1")
    names = ["GetItem", "UpdateItem", "TransactWriteItems", "DeleteItem", "PutItem", "DeleteItem"]
    assert [name for name, _ in calls] == names
    assert calls[0][1]["ConsistentRead"] is True


async def test_a_page_is_read_only_when_it_is_wanted(proxied: DynamoDbConnectionStore, stub: HttpStub) -> None:
    page = {"Items": [{"connectionId": {"S": ME}}], "LastEvaluatedKey": {"channel": {"S": "lobby"}}}
    stub.script = lambda _: Answer.of(page)
    pages = aiter(proxied.subscribers("lobby"))
    assert stub.operations == []
    assert await anext(pages) == [ME]
    assert stub.operations == ["Query"]
    assert await anext(pages) == [ME]
    assert stub.operations == ["Query", "Query"]


# What goes wrong


async def test_unprocessed_rows_are_written_again(
    proxied: DynamoDbConnectionStore, stub: HttpStub, clock: FakeClock, table_name: str
) -> None:
    forward, batches = stub.script, 0

    def script(request: Request) -> Answer | None:
        """Leave one row of each of the first two batches, as an overloaded partition does."""
        nonlocal batches
        batches += 1
        if batches > 2:
            return forward(request)
        *most, last = request.json["RequestItems"][table_name]
        if most:
            forward(Request(request.method, request.path, request.headers, _batch(table_name, most)))
        return Answer.of({"UnprocessedItems": {table_name: [last]}})

    stub.script = script
    await proxied.open(ME, b"1", ["lobby", "games"])
    assert [len(request.json["RequestItems"][table_name]) for request in stub.requests] == [3, 1, 1]
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])
    assert await proxied.remove(ME) == StoredConnection(b"1", START)
    assert len(stub.requests[-1].json["RequestItems"][table_name]) == 3


async def test_rows_that_stay_unprocessed_are_unavailable(
    proxied: DynamoDbConnectionStore, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda request: Answer.of({"UnprocessedItems": request.json["RequestItems"]})
    with pytest.raises(Unavailable) as error:
        await proxied.open(ME, b"1", ["lobby"])
    assert str(error.value) == "DynamoDB: 2 rows remain unprocessed"
    assert clock.sleeps == list(RETRY_PAUSES_S)


async def test_metadata_outlives_a_removal_that_fails_midway(
    proxied: DynamoDbConnectionStore, stub: HttpStub, moto_url: str
) -> None:
    await proxied.open(ME, b"1", [f"room-{number}" for number in range(30)])
    forward, batches = stub.script, 0

    def script(request: Request) -> Answer | None:
        nonlocal batches
        batches += request.operation == "BatchWriteItem"
        return RESET if batches == 2 else forward(request)

    stub.script = script
    with pytest.raises(Unavailable):
        await proxied.remove(ME)
    stub.script = forward_to(moto_url)
    assert await proxied.remove(ME) == StoredConnection(b"1", START)


def conflict(*reasons: str) -> Answer:
    return Answer.error("TransactionCanceledException", CancellationReasons=[{"Code": reason} for reason in reasons])


async def test_subscribe_waits_for_another_transaction(
    proxied: DynamoDbConnectionStore, stub: HttpStub, clock: FakeClock
) -> None:
    await proxied.open(ME, b"null", [])
    stub.script = first(2, conflict("TransactionConflict", "None"), to="TransactWriteItems", then=stub.script)
    assert await proxied.subscribe(ME, "lobby") is True
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])
    assert [page async for page in proxied.subscribers("lobby")] == [[ME]]


async def test_subscribe_whose_condition_fails_beside_a_conflict_is_decided(
    proxied: DynamoDbConnectionStore, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda _: conflict("ConditionalCheckFailed", "TransactionConflict")
    assert await proxied.subscribe(ME, "lobby") is False
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("reasons", "attempts"), [(("TransactionConflict", "None"), 6), (("None", "ValidationError"), 1)]
)
async def test_subscribe_gives_up(
    proxied: DynamoDbConnectionStore, stub: HttpStub, reasons: tuple[str, ...], attempts: int
) -> None:
    stub.script = lambda _: conflict(*reasons)
    with pytest.raises(Unavailable, match="TransactionCanceledException"):
        await proxied.subscribe(ME, "lobby")
    assert len(stub.requests) == attempts


async def test_other_writes_wait_for_a_transaction_too(
    proxied: DynamoDbConnectionStore, stub: HttpStub, clock: FakeClock
) -> None:
    await proxied.open(ME, b"null", ["lobby"])
    stub.script = first(1, Answer.error("TransactionConflictException"), to="UpdateItem", then=stub.script)
    stub.script = first(1, Answer.error("TransactionConflictException"), to="DeleteItem", then=stub.script)
    assert await proxied.set_metadata(ME, b"1") is True
    await proxied.unsubscribe(ME, "lobby")
    assert await proxied.remove(ME) == StoredConnection(b"1", START)
    assert clock.sleeps == [RETRY_PAUSES_S[0]] * 2


async def test_claim_whose_answer_is_lost_is_still_ones_own(
    proxied: DynamoDbConnectionStore, stub: HttpStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, puts = stub.script, 0

    def lose_the_first_answer(request: Request) -> Answer | None:
        nonlocal puts
        puts += 1
        answer = forward(request)
        return RESET if puts == 1 else answer

    stub.script = lose_the_first_answer

    def repeat_without_a_pause(caught_exception: Exception | None, **_: object) -> int | None:
        return 0 if caught_exception is not None else None

    events: Any = proxied._client.meta.events
    events.register("needs-retry.dynamodb.PutItem", repeat_without_a_pause)
    assert await proxied.claim("lobby", "1") is True
    assert puts == 2
    assert await proxied.claim("lobby", "1") is False


METHODS: dict[str, Callable[[DynamoDbConnectionStore], Awaitable[object]]] = {
    "open": lambda store: store.open(ME, b"null", ["lobby"]),
    "get": lambda store: store.get(ME),
    "set_metadata": lambda store: store.set_metadata(ME, b"null"),
    "subscribe": lambda store: store.subscribe(ME, "lobby"),
    "unsubscribe": lambda store: store.unsubscribe(ME, "lobby"),
    "subscribers": lambda store: anext(aiter(store.subscribers("lobby"))),
    "unsubscribe_all": lambda store: store.unsubscribe_all(ME),
    "remove": lambda store: store.remove(ME),
    "claim": lambda store: store.claim("lobby", "1"),
    "release": lambda store: store.release("lobby", "1"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "answer",
    [Answer.error("ProvisionedThroughputExceededException"), Answer(500, b"<html>"), RESET],
    ids=["throttled", "failing", "reset"],
)
async def test_each_method_says_that_the_table_is_away(
    proxied: DynamoDbConnectionStore, stub: HttpStub, method: str, answer: Answer | None
) -> None:
    stub.script = lambda _: answer
    with pytest.raises(Unavailable, match=r"^DynamoDB: ") as error:
        await METHODS[method](proxied)
    assert error.value.__cause__ is not None


def _batch(table_name: str, requests: list[object]) -> bytes:
    return Answer.of({"RequestItems": {table_name: requests}}).body
