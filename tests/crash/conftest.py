"""A world of functions that can be killed at any call, for all tests of a module."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ..aws.moto_server import channels_table as new_channels
from ..aws.moto_server import connections_table as new_connections
from ..aws.moto_server import dynamodb, moto_url, sqs, stored_secrets
from ..aws.moto_server import queue_url as new_queue
from .world import SECRET, World, world

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient

__all__ = ["dynamodb", "moto_url", "sqs"]


@pytest.fixture(scope="module")
def shared_world(moto_url: str, dynamodb: DynamoDBClient, sqs: SQSClient) -> Iterator[World]:
    fixtures: Any = (new_connections, new_channels, new_queue)
    make_connections, make_channels, make_queue = (fixture.__wrapped__ for fixture in fixtures)
    secrets = stored_secrets(moto_url, json.dumps([SECRET]))
    tables = make_connections(dynamodb), make_channels(dynamodb)
    with world(moto_url, dynamodb, sqs, *tables, make_queue(sqs), secrets) as shared:
        yield shared


@pytest.fixture
def crashing(shared_world: World, caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.WARNING, "werkzeug")  # of moto's server: a line for each call
    shared_world.replies, shared_world.status = {}, 200
    shared_world.clear()
    yield shared_world
    shared_world.clear()
