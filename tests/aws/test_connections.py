"""The table `Connections`: its rows, the number of calls, and failures. `tests/ports` has what all engines do.

Longer than 400 lines: one stub of DynamoDB for all.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from slip_sockets.apigateway.limits import ROW_LIFETIME_S
from slip_sockets.aws.connections import PAGE_SIZE, PRUNED_AT_ONCE, DynamoDbConnections
from slip_sockets.aws.table import RETRY_PAUSES_S
from slip_sockets.gateway.errors import Unavailable
from slip_sockets.gateway.values import Count, Form, Page, StoredConnection

from ..gateway.doubles import START, FakeClock
from .http_stub import RESET, Answer, HttpStub, Request, Script, forward_to
from .moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

ME = "AAAAAAAAAAAAAAA="
EXPIRY = {"N": str(int(START + ROW_LIFETIME_S))}


@pytest.fixture
def store(moto_url: str, connections_table: str, channels_table: str, clock: FakeClock) -> DynamoDbConnections:
    return DynamoDbConnections(client("dynamodb", moto_url), connections_table, channels_table, clock)


@pytest.fixture
def proxied(
    stub: HttpStub, moto_url: str, connections_table: str, channels_table: str, clock: FakeClock
) -> DynamoDbConnections:
    """A store that calls through `stub`: a test may replace responses."""
    stub.script = forward_to(moto_url)
    return DynamoDbConnections(client("dynamodb", stub.url), connections_table, channels_table, clock)


@pytest.fixture
def calls(proxied: DynamoDbConnections, stub: HttpStub) -> list[tuple[str, dict[str, Any]]]:
    """The operations that `proxied` calls, with their parameters."""
    seen: list[tuple[str, dict[str, Any]]] = []
    forward = stub.script

    def see(request: Request) -> Answer | None:
        seen.append((request.operation, request.json))
        return forward(request)

    stub.script = see
    return seen


def first(count: int, answer: Answer | None, *, to: str, then: Script) -> Script:
    """Return a script: `answer` for the first `count` calls of the operation `to`, `then` for all others."""
    left = count

    def script(request: Request) -> Answer | None:
        nonlocal left
        if request.operation == to and left:
            left -= 1
            return answer
        return then(request)

    return script


def rows(dynamodb: DynamoDBClient, connections_table: str) -> list[dict[str, Any]]:
    items = dynamodb.scan(TableName=connections_table, ConsistentRead=True)["Items"]
    return sorted(items, key=lambda item: item["channel"]["S"])


# Rows


async def test_rows_are_as_documented(
    store: DynamoDbConnections, dynamodb: DynamoDBClient, connections_table: str, clock: FakeClock
) -> None:
    clock.time = START + 0.0304
    await store.open(ME, b'{"a":1}', ["lobby"])
    clock.time = START
    await store.subscribe(ME, "games")
    assert rows(dynamodb, connections_table) == [
        {
            "connectionId": {"S": ME},
            "channel": {"S": f"$connection:{ME}"},
            "metadata": {"S": '{"a":1}'},
            "connectedAt": {"N": str(int(START) * 1000 + 30)},
            "ttl": {"N": str(int(START + ROW_LIFETIME_S) + 1)},
        },
        {"connectionId": {"S": ME}, "channel": {"S": "games"}, "ttl": EXPIRY},
        {"connectionId": {"S": ME}, "channel": {"S": "lobby"}, "ttl": {"N": str(int(START + ROW_LIFETIME_S) + 1)}},
    ]


# The number of calls


@pytest.mark.parametrize(("channels", "expected"), [(0, 1), (1, 1), (24, 1), (25, 2), (49, 2), (50, 3)])
async def test_open_is_one_call_for_25_rows(
    proxied: DynamoDbConnections, calls: list[tuple[str, Any]], channels: int, expected: int
) -> None:
    await proxied.open(ME, b"null", [f"room-{number}" for number in range(channels)])
    assert [name for name, _ in calls] == ["BatchWriteItem"] * expected


async def test_remove_is_one_query_and_one_batch(proxied: DynamoDbConnections, calls: list[tuple[str, Any]]) -> None:
    await proxied.open(ME, b"null", [f"room-{number}" for number in range(24)])
    calls.clear()
    await proxied.remove(ME)
    assert [name for name, _ in calls] == ["Query", "BatchWriteItem"]
    assert calls[0][1]["ConsistentRead"] is True


async def test_remove_and_unsubscribe_all_of_nothing_delete_nothing(
    proxied: DynamoDbConnections, calls: list[tuple[str, Any]]
) -> None:
    await proxied.remove(ME)
    await proxied.open(ME, b"null", [])
    calls.clear()
    await proxied.unsubscribe_all(ME)
    assert [name for name, _ in calls] == ["Query"]


async def test_each_other_method_is_one_call(proxied: DynamoDbConnections, calls: list[tuple[str, Any]]) -> None:
    await proxied.open(ME, b"null", [])
    calls.clear()
    await proxied.get(ME)
    await proxied.set_metadata(ME, b"1")
    await proxied.subscribe(ME, "lobby")
    await proxied.unsubscribe(ME, "lobby")
    assert [name for name, _ in calls] == ["GetItem", "UpdateItem", "TransactWriteItems", "DeleteItem"]
    assert calls[0][1]["ConsistentRead"] is True


def subscribed(connection_id: str, *, more: bool) -> Answer:
    """A page of the index with one subscriber, and a cursor if there is more."""
    last = {"LastEvaluatedKey": {"channel": {"S": "lobby"}, "connectionId": {"S": connection_id}}} if more else {}
    return Answer.of({"Items": [{"connectionId": {"S": connection_id}}], "Count": 1, **last})


async def test_a_page_is_read_only_when_the_caller_asks_for_it(proxied: DynamoDbConnections, stub: HttpStub) -> None:
    stub.script = lambda request: subscribed(ME, more="ExclusiveStartKey" not in request.json)
    pages = aiter(proxied.subscribers("lobby", page_size=PAGE_SIZE))
    assert stub.operations == []
    assert await anext(pages) == Page([ME], ME)
    assert stub.operations == ["Query"]
    assert [page async for page in pages] == [Page([ME], None)]
    assert stub.operations == ["Query", "Query"]


async def test_a_page_is_limited_and_begins_after_the_cursor(proxied: DynamoDbConnections, stub: HttpStub) -> None:
    stub.script = lambda _: subscribed(ME, more=False)
    async for _ in proxied.subscribers("lobby", page_size=proxied.page_size):
        pass
    async for _ in proxied.subscribers("lobby", after="another=", page_size=7):
        pass
    assert [request.json["Limit"] for request in stub.requests] == [PAGE_SIZE, 7]
    assert [request.json.get("ExclusiveStartKey") for request in stub.requests] == [
        None,
        {"channel": {"S": "lobby"}, "connectionId": {"S": "another="}},
    ]


async def test_a_page_may_be_empty_and_not_the_last(proxied: DynamoDbConnections, stub: HttpStub) -> None:
    expired = {"Items": [], "LastEvaluatedKey": {"channel": {"S": "lobby"}, "connectionId": {"S": "expired="}}}
    stub.script = lambda request: (
        subscribed(ME, more=False) if "ExclusiveStartKey" in request.json else Answer.of(expired)
    )
    assert [page async for page in proxied.subscribers("lobby", page_size=PAGE_SIZE)] == [
        Page([], "expired="),
        Page([ME], None),
    ]


async def test_a_page_ends_at_1_megabyte(store: DynamoDbConnections) -> None:
    long = "x" * 1024
    ids = [f"{number:015}=" for number in range(1000)]
    for connection_id in ids:
        await store.open(connection_id, b"null", [long])
    pages = [page async for page in store.subscribers(long, page_size=PAGE_SIZE)]
    assert len(pages) == 2
    assert [id_ for page in pages for id_ in page.connection_ids] == ids
    assert await store.count(long, after=pages[0].cursor, until=START + 1) == Count(
        len(pages[1].connection_ids), more=False
    )


async def test_count_reads_page_after_page_until_its_time(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    def script(_: Request) -> Answer:
        clock.time += 1
        return subscribed(ME, more=True)

    stub.script = script
    assert await proxied.count("lobby", after="another=", until=START + 3) == Count(3, more=True)
    assert [request.json["Select"] for request in stub.requests] == ["COUNT"] * 3
    assert [request.json["ExclusiveStartKey"]["connectionId"]["S"] for request in stub.requests] == ["another=", ME, ME]


async def test_pruning_is_one_read_for_100_a_query_each_and_a_batch_for_25_rows(
    proxied: DynamoDbConnections, calls: list[tuple[str, Any]], clock: FakeClock
) -> None:
    old, young = ([f"{kind}-{number}=" for number in range(size)] for kind, size in (("old", 60), ("young", 50)))
    for connection_id in old:
        await proxied.open(connection_id, b"null", ["lobby"])
    clock.time = START + 1
    for connection_id in young:
        await proxied.open(connection_id, b"null", ["lobby"])
    calls.clear()
    await proxied.prune([*old, *young], accepted_before=START + 1)
    assert Counter(name for name, _ in calls) == {"BatchGetItem": 2, "Query": 60, "BatchWriteItem": 3}
    reads = [next(iter(params["RequestItems"].values())) for name, params in calls if name == "BatchGetItem"]
    assert [len(read["Keys"]) for read in reads] == [100, 10]
    assert all(read["ConsistentRead"] for read in reads)
    assert all(params["ConsistentRead"] for name, params in calls if name == "Query")


async def test_queries_of_those_that_are_pruned_run_side_by_side(proxied: DynamoDbConnections, stub: HttpStub) -> None:
    ids = [f"{number}=" for number in range(PRUNED_AT_ONCE)]
    together = threading.Barrier(len(ids), timeout=10)
    forward = stub.script

    def script(request: Request) -> Answer | None:
        if request.operation == "Query":
            together.wait()
        return forward(request)

    stub.script = script
    assert list(await proxied.prune(ids, accepted_before=START)) == []
    assert Counter(stub.operations) == {"BatchGetItem": 1, "Query": PRUNED_AT_ONCE}


# Failures


async def test_unprocessed_rows_are_written_again(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock, connections_table: str
) -> None:
    forward, batches = stub.script, 0

    def script(request: Request) -> Answer | None:
        """Leave one row of each of the first two batches, as an overloaded partition does."""
        nonlocal batches
        batches += 1
        if batches > 2:
            return forward(request)
        *most, last = request.json["RequestItems"][connections_table]
        if most:
            forward(Request(request.method, request.path, request.headers, _batch(connections_table, most)))
        return Answer.of({"UnprocessedItems": {connections_table: [last]}})

    stub.script = script
    await proxied.open(ME, b"1", ["lobby", "games"])
    assert [len(request.json["RequestItems"][connections_table]) for request in stub.requests] == [3, 1, 1]
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])
    assert await proxied.remove(ME) == StoredConnection(b"1", START)
    assert len(stub.requests[-1].json["RequestItems"][connections_table]) == 3


async def test_rows_that_stay_unprocessed_are_unavailable(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda request: Answer.of({"UnprocessedItems": request.json["RequestItems"]})
    with pytest.raises(Unavailable) as error:
        await proxied.open(ME, b"1", ["lobby"])
    assert str(error.value) == "DynamoDB: 2 rows remain unprocessed"
    assert clock.sleeps == list(RETRY_PAUSES_S)


async def test_unprocessed_keys_are_read_again(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock, connections_table: str
) -> None:
    ids = ["1=", "2=", "3="]
    for connection_id in ids:
        await proxied.open(connection_id, b"null", ["lobby"])
    forward = stub.script

    def script(request: Request) -> Answer | None:
        """Read one key of each call, as where rows are too large together."""
        if request.operation != "BatchGetItem":
            return forward(request)
        table = request.json["RequestItems"][connections_table]
        one, *rest = table["Keys"]
        body = Answer.of({"RequestItems": {connections_table: {**table, "Keys": [one]}}}).body
        answer = forward(Request(request.method, request.path, request.headers, body))
        assert answer is not None
        unprocessed = {connections_table: {**table, "Keys": rest}} if rest else {}
        return Answer.of({**json.loads(answer.body), "UnprocessedKeys": unprocessed})

    stub.script = script
    assert list(await proxied.prune(ids, accepted_before=START)) == ids
    assert [name for name in stub.operations if name == "BatchGetItem"] == ["BatchGetItem"] * 3
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])


async def test_keys_that_stay_unprocessed_are_unavailable_and_nothing_is_pruned(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda request: Answer.of({"Responses": {}, "UnprocessedKeys": request.json["RequestItems"]})
    with pytest.raises(Unavailable) as error:
        await proxied.prune([ME, "another="], accepted_before=START)
    assert str(error.value) == "DynamoDB: 2 rows remain unprocessed"
    assert clock.sleeps == list(RETRY_PAUSES_S)
    assert set(stub.operations) == {"BatchGetItem"}


async def test_rows_to_be_pruned_that_stay_unprocessed_are_unavailable(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    for connection_id in (ME, "another="):
        await proxied.open(connection_id, b"null", ["lobby", "games"])
    forward = stub.script
    stub.script = lambda request: (
        Answer.of({"UnprocessedItems": request.json["RequestItems"]})
        if request.operation == "BatchWriteItem"
        else forward(request)
    )
    with pytest.raises(Unavailable) as error:
        await proxied.prune([ME, "another="], accepted_before=START + 1)
    assert str(error.value) == "DynamoDB: 4 rows remain unprocessed"
    assert clock.sleeps == list(RETRY_PAUSES_S)


async def test_a_query_that_fails_beside_others_is_unavailable(proxied: DynamoDbConnections, stub: HttpStub) -> None:
    stub.script = first(1, Answer.error("InternalServerError", 500), to="Query", then=stub.script)
    with pytest.raises(Unavailable, match=r"^DynamoDB: .*InternalServerError"):
        await proxied.prune([f"{number}=" for number in range(20)], accepted_before=START)


async def test_metadata_outlives_a_removal_that_fails_midway(
    proxied: DynamoDbConnections, stub: HttpStub, moto_url: str
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
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    await proxied.open(ME, b"null", [])
    stub.script = first(2, conflict("TransactionConflict", "None"), to="TransactWriteItems", then=stub.script)
    assert await proxied.subscribe(ME, "lobby") is Form.RAW
    assert clock.sleeps == list(RETRY_PAUSES_S[:2])
    assert [page async for page in proxied.subscribers("lobby", page_size=PAGE_SIZE)] == [Page([ME], None)]


async def test_subscribe_with_a_failed_condition_beside_a_conflict_is_not_repeated(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    stub.script = lambda _: conflict("ConditionalCheckFailed", "TransactionConflict")
    assert await proxied.subscribe(ME, "lobby") is None
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("reasons", "attempts"), [(("TransactionConflict", "None"), 6), (("None", "ValidationError"), 1)]
)
async def test_subscribe_gives_up(
    proxied: DynamoDbConnections, stub: HttpStub, reasons: tuple[str, ...], attempts: int
) -> None:
    stub.script = lambda _: conflict(*reasons)
    with pytest.raises(Unavailable, match="TransactionCanceledException"):
        await proxied.subscribe(ME, "lobby")
    assert len(stub.requests) == attempts


async def test_other_writes_wait_for_a_transaction_too(
    proxied: DynamoDbConnections, stub: HttpStub, clock: FakeClock
) -> None:
    await proxied.open(ME, b"null", ["lobby"])
    stub.script = first(1, Answer.error("TransactionConflictException"), to="UpdateItem", then=stub.script)
    stub.script = first(1, Answer.error("TransactionConflictException"), to="DeleteItem", then=stub.script)
    assert await proxied.set_metadata(ME, b"1") is True
    await proxied.unsubscribe(ME, "lobby")
    assert await proxied.remove(ME) == StoredConnection(b"1", START)
    assert clock.sleeps == [RETRY_PAUSES_S[0]] * 2


METHODS: dict[str, Callable[[DynamoDbConnections], Awaitable[object]]] = {
    "open": lambda store: store.open(ME, b"null", ["lobby"]),
    "get": lambda store: store.get(ME),
    "set_metadata": lambda store: store.set_metadata(ME, b"null"),
    "subscribe": lambda store: store.subscribe(ME, "lobby"),
    "unsubscribe": lambda store: store.unsubscribe(ME, "lobby"),
    "subscribers": lambda store: anext(aiter(store.subscribers("lobby", page_size=PAGE_SIZE))),
    "unsubscribe_all": lambda store: store.unsubscribe_all(ME),
    "remove": lambda store: store.remove(ME),
    "count": lambda store: store.count("lobby", after=None, until=START + 1),
    "prune": lambda store: store.prune([ME], accepted_before=START),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "answer",
    [Answer.error("ProvisionedThroughputExceededException"), Answer(500, b"<html>"), RESET],
    ids=["throttled", "failing", "reset"],
)
async def test_each_method_raises_unavailable_where_dynamodb_fails(
    proxied: DynamoDbConnections, stub: HttpStub, method: str, answer: Answer | None
) -> None:
    stub.script = lambda _: answer
    with pytest.raises(Unavailable, match=r"^DynamoDB: ") as error:
        await METHODS[method](proxied)
    assert error.value.__cause__ is not None


def _batch(connections_table: str, requests: list[object]) -> bytes:
    return Answer.of({"RequestItems": {connections_table: requests}}).body
