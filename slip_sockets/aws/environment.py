"""Builds a gateway from a function's environment. Everything here happens once, at a cold start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ..errors import InvalidSettings
from ..gateway.fan_out import INLINE_LIMIT
from ..gateway.gateway import Gateway
from ..gateway.ports import SystemClock
from ..gateway.tally import Tally
from .client import Client, endpoint_url
from .connections import DynamoDbConnectionStore
from .credentials import FunctionCredentials
from .http_client import Urllib3Client
from .jwt_secrets import ParameterSecrets
from .management import ApiGatewayManagement
from .progress import DynamoDbProgress
from .queue import SqsQueue
from .watch import CountingBackend

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_sqs.client import SQSClient
    from types_boto3_ssm.client import SSMClient

_MEANINGS = {
    "TARGET_URL": "the URL of the backend that receives the events, e.g. https://app.example/slip",
    "TABLE_NAME": "the name of the Connections table",
    "QUEUE_URL": "the URL of the FIFO queue for what is deferred",
    "MANAGEMENT_URL": "the WebSocket API's stage, e.g. https://abc123.execute-api.eu-west-1.amazonaws.com/live",
    "JWT_SECRET_PARAMETER": "the name of the SSM parameter that holds the JWT secrets",
}


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """What the stacks tell a function.

    `jwt_secret_parameter` names an SSM SecureString, a JSON list of the secrets that are accepted, the one that signs
    first. `inline_limit` is how many subscribers a publish sends to without the queue. Without `stack_name` the
    function tells no metrics.
    """

    target_url: str
    table_name: str
    queue_url: str
    management_url: str
    jwt_secret_parameter: str
    inline_limit: int = INLINE_LIMIT
    stack_name: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionSettings:
        """Raises InvalidSettings, with a line for each variable that is missing."""
        missing = [name for name in _MEANINGS if not environ.get(name)]
        if missing:
            raise InvalidSettings([f"{name} is not set. Set it to {_MEANINGS[name]}" for name in missing])
        return cls(
            target_url=environ["TARGET_URL"],
            table_name=environ["TABLE_NAME"],
            queue_url=environ["QUEUE_URL"],
            management_url=environ["MANAGEMENT_URL"],
            jwt_secret_parameter=environ["JWT_SECRET_PARAMETER"],
            inline_limit=int(environ.get("INLINE_LIMIT") or INLINE_LIMIT),
            stack_name=environ.get("STACK_NAME") or None,
        )


def build_queue(settings: FunctionSettings) -> SqsQueue:
    return SqsQueue(cast("SQSClient", _client("sqs")), settings.queue_url, SystemClock())


def build_dynamodb() -> DynamoDBClient:
    return cast("DynamoDBClient", _client("dynamodb"))


def build_progress(settings: FunctionSettings, dynamodb: DynamoDBClient) -> DynamoDbProgress:
    return DynamoDbProgress(dynamodb, settings.table_name, SystemClock())


def build_gateway(settings: FunctionSettings, queue: SqsQueue, dynamodb: DynamoDBClient, tally: Tally) -> Gateway:
    """Raises InvalidSettings."""
    clock = SystemClock()
    secrets = ParameterSecrets(cast("SSMClient", _client("ssm")), settings.jwt_secret_parameter)
    management = ApiGatewayManagement(settings.management_url, _region(), _credentials(), clock)
    return Gateway(
        backend=CountingBackend(settings.target_url, secrets, Urllib3Client(clock), clock, tally),
        store=DynamoDbConnectionStore(dynamodb, settings.table_name, clock),
        management=management,
        queue=queue,
        clock=clock,
        secrets=secrets,
        inline_limit=settings.inline_limit,
        tally=tally,
    )


def _client(service: str) -> Client:
    """It is used with the types of boto3's, whose methods it has."""
    region = _region()
    return Client(service, region, _credentials(), endpoint_url=endpoint_url(service, region, os.environ))


def _credentials() -> FunctionCredentials:
    return FunctionCredentials(os.environ, SystemClock())


def _region() -> str:
    """Lambda sets both; whoever runs a function elsewhere may have but one."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise InvalidSettings(["AWS_REGION is not set. Set it to the region of the table, e.g. eu-west-1"])
    return region
