"""Stubs of all that the deployed functions call of AWS, and a function's environment over them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from slip_sockets.gateway.delivery_rate import DEFAULT_FAN_OUT_RATE
from slip_sockets.gateway.fan_out import INLINE_LIMIT

from ..errors import BenchError
from .lambda_calls import DEAD_LETTERS_URL, INBOUND_QUEUE_URL, QUEUE_URL, SECRET
from .programs import ManagementStub, Stub

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What boto3 reads of its surroundings, so that it reads nothing of the user who runs the benchmark."""


class Cloud:
    """The stubs run while this is entered. `management` are the arguments of the management API's.

    If a stub has logged anything, the exit raises BenchError.
    """

    def __init__(
        self,
        *management: str,
        inline_limit: int = INLINE_LIMIT,
        fan_out_rate: int = DEFAULT_FAN_OUT_RATE,
        database_latency_s: float = 0.0,
    ) -> None:
        self._management_arguments = management
        self._inline_limit = inline_limit
        self._fan_out_rate = fan_out_rate
        self._database = ("--latency", str(database_latency_s))
        self._programs = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as programs:
            self._start(programs)
            self._programs = programs.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._programs:
            logged = [f"{stub.name}: {log}" for stub in (self.dynamodb, self.sqs) if (log := stub.log())]
            if logged:
                raise BenchError("\n".join(logged))

    def _start(self, programs: ExitStack) -> None:
        self.management = programs.enter_context(ManagementStub(*self._management_arguments))
        self.dynamodb = programs.enter_context(Stub("dynamodb", *self._database, environment={"JWT_SECRET": SECRET}))
        self.sqs = programs.enter_context(Stub("sqs"))

    @cached_property
    def environment(self) -> dict[str, str]:
        """A function's."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.url,
            "AWS_ENDPOINT_URL_SECRETSMANAGER": self.dynamodb.url,
            "AWS_ENDPOINT_URL_SQS": self.sqs.url,
            "TARGET_URL": "http://127.0.0.1:9/",
            "CONNECTIONS_TABLE": "bench-Connections",
            "CHANNELS_TABLE": "bench-Channels",
            "QUEUE_URL": QUEUE_URL,
            "INBOUND_QUEUE_URL": INBOUND_QUEUE_URL,
            "DEAD_LETTERS_URL": DEAD_LETTERS_URL,
            "MANAGEMENT_URL": f"{self.management.url}/live",
            "JWT_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:bench-AbCdEf",
            "JWT_SECRET_VERSION": "0" * 32,
            "INLINE_LIMIT": str(self._inline_limit),
            "FAN_OUT_RATE": str(self._fan_out_rate),
        }

    def fill(self, channel: str, subscribers: int) -> None:
        """Subscribe connections to a channel that has no subscribers yet."""
        self.dynamodb.post("/fill", channel=channel, subscribers=subscribers)
