"""AWS in this process, behind real HTTP on loopback: moto's server, and clients for it, ours and boto3's."""

from __future__ import annotations

import functools
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from moto.dynamodb.responses import DynamoHandler
from moto.server import ThreadedMotoServer

from slip_sockets.aws import channels, connections
from slip_sockets.aws.client import Client
from slip_sockets.aws.credentials import Keys
from slip_sockets.gateway.ports import SystemClock
from slip_sockets.http.client import Client as HttpClient
from slip_sockets.http.client import Timeouts

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What boto3 reads of its surroundings, so that it reads nothing of the user who runs the tests."""

FAST_CONFIG = Config(
    connect_timeout=2,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=16,
)
"""botocore's own repetitions would only sleep here."""


def client(service: str, endpoint_url: str, *, attempts: int = 1) -> Any:
    """Return a function's client for a server on loopback. It keeps no connections: each test has its own loop."""
    http = HttpClient(SystemClock(), Timeouts(connect_s=2, first_byte_s=10, total_s=10), idle_s=0)
    return Client(service, "us-east-1", keys, endpoint_url=endpoint_url, http=http, attempts=attempts, sleep=no_pause)


async def keys() -> Keys:
    return Keys("x", "x")


async def no_pause(seconds: float) -> None:
    pass


def boto3_client(service: Any, endpoint_url: str) -> Any:
    """Return a real client of boto3."""
    return _session().client(service, endpoint_url=endpoint_url, config=FAST_CONFIG)


def stored_secrets(endpoint_url: str, value: str) -> dict[str, str]:
    """Store `value` as a new secret in Secrets Manager; return the variables with which a function finds it."""
    client: Any = boto3_client("secretsmanager", endpoint_url)
    made = client.create_secret(Name=uuid.uuid4().hex, SecretString=value)
    return {"JWT_SECRET_ARN": made["ARN"], "JWT_SECRET_VERSION": made["VersionId"]}


@functools.cache
def _session() -> boto3.session.Session:
    """One for all, since it keeps the descriptions of the services, which take long to read."""
    return boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DynamoHandler, "call_action", _one_at_a_time(DynamoHandler.call_action))
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


def _one_at_a_time(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A conditional write is atomic in DynamoDB. moto tests the condition and then writes, each request in a thread."""
    lock = threading.Lock()

    def locked(handler: Any) -> Any:
        with lock:
            return call(handler)

    return locked


@pytest.fixture(scope="session")
def dynamodb(moto_url: str) -> DynamoDBClient:
    made: DynamoDBClient = boto3_client("dynamodb", moto_url)
    return made


@pytest.fixture(scope="session")
def sqs(moto_url: str) -> SQSClient:
    made: SQSClient = boto3_client("sqs", moto_url)
    return made


@pytest.fixture
def connections_table(dynamodb: DynamoDBClient) -> str:
    """A table `Connections` for this test alone."""
    return _new_table(
        dynamodb,
        "Connections",
        connections.PARTITION_KEY,
        connections.SORT_KEY,
        GlobalSecondaryIndexes=[
            {
                "IndexName": connections.INDEX_NAME,
                "KeySchema": [{"AttributeName": connections.SORT_KEY, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["ttl", "form"]},
            }
        ],
    )


@pytest.fixture
def channels_table(dynamodb: DynamoDBClient) -> str:
    """A table `Channels` for this test alone."""
    return _new_table(dynamodb, "Channels", channels.PARTITION_KEY, channels.SORT_KEY)


def _new_table(dynamodb: DynamoDBClient, kind: str, partition_key: str, sort_key: str, **options: Any) -> str:
    name = f"{kind}-{uuid.uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": partition_key, "AttributeType": "S"},
            {"AttributeName": sort_key, "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": partition_key, "KeyType": "HASH"},
            {"AttributeName": sort_key, "KeyType": "RANGE"},
        ],
        **options,
    )
    return name


@pytest.fixture
def queue_url(sqs: SQSClient) -> str:
    """A FIFO queue of deferred messages for this test alone; beside it are those of `queues_beside`."""
    name = uuid.uuid4().hex
    urls = [
        sqs.create_queue(QueueName=f"{kind}-{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for kind in ("deferred", "inbound", "dead-letters")
    ]
    return urls[0]


def queues_beside(queue_url: str) -> dict[str, str]:
    """Return a function's variables with the other queues of a deployment."""
    return {
        "INBOUND_QUEUE_URL": queue_url.replace("/deferred-", "/inbound-"),
        "DEAD_LETTERS_URL": queue_url.replace("/deferred-", "/dead-letters-"),
    }
