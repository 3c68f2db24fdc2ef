"""Builds a gateway from a function's environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import msgspec

from ..apigateway.limits import BACKEND_TIMEOUT_S
from ..dialects import Dialect, protocols
from ..gateway.delivery_rate import DEFAULT_FAN_OUT_RATE
from ..gateway.fan_out import INLINE_LIMIT
from ..gateway.gateway import Ports, build_gateway
from ..gateway.looks import Looks
from ..gateway.observer import Observer
from ..gateway.ports import SystemClock
from ..gateway.worker import DEFAULT_INBOUND_RETRY_S, Inbound
from ..http.backend_client import BackendClient
from ..protocol.errors import InvalidSettings
from .channels import DynamoDbChannels
from .checkpoints import DynamoDbCheckpoints
from .client import Client, aws_http, endpoint_url
from .connections import DynamoDbConnections
from .credentials import FunctionCredentials
from .delivery_rate import DynamoDbDeliveryRate
from .history import DynamoDbHistory
from .jwt_secrets import SecretsManagerClient, StoredSecrets
from .management import ApiGatewaySender
from .presence import DynamoDbPresence
from .queue import SqsQueue
from .timers import SqsTimers

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient
    from types_aiobotocore_sqs.client import SQSClient

_MEANINGS = {
    "TARGET_URL": "the URL of the backend that receives the events, e.g. https://app.example/slip",
    "CONNECTIONS_TABLE": "the name of the Connections table",
    "CHANNELS_TABLE": "the name of the Channels table",
    "QUEUE_URL": "the URL of the FIFO queue of deferred messages",
    "INBOUND_QUEUE_URL": "the URL of the FIFO queue of what clients send",
    "DEAD_LETTERS_URL": "the URL of the dead-letter queue",
    "MANAGEMENT_URL": "the WebSocket API's stage, e.g. https://abc123.execute-api.eu-west-1.amazonaws.com/live",
    "JWT_SECRET_ARN": "the ARN of the secret in Secrets Manager that holds the JWT secrets",
    "JWT_SECRET_VERSION": "the id of the secret's version that this function is deployed with",
}


class FunctionSettings(msgspec.Struct, frozen=True):
    """What the stacks set for a function.

    `jwt_secret_arn` and `jwt_secret_version` name a version of a secret in Secrets Manager: a JSON list of the secrets
    that are accepted, the one that signs first. `inline_limit` is how many subscribers a publish sends to without the
    queue, `fan_out_rate` how many calls a second of the management API those of the queue may make, all functions
    together. With `is_ordered` API Gateway puts what clients send into the inbound queue; what the backend does not
    take of it is tried again for `inbound_retry_s` seconds. Only GRIP and `occupancy_events` have a
    `timers_queue_url`. Without `stack_name` the function writes no metrics.
    """

    target_url: str
    connections_table: str
    channels_table: str
    queue_url: str
    inbound_queue_url: str
    dead_letters_url: str
    management_url: str
    jwt_secret_arn: str
    jwt_secret_version: str
    inline_limit: int = INLINE_LIMIT
    fan_out_rate: int = DEFAULT_FAN_OUT_RATE
    is_ordered: bool = False
    inbound_retry_s: int = DEFAULT_INBOUND_RETRY_S
    backend_protocol: Dialect = Dialect.SLIP
    grip_path_from: str = ""
    grip_host: str = ""
    occupancy_events: bool = False
    timers_queue_url: str | None = None
    stack_name: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> FunctionSettings:
        """Raises InvalidSettings, with a line for each variable that is missing."""
        missing = [name for name in _MEANINGS if not environ.get(name)]
        if missing:
            raise InvalidSettings([f"{name} is not set. Set it to {_MEANINGS[name]}" for name in missing])
        return cls(
            target_url=environ["TARGET_URL"],
            connections_table=environ["CONNECTIONS_TABLE"],
            channels_table=environ["CHANNELS_TABLE"],
            queue_url=environ["QUEUE_URL"],
            inbound_queue_url=environ["INBOUND_QUEUE_URL"],
            dead_letters_url=environ["DEAD_LETTERS_URL"],
            management_url=environ["MANAGEMENT_URL"],
            jwt_secret_arn=environ["JWT_SECRET_ARN"],
            jwt_secret_version=environ["JWT_SECRET_VERSION"],
            inline_limit=int(environ.get("INLINE_LIMIT") or INLINE_LIMIT),
            fan_out_rate=int(environ.get("FAN_OUT_RATE") or DEFAULT_FAN_OUT_RATE),
            is_ordered=environ.get("INBOUND") == Inbound.ORDERED,
            inbound_retry_s=int(environ.get("INBOUND_RETRY_S") or DEFAULT_INBOUND_RETRY_S),
            backend_protocol=Dialect(environ.get("BACKEND_PROTOCOL") or Dialect.SLIP),
            grip_path_from=environ.get("GRIP_PATH_FROM", ""),
            grip_host=environ.get("GRIP_HOST", ""),
            occupancy_events=environ.get("OCCUPANCY_EVENTS") == "true",
            timers_queue_url=environ.get("TIMERS_QUEUE_URL") or None,
            stack_name=environ.get("STACK_NAME") or None,
        )


class Runtime:
    """A gateway over AWS, and what its transport needs beside it. Raises InvalidSettings."""

    def __init__(
        self, settings: FunctionSettings, observer: Observer, on_table_throttled: Callable[[], None] | None = None
    ) -> None:
        self.clock = clock = SystemClock()
        self._http = aws_http()
        self._credentials = FunctionCredentials(os.environ, clock, self._http)
        dynamodb = cast("DynamoDBClient", self._client("dynamodb", on_table_throttled))
        sqs = cast("SQSClient", self._client("sqs"))
        self.queue = SqsQueue(sqs, settings.queue_url, clock)
        self.inbound_queue = SqsQueue(sqs, settings.inbound_queue_url, clock)
        self.dead_letters = SqsQueue(sqs, settings.dead_letters_url, clock)
        timers_url = settings.timers_queue_url
        self.timers = None if timers_url is None else SqsTimers(sqs, timers_url, clock)
        secrets_manager = cast(SecretsManagerClient, self._client("secretsmanager"))
        self.secrets = StoredSecrets(secrets_manager, settings.jwt_secret_arn, settings.jwt_secret_version)
        self.checkpoints = DynamoDbCheckpoints(dynamodb, settings.channels_table, clock)
        self._sender = ApiGatewaySender(settings.management_url, _region(), self._credentials, clock)
        self._backend = BackendClient(clock, BACKEND_TIMEOUT_S)
        changes = Looks(self.queue, clock)
        connections = DynamoDbConnections(
            dynamodb,
            settings.connections_table,
            settings.channels_table,
            clock,
            changes,
            keeps_metadata=settings.occupancy_events,
        )
        channels = DynamoDbChannels(dynamodb, settings.channels_table, clock)
        backend_protocol, publish_protocol = protocols(
            settings.backend_protocol, grip_path_from=settings.grip_path_from, grip_host=settings.grip_host
        )
        self.gateway = build_gateway(
            Ports(
                connections=connections,
                subscriptions=connections,
                claims=channels,
                marks=channels,
                history=DynamoDbHistory(dynamodb, settings.channels_table, clock),
                presence=DynamoDbPresence(dynamodb, settings.channels_table, clock),
                sender=self._sender,
                queue=self.queue,
                http=self._backend,
                clock=clock,
                rate=DynamoDbDeliveryRate(dynamodb, settings.channels_table, settings.fan_out_rate, clock),
                inbound=self.inbound_queue if settings.is_ordered else None,
                timers=self.timers,
            ),
            target_url=settings.target_url,
            secrets=self.secrets,
            backend_protocol=backend_protocol,
            publish_protocol=publish_protocol,
            inline_limit=settings.inline_limit,
            inbound_retry_s=settings.inbound_retry_s,
            occupancy_events=settings.occupancy_events,
            observer=observer,
        )

    async def start(self) -> None:
        """Read at a cold start what all events need. Raises InvalidSettings."""
        await self.secrets.load()

    async def aclose(self) -> None:
        """Close the kept connections."""
        self._sender.end()
        await self._backend.aclose()
        await self._http.aclose()

    def _client(self, service: str, on_throttled: Callable[[], None] | None = None) -> Client:
        """It has the methods of aiobotocore's clients, and is used with their types."""
        region = _region()
        url = endpoint_url(service, region, os.environ)
        return Client(service, region, self._credentials, endpoint_url=url, http=self._http, on_throttled=on_throttled)


def _region() -> str:
    """Lambda sets both; another place to run a function may have set only one."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise InvalidSettings(["AWS_REGION is not set. Set it to the region of the tables, e.g. eu-west-1"])
    return region
