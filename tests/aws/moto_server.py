"""AWS in this process, behind real HTTP on loopback: moto's server, and clients for it, ours and boto3's."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from slip_sockets.aws.client import Client, Patience
from slip_sockets.aws.connections import INDEX_NAME
from slip_sockets.aws.credentials import Keys

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
"""What boto3 reads of its surroundings: nothing of whoever runs the tests."""

FAST_CONFIG = Config(
    connect_timeout=2,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=16,
)
"""botocore's own repetitions would only sleep here."""


def client(service: str, endpoint_url: str, *, attempts: int = 1) -> Any:
    """Return a function's client for a server on loopback."""
    patience = Patience(connect_timeout_s=2, read_timeout_s=10, attempts=attempts)
    keys = Keys("x", "x")
    return Client(
        service, "us-east-1", lambda: keys, endpoint_url=endpoint_url, patience=patience, sleep=lambda seconds: None
    )


def boto3_client(service: Any, endpoint_url: str) -> Any:
    """Return a real client of boto3, as who looks on has one."""
    return _session().client(service, endpoint_url=endpoint_url, config=FAST_CONFIG)


@functools.cache
def _session() -> boto3.session.Session:
    """One for all, since it keeps the descriptions of the services, which take long to read."""
    return boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def dynamodb(moto_url: str) -> DynamoDBClient:
    made: DynamoDBClient = boto3_client("dynamodb", moto_url)
    return made


@pytest.fixture(scope="session")
def sqs(moto_url: str) -> SQSClient:
    made: SQSClient = boto3_client("sqs", moto_url)
    return made


@pytest.fixture
def table_name(dynamodb: DynamoDBClient) -> str:
    """A table for this test alone."""
    name = f"Connections-{uuid.uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "connectionId", "AttributeType": "S"},
            {"AttributeName": "channel", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "connectionId", "KeyType": "HASH"},
            {"AttributeName": "channel", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": INDEX_NAME,
                "KeySchema": [{"AttributeName": "channel", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["ttl"]},
            }
        ],
    )
    return name


@pytest.fixture
def queue_url(sqs: SQSClient) -> str:
    """A FIFO queue for this test alone."""
    return sqs.create_queue(QueueName=f"deferred-{uuid.uuid4().hex}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
