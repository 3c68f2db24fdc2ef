"""What a case runs in: stubs of AWS, and the deployed functions over them, each a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from slip_sockets.gateway.fan_out import INLINE_LIMIT

from ..errors import BenchError
from .lambda_calls import DELIVER_TIMEOUT_S, QUEUE_URL, SECRET
from .programs import Function, Management, Publisher, Stub, Worker
from .reports import Footprint

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What boto3 reads of its surroundings: nothing of whoever runs the benchmark."""
TABLE_NAME = "bench"
PATIENCE_S = 120.0
"""How long nothing may change before a case is given up."""
LOOK_S = 0.05


class Cloud:
    """`management` are the arguments of its stub. Publishers and workers are ready when this is entered.

    `visibility_timeout_s` is the queue's; a channel with more subscribers than `inline_limit` goes there. What a stub
    complained of ends the case with BenchError.
    """

    def __init__(
        self,
        *management: str,
        workers: int = 0,
        publishers: int = 0,
        inline_limit: int = INLINE_LIMIT,
        visibility_timeout_s: float = 2 * DELIVER_TIMEOUT_S,
    ) -> None:
        self._management_arguments = management
        self._worker_count = workers
        self._publisher_count = publishers
        self._visibility_timeout_s = visibility_timeout_s
        self._inline_limit = inline_limit
        self._programs = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as programs:
            start = programs.enter_context
            self.management = start(Management(*self._management_arguments))
            self.dynamodb = start(Stub("dynamodb", environment={"JWT_SECRET": SECRET}))
            self.sqs = start(Stub("sqs", "--visibility-timeout", str(self._visibility_timeout_s)))
            self.workers = [start(Worker(self.environment)) for _ in range(self._worker_count)]
            self.publishers = [start(Publisher(self.environment)) for _ in range(self._publisher_count)]
            functions: list[Function] = [*self.workers, *self.publishers]
            for function in functions:
                function.ready()
            self._programs = programs.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._programs:
            complaints = [f"{stub.name}: {log}" for stub in (self.dynamodb, self.sqs) if (log := stub.log())]
            if complaints:
                raise BenchError("\n".join(complaints))

    @cached_property
    def environment(self) -> dict[str, str]:
        """A function's."""
        return {
            **CREDENTIALS,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.url,
            "AWS_ENDPOINT_URL_SSM": self.dynamodb.url,
            "AWS_ENDPOINT_URL_SQS": self.sqs.url,
            "TARGET_URL": "http://127.0.0.1:9/",
            "TABLE_NAME": TABLE_NAME,
            "QUEUE_URL": QUEUE_URL,
            "MANAGEMENT_URL": f"{self.management.url}/live",
            "JWT_SECRET_PARAMETER": "/bench",
            "INLINE_LIMIT": str(self._inline_limit),
        }

    def fill(self, channel: str, subscribers: int, *, accepted_s_ago: float = 3600) -> None:
        """Subscribe connections that were accepted so long ago."""
        self.dynamodb.post("/fill", channel=channel, subscribers=subscribers, accepted_s_ago=accepted_s_ago)

    def subscribers(self, channel: str) -> int:
        count: int = self.dynamodb.get("/subscribers", channel=channel)["subscribers"]
        return count

    def add_worker(self) -> None:
        worker = self._programs.enter_context(Worker(self.environment))
        worker.ready()
        self.workers.append(worker)

    def kill_worker(self, index: int) -> None:
        """SIGKILL it."""
        self.workers.pop(index).end()

    def under_way(self) -> int:
        """Return how many messages are in the queue, or handled at the moment."""
        return self._progress()[0]

    def settle(self) -> None:
        """Wait until there are none. What was published must be there already."""
        self.wait_until(lambda: self.under_way() == 0)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Raises BenchError where nothing happens for PATIENCE_S."""
        seen, since = self._progress(), time.monotonic()
        while not is_so():
            time.sleep(LOOK_S)
            if (now := self._progress()) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                logs = "\n".join(program.log() for program in (*self.workers, *self.publishers))
                raise BenchError(f"nothing has happened for {PATIENCE_S:g} s:\n{logs[-3000:]}")

    def _progress(self) -> tuple[int, ...]:
        """Return how many messages there are, and what else changes while something happens.

        Of the queue alone: the management API's stub has enough to do.
        """
        queue = self.sqs.get("/stats")
        return queue["waiting"] + queue["in_flight"], sum(queue["calls"].values())

    def finish(self) -> list[Footprint]:
        """End the functions and return what each has used, the publishers' first."""
        functions: list[Function] = [*self.publishers, *self.workers]
        return [function.finish() for function in functions]
