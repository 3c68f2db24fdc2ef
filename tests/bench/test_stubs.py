"""The benchmark's stubs do what the gateway relies on, as the services do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import urllib3

from bench.stubs.connection_ids import connection_id
from bench.stubs.lambda_calls import QUEUE_URL, SECRET
from bench.stubs.programs import ManagementStub, Stub
from slip_sockets.apigateway.connection_ids import is_connection_id
from slip_sockets.aws.channels import DynamoDbChannels
from slip_sockets.aws.checkpoints import DynamoDbCheckpoints
from slip_sockets.aws.connections import INDEX_NAME, NOT_EXPIRED, OF_CHANNEL, DynamoDbConnections
from slip_sockets.aws.errors import AwsError
from slip_sockets.aws.history import DynamoDbHistory
from slip_sockets.gateway.ports import Claim, SystemClock
from slip_sockets.gateway.values import ChannelState, Count, Origin, Publication
from slip_sockets.protocol.events import Keep
from slip_sockets.protocol.positions import Position

from ..aws.moto_server import client

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, WriteRequestTypeDef
    from types_aiobotocore_sqs.client import SQSClient
    from types_aiobotocore_sqs.type_defs import MessageTypeDef, SendMessageBatchRequestEntryTypeDef

ME, OTHER = connection_id(1 << 16, 0), connection_id(1 << 16, 1)


def test_connection_ids_have_the_form_of_api_gateways() -> None:
    id_ = connection_id(3, 999_999)
    assert is_connection_id(id_)
    assert len(id_) == 16


@pytest.fixture(scope="module")
def dynamodb_stub() -> Iterator[Stub]:
    with Stub("dynamodb", environment={"JWT_SECRET": SECRET}) as stub:
        yield stub
        assert stub.log() == ""


@pytest.fixture
def dynamodb(dynamodb_stub: Stub) -> DynamoDBClient:
    made: DynamoDBClient = client("dynamodb", dynamodb_stub.url)
    return made


@pytest.fixture
def connections(dynamodb: DynamoDBClient) -> DynamoDbConnections:
    return DynamoDbConnections(dynamodb, "bench-Connections", "bench-Channels", SystemClock())


@pytest.fixture
def channels(dynamodb: DynamoDBClient) -> DynamoDbChannels:
    return DynamoDbChannels(dynamodb, "bench-Channels", SystemClock())


async def subscribers(connections: DynamoDbConnections, channel: str) -> list[str]:
    return [id_ async for page in connections.subscribers(channel, page_size=10) for id_ in page.connection_ids]


class TestConnectionsTable:
    async def test_a_filling_is_read_by_pages(self, connections: DynamoDbConnections, dynamodb_stub: Stub) -> None:
        dynamodb_stub.post("/fill", channel="pages", subscribers=25)
        pages = [page async for page in connections.subscribers("pages", page_size=10)]
        assert [len(page.connection_ids) for page in pages] == [10, 10, 5]
        assert len({id_ for page in pages for id_ in page.connection_ids}) == 25
        count = await connections.count("pages", after=pages[0].cursor, until=float("inf"))
        assert count == Count(15, more=False)

    async def test_a_page_after_a_full_one_may_be_empty(
        self, connections: DynamoDbConnections, dynamodb_stub: Stub
    ) -> None:
        dynamodb_stub.post("/fill", channel="full", subscribers=20)
        pages = [page.connection_ids async for page in connections.subscribers("full", page_size=10)]
        assert [len(page) for page in pages] == [10, 10, 0]

    async def test_a_connection_comes_and_goes(self, connections: DynamoDbConnections) -> None:
        await connections.open(ME, b'{"n":1}', ["first"])
        assert await connections.subscribe(ME, "second")
        assert await connections.set_metadata(ME, b'{"n":2}')
        assert await subscribers(connections, "first") == await subscribers(connections, "second") == [ME]
        await connections.unsubscribe(ME, "first")
        assert await subscribers(connections, "first") == []
        stored = await connections.get(ME)
        assert stored is not None
        assert stored.metadata == b'{"n":2}'
        assert await connections.remove(ME) == stored
        assert await subscribers(connections, "second") == []
        assert await connections.get(ME) is None

    async def test_the_index_has_a_subscriptions_form(
        self, connections: DynamoDbConnections, dynamodb: DynamoDBClient, dynamodb_stub: Stub
    ) -> None:
        await connections.open(ME, b"{}", [])
        await connections.open(OTHER, b"{}", ["forms"])
        row = {"connectionId": {"S": ME}, "channel": {"S": "forms"}, "ttl": {"N": "1700000000"}}
        put: WriteRequestTypeDef = {"PutRequest": {"Item": row | {"form": {"S": "slip.v1"}}}}
        await dynamodb.batch_write_item(RequestItems={"bench-Connections": [put]})

        async def rows(projection: str) -> list[dict[str, AttributeValueTypeDef]]:
            response = await dynamodb.query(
                TableName="bench-Connections",
                IndexName=INDEX_NAME,
                KeyConditionExpression=OF_CHANNEL,
                FilterExpression=NOT_EXPIRED,
                ExpressionAttributeValues={":channel": {"S": "forms"}, ":now": {"N": "1"}},
                ProjectionExpression=projection,
            )
            return sorted(response["Items"], key=len)

        both = [{"connectionId": {"S": OTHER}}, {"connectionId": {"S": ME}, "form": {"S": "slip.v1"}}]
        assert await rows("connectionId, form") == both
        assert [list(row) for row in await rows("connectionId")] == [["connectionId"]] * 2
        await connections.remove(ME)
        assert await rows("connectionId, form") == both[:1]
        await connections.remove(OTHER)

    async def test_a_connection_that_is_not_there_takes_nothing(self, connections: DynamoDbConnections) -> None:
        assert not await connections.subscribe(OTHER, "first")
        assert not await connections.set_metadata(OTHER, b"1")
        assert await connections.remove(OTHER) is None


class TestChannelsTable:
    async def test_an_id_is_claimed_once(self, channels: DynamoDbChannels) -> None:
        assert (await channels.claim("room", "1", "one", lease_s=60)).claim is Claim.GRANTED
        assert (await channels.claim("room", "1", "other", lease_s=60)).claim is Claim.PENDING
        assert (await channels.claim("room", "1", "one", lease_s=60)).claim is Claim.GRANTED
        await channels.confirm("room", "1", "one")
        assert (await channels.claim("room", "1", "other", lease_s=60)).claim is Claim.PUBLISHED
        assert (await channels.claim("room", "2", "other", lease_s=60)).claim is Claim.GRANTED

    async def test_marks_are_of_their_channel(self, channels: DynamoDbChannels) -> None:
        await channels.mark_queued("room", for_s=60)
        await channels.mark_slow("room", [ME], for_s=60)
        assert await channels.channel_state("room") == ChannelState(is_queued=True, slow=frozenset({ME}))
        assert await channels.channel_state("hall") == ChannelState()
        await channels.mark_filtered("hall", for_s=60)
        assert await channels.channel_state("hall") == ChannelState(has_content_filters=True)

    async def test_mark_of_the_deployment_is_found(self, channels: DynamoDbChannels) -> None:
        assert not await channels.has_patterns()
        await channels.mark_patterns(for_s=60)
        assert await channels.has_patterns()

    async def test_a_checkpoint_is_replaced(self, dynamodb: DynamoDBClient) -> None:
        checkpoints = DynamoDbCheckpoints(dynamodb, "bench-Channels", SystemClock())
        assert await checkpoints.load("m") is None
        for remaining in ("much", "little"):
            await checkpoints.save("m", remaining)
            assert await checkpoints.load("m") == remaining


class TestKeptRows:
    async def test_what_is_kept_is_found(self, dynamodb: DynamoDBClient, channels: DynamoDbChannels) -> None:
        history = DynamoDbHistory(dynamodb, "bench-Channels", SystemClock())
        begun = await history.newest("kept")
        assert begun.offset == 0
        positions = []
        for number in range(70):  # some of their names are in pages
            state = await channels.channel_state("kept")
            publication = Publication("kept", str(number), keep=Keep(count=1_000, seconds=3_600))
            positions.append(await history.keep(publication, Origin(f"{number:016d}"), state))
        assert positions == [Position(begun.epoch, offset) for offset in range(1, 71)]
        past = await history.past("kept", begun, limit=1_000)
        assert [message.data for message in past.messages] == [str(number) for number in range(70)]
        state = await channels.channel_state("kept")
        publication = Publication("kept", "3", keep=Keep(count=1_000, seconds=3_600))
        assert await history.keep(publication, Origin(f"{3:016d}", is_repeated=True), state) == positions[3]

    async def test_confirmed_claim_has_its_position(self, channels: DynamoDbChannels) -> None:
        await channels.claim("kept", "1", "one", lease_s=60)
        await channels.confirm("kept", "1", "one", position="e:1")
        assert (await channels.claim("kept", "1", "other", lease_s=60)).position == "e:1"


class TestUnits:
    async def test_units_are_counted(
        self, connections: DynamoDbConnections, channels: DynamoDbChannels, dynamodb_stub: Stub
    ) -> None:
        dynamodb_stub.post("/fill", channel="units", subscribers=1000)
        dynamodb_stub.post("/reset")
        async for _ in connections.subscribers("units", page_size=8000):
            pass
        await channels.mark_queued("units", for_s=60)
        await connections.open(ME, b"{}", ["lobby"])
        await connections.subscribe(ME, "second")
        await connections.remove(ME)
        assert dynamodb_stub.get("/stats") == {
            # 1,000 rows of 49 bytes, read eventually consistently
            "Query channel-index": {"calls": 1, "read_units": 6, "write_units": 0, "index_write_units": 0},
            "PutItem": {"calls": 1, "read_units": 0, "write_units": 1, "index_write_units": 0},
            "TransactWriteItems": {"calls": 1, "read_units": 0, "write_units": 4, "index_write_units": 1},
            "Query": {"calls": 1, "read_units": 1, "write_units": 0, "index_write_units": 0},
            # two rows are written, three deleted
            "BatchWriteItem": {"calls": 2, "read_units": 0, "write_units": 5, "index_write_units": 5},
        }

    async def test_what_the_stub_does_not_know_fails_loudly(self) -> None:
        with Stub("dynamodb") as stub:
            dynamodb: DynamoDBClient = client("dynamodb", stub.url)
            key = {"connectionId": {"S": "a"}, "channel": {"S": "b"}}
            with pytest.raises(AwsError) as refused:
                await dynamodb.update_item(
                    TableName="bench-Connections", Key=key, UpdateExpression="SET a = b", ConditionExpression="a = b"
                )
            assert refused.value.response["Error"]["Code"] == "NotSupportedByStub"
            assert "the stub does not know 'SET a = b'" in stub.log()


class TestManagementApi:
    def test_texts_are_counted_by_connection(self) -> None:
        with ManagementStub() as stub:
            for id_ in ("a", "b", "a"):
                assert http_post(f"{stub.url}/live/@connections/{id_}%3D", b"hi") == 200
            received = stub.received()
            assert (received.calls, received.delivered, received.connections, received.duplicates) == (3, 3, 2, 1)
            stub.reset()
            assert stub.received().calls == 0

    def test_calls_beyond_the_cap_are_refused(self) -> None:
        with ManagementStub("--cap", "0.001", "--burst", "2") as stub:
            statuses = [http_post(f"{stub.url}/live/%40connections/a", b"hi") for _ in range(3)]
            assert statuses == [200, 200, 429]
            received = stub.received()
            assert (received.calls, received.delivered) == (3, 2)


def http_post(url: str, body: bytes) -> int:
    return urllib3.request("POST", url, body=body, retries=False).status


class Queue:
    """The stub's queue, through a function's client."""

    def __init__(self, stub: Stub) -> None:
        self.stub = stub
        self.sqs: SQSClient = client("sqs", stub.url)

    async def put(self, group: str, body: str, deduplication_id: str | None = None) -> None:
        entry: SendMessageBatchRequestEntryTypeDef = {
            "Id": "0",
            "MessageBody": body,
            "MessageGroupId": group,
            "MessageDeduplicationId": deduplication_id or body,
        }
        await self.sqs.send_message_batch(QueueUrl=QUEUE_URL, Entries=[entry])

    async def receive(self, *, wait_s: int = 0) -> MessageTypeDef | None:
        messages = (await self.sqs.receive_message(QueueUrl=QUEUE_URL, WaitTimeSeconds=wait_s)).get("Messages", [])
        return messages[0] if messages else None

    async def bodies(self) -> list[str]:
        """Receive and delete all messages that are visible."""
        bodies = []
        while message := await self.receive():
            bodies.append(message["Body"])
            await self.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=message["ReceiptHandle"])
        return bodies


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Stub("sqs") as stub:
        yield Queue(stub)


class TestSqs:
    async def test_a_group_waits_for_its_message_in_flight(self, queue: Queue) -> None:
        await queue.put("a", "1")
        first = await queue.receive()
        assert first is not None
        assert first["Body"] == "1"
        for group, body in (("a", "2"), ("b", "3")):
            await queue.put(group, body)
        assert await queue.bodies() == ["3"]
        await queue.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=first["ReceiptHandle"])
        assert await queue.bodies() == ["2"]

    async def test_a_message_made_visible_comes_again_in_its_place(self, queue: Queue) -> None:
        await queue.put("a", "1")
        await queue.put("a", "2")
        first = await queue.receive()
        assert first is not None
        await queue.sqs.change_message_visibility_batch(
            QueueUrl=QUEUE_URL,
            Entries=[{"Id": "0", "ReceiptHandle": first["ReceiptHandle"], "VisibilityTimeout": 0}],
        )
        again = await queue.receive(wait_s=5)
        assert again is not None
        assert (again["Body"], again["Attributes"]["ApproximateReceiveCount"]) == ("1", "2")
        with pytest.raises(AwsError, match="The receipt handle has expired"):
            await queue.sqs.delete_message(QueueUrl=QUEUE_URL, ReceiptHandle=first["ReceiptHandle"])

    async def test_duplicates_are_dropped_within_their_group(self, queue: Queue) -> None:
        for group, body in (("a", "1"), ("a", "2"), ("b", "3")):
            await queue.put(group, body, deduplication_id="same")
        assert await queue.bodies() == ["1", "3"]

    async def test_messages_of_a_type_are_counted_and_dropped(self, queue: Queue) -> None:
        queue.stub.post("/drop", type="fan_out_chunk")
        await queue.put("a", '{"type":"fan_out_chunk"}')
        assert await queue.bodies() == []
        assert queue.stub.get("/stats")["messages"] == {"fan_out_chunk": 1}
