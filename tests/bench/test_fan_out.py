"""The benchmark of the fan-out still works: tiny runs of each case, and nothing said about how fast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from bench.fan_out.__main__ import main
from bench.fan_out.cases import CASES, Sizes
from bench.fan_out.lambda_calls import QUEUE_URL, SECRET
from bench.fan_out.programs import Stub
from bench.fan_out.results import Figure, table
from bench.fan_out.subscribers import connection_id, place_of
from slip_sockets.aws.calls import AwsError
from slip_sockets.aws.connections import DynamoDbConnectionStore
from slip_sockets.events import is_connection_id
from slip_sockets.gateway.ports import Count, SystemClock

from ..aws.moto_server import client

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef
    from types_boto3_sqs.client import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef, SendMessageBatchRequestEntryTypeDef

TINY = Sizes(
    workers=1,
    rounds=1,
    inline_limit=10,
    sender=50,
    sender_boto3=50,
    inline=10,
    queued=50,
    million=100,
    capped=((500, 50),),
    gone=50,
    young=2,
    ordered=50,
    ordered_publishes=3,
    faults=50,
    visibility_s=1.0,
    fair=50,
    fair_small=5,
)


def measured(case: str) -> dict[str, float]:
    return {figure.name: figure.value for figure in CASES[case](TINY)}


class TestCases:
    def test_sender_compares_ours_with_boto3(self) -> None:
        figures = measured("sender")
        assert figures["deliveries"] > 0
        assert figures["ours to boto3, 64 threads: by processor time"] > 0

    def test_inline_measures_to_the_last_delivery(self) -> None:
        assert measured("inline")["publish to last delivery"] > 0

    def test_queued_delivers_to_all(self) -> None:
        figures = measured("queued")
        assert (figures["delivered"], figures["duplicates"]) == (100, 0)
        assert figures["peak memory of the largest function"] > 1

    def test_million_counts_what_the_coordinator_sends(self) -> None:
        figures = measured("million")
        assert figures["queue messages"] == 9
        assert figures["pages of subscribers"] == 1
        assert figures["DynamoDB read units: the pages"] > 0

    def test_capped_delivers_to_all_begun_inline_or_not(self) -> None:
        figures = measured("capped")
        assert (figures["500/s: delivered"], figures["500/s, begun inline: delivered"]) == (100, 100)

    def test_gone_are_found_once_and_young_ones_kept(self) -> None:
        figures = measured("gone")
        assert figures["gone"] > 0
        assert figures["calls of the second to gone connections"] == 0
        assert figures["subscribers that remain, of those that are open"] == 100
        assert figures["young subscribers that remain"] == 100

    def test_ordered_texts_arrive_in_order(self) -> None:
        figures = measured("ordered")
        assert (figures["texts that arrived"], figures["out of order"], figures["duplicates"]) == (100, 0, 0)

    def test_faults_lose_nothing(self) -> None:
        figures = measured("faults")
        assert {name: value for name, value in figures.items() if name.endswith(": lost")} == {
            "a worker killed: lost": 0,
            "the publish's message twice: lost": 0,
            "a chunk's message twice: lost": 0,
            "two publishers with one id: lost": 0,
            "two publishers with one id, inline: lost": 0,
        }
        assert 0 < figures["a chunk's message twice: duplicates"] < 50
        assert figures["the publish's message twice: duplicates"] == 0
        assert figures["two publishers with one id: duplicates"] == 0
        assert figures["two publishers with one id, inline: duplicates"] == 0

    def test_fair_reaches_the_small_channel_too(self) -> None:
        assert measured("fair")["lost"] == 0


class TestMain:
    def test_a_named_case_is_printed_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["million", "--million", "100", "--inline-limit", "10"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["case", "figure", "measured", "to", "reach", "reached"]
        assert lines[1].startswith("million   the publisher's answer")

    def test_figures_are_printed_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["million", "--quick", "--million", "100", "--inline-limit", "10", "--json"])
        figures = json.loads(capsys.readouterr().out)["million"]
        assert {"name": "queue messages", "value": 9, "unit": "", "at_least": None, "at_most": None} in figures

    def test_unknown_case_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["sendre"])
        told = "there is no case 'sendre', only sender, inline, queued, million, capped, gone, ordered, faults, fair"
        assert told in capsys.readouterr().err


class TestTable:
    def test_columns_are_aligned_and_a_case_is_named_once(self) -> None:
        figures = [
            Figure("delivered", 100, "%", at_least=100, at_most=100),
            Figure("answer", 0.25, "s", at_most=0.2),
            Figure("deliveries", 4321.9, "/s", at_least=4000),
            Figure("pages", 13),
        ]
        assert table({"queued": figures}).splitlines() == [
            "case     figure       measured   to reach      reached",
            "queued   delivered    100 %      100 %         yes",
            "         answer       0.250 s    <= 0.200 s    NO",
            "         deliveries   4,322 /s   >= 4,000 /s   yes",
            "         pages        13",
        ]


class TestSubscribers:
    def test_ids_have_the_shape_of_api_gateways(self) -> None:
        whose = connection_id(3, 999_999)
        assert is_connection_id(whose)
        assert len(whose) == 16
        assert place_of(whose) == (3, 999_999)

    @pytest.mark.parametrize("other", ["L0SM9cOFvHcCIhw=", "$channel:abc", "é"])
    def test_other_ids_have_no_place(self, other: str) -> None:
        assert place_of(other) is None


@pytest.fixture(scope="module")
def dynamodb_stub() -> Iterator[Stub]:
    with Stub("dynamodb", environment={"JWT_SECRET": SECRET}) as stub:
        yield stub


@pytest.fixture
def store(dynamodb_stub: Stub) -> DynamoDbConnectionStore:
    dynamodb: DynamoDBClient = client("dynamodb", dynamodb_stub.url)
    return DynamoDbConnectionStore(dynamodb, "bench", SystemClock())


class TestDynamoDb:
    async def test_filled_subscribers_are_read_by_pages(
        self, store: DynamoDbConnectionStore, dynamodb_stub: Stub
    ) -> None:
        dynamodb_stub.post("/fill", channel="pages", subscribers=25)
        pages = [page.connection_ids async for page in store.subscribers("pages", page_size=10)]
        assert [len(page) for page in pages] == [10, 10, 5]
        assert len({whose for page in pages for whose in page}) == 25
        assert await store.count("pages", after=pages[0][-1], until=float("inf")) == Count(15, more=False)

    async def test_filled_connections_are_forgotten_unless_they_are_young(
        self, store: DynamoDbConnectionStore, dynamodb_stub: Stub
    ) -> None:
        old = dynamodb_stub.post("/fill", channel="old", subscribers=3)["filling"]
        young = dynamodb_stub.post("/fill", channel="young", subscribers=3, accepted_s_ago=0)["filling"]
        both = [connection_id(old, 1), connection_id(young, 1)]
        assert await store.forget(both, accepted_before=SystemClock().now() - 60) == [connection_id(young, 1)]
        assert dynamodb_stub.get("/subscribers", channel="old") == {"subscribers": 2}
        assert dynamodb_stub.get("/subscribers", channel="young") == {"subscribers": 3}

    async def test_units_are_counted(self, store: DynamoDbConnectionStore, dynamodb_stub: Stub) -> None:
        dynamodb_stub.post("/fill", channel="units", subscribers=1000)
        dynamodb_stub.post("/reset")
        async for _ in store.subscribers("units"):
            pass
        await store.mark_queued("units", for_s=60)
        assert dynamodb_stub.get("/stats") == {
            # 1,000 rows of 49 bytes, read eventually consistently
            "Query channel-index": {"calls": 1, "read_units": 6, "write_units": 0, "index_write_units": 0},
            "PutItem": {"calls": 1, "read_units": 0, "write_units": 1, "index_write_units": 1},
        }

    def test_what_the_stub_does_not_know_fails_loudly(self) -> None:
        with Stub("dynamodb") as stub:
            dynamodb: DynamoDBClient = client("dynamodb", stub.url)
            with pytest.raises(AwsError) as refused:
                dynamodb.delete_item(TableName="bench", Key=key("a", "b"), ConditionExpression="a = b")
            assert refused.value.response["Error"]["Code"] == "NotSupportedByStub"
            assert "KeyError('a = b')" in stub.log()


def key(connection_id: str, channel: str) -> dict[str, AttributeValueTypeDef]:
    return {"connectionId": {"S": connection_id}, "channel": {"S": channel}}


class Queue:
    """The stub's queue, through boto3."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.sqs: SQSClient = client("sqs", stub.url)

    def put(self, group: str, body: str, deduplication_id: str | None = None) -> None:
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": "0",
            "MessageBody": body,
            "MessageGroupId": group,
            "MessageDeduplicationId": deduplication_id or body,
        }
        self.sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=[entry])

    def receive(self, *, wait_s: int = 0) -> MessageTypeDef | None:
        messages = self.sqs.receive_message(QueueUrl=QUEUE_URL, WaitTimeSeconds=wait_s).get("Messages", [])
        return messages[0] if messages else None

    def bodies(self) -> list[str]:
        """Receive and delete whatever there is now."""
        bodies = []
        while message := self.receive():
            bodies.append(message["Body"])
            self.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
        return bodies


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Stub("sqs", "--visibility-timeout", "60") as stub:
        yield Queue(stub)


class TestSqs:
    def test_a_group_waits_for_its_message_in_flight(self, queue: Queue) -> None:
        queue.put("a", "1")
        first = queue.receive()
        assert first is not None
        assert first["Body"] == "1"
        for group, body in (("a", "2"), ("b", "3")):
            queue.put(group, body)
        assert queue.bodies() == ["3"]
        queue.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=first["ReceiptHandle"])
        assert queue.bodies() == ["2"]

    def test_what_is_hidden_no_longer_comes_again_in_its_place(self, queue: Queue) -> None:
        queue.put("a", "1")
        queue.put("a", "2")
        first = queue.receive()
        assert first is not None
        queue.sqs.change_message_visibility_batch(
            QueueUrl=QUEUE_URL,
            Entries=[{"Id": "0", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 0}],
        )
        again = queue.receive(wait_s=5)
        assert again is not None
        assert (again["Body"], again["Attributes"]["ApproximateReceiveCount"]) == ("1", "2")
        with pytest.raises(AwsError, match="The receipt handle has expired"):
            queue.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=first["ReceiptHandle"])

    def test_duplicates_are_dropped_within_their_group(self, queue: Queue) -> None:
        for group, body in (("a", "1"), ("a", "2"), ("b", "3")):
            queue.put(group, body, deduplication_id="same")
        assert queue.bodies() == ["1", "3"]

    def test_a_message_comes_twice_where_that_is_asked_for(self, queue: Queue) -> None:
        queue.stub.post("/twice", type="fan_out")
        queue.put("a", '{"type":"fan_out"}')
        for count in ("1", "2"):
            message = queue.receive()
            assert message is not None
            assert message["Attributes"]["ApproximateReceiveCount"] == count
            queue.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
        assert queue.bodies() == []
        assert queue.stub.get("/stats")["received_again"] == {"fan_out": 1}

    def test_messages_of_a_type_are_counted_and_dropped(self, queue: Queue) -> None:
        queue.stub.post("/drop", type="fan_out_chunk")
        queue.put("a", '{"type":"fan_out_chunk"}')
        assert queue.bodies() == []
        assert queue.stub.get("/stats")["messages"] == {"fan_out_chunk": 1}
