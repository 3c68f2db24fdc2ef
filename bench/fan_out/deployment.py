"""What a case runs in: the deployed functions over stubs of AWS, each a process of its own."""

from __future__ import annotations

import time
from contextlib import ExitStack

from slip_sockets.gateway.delivery_rate import DEFAULT_FAN_OUT_RATE
from slip_sockets.gateway.fan_out import INLINE_LIMIT

from ..errors import BenchError
from ..stubs.cloud import Cloud
from .programs import FunctionProgram, PublisherProgram, WorkerProgram
from .reports import Footprint

PATIENCE_S = 120.0
"""How long nothing may change before a case fails."""
POLL_PAUSE_S = 0.05


class Deployment(Cloud):
    """Publishers and workers are ready when this is entered. `management` are the arguments of the management API's
    stub; a channel with more subscribers than `inline_limit` goes to the queue."""

    def __init__(
        self,
        *management: str,
        workers: int = 0,
        publishers: int = 0,
        inline_limit: int = INLINE_LIMIT,
        fan_out_rate: int = DEFAULT_FAN_OUT_RATE,
        database_latency_s: float = 0.0,
    ) -> None:
        super().__init__(
            *management,
            inline_limit=inline_limit,
            fan_out_rate=fan_out_rate,
            database_latency_s=database_latency_s,
        )
        self._worker_count = workers
        self._publisher_count = publishers

    def _start(self, programs: ExitStack) -> None:
        super()._start(programs)
        environment = self.environment
        self.workers = [programs.enter_context(WorkerProgram(environment)) for _ in range(self._worker_count)]
        self.publishers = [programs.enter_context(PublisherProgram(environment)) for _ in range(self._publisher_count)]
        for function in self._functions():
            function.ready()

    def settle(self) -> None:
        """Wait until no message is in the queue or being handled. Raises BenchError after PATIENCE_S without progress.

        What was published must be in the queue already.
        """
        seen, since = self._progress(), time.monotonic()
        while seen[0] > 0:
            time.sleep(POLL_PAUSE_S)
            if (now := self._progress()) != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                logs = "\n".join(program.log() for program in self._functions())
                raise BenchError(f"nothing has happened for {PATIENCE_S:g} s:\n{logs[-3000:]}")

    def finish(self) -> list[Footprint]:
        """End the functions and return what each has used, the publishers' first."""
        return [function.finish() for function in self._functions()]

    def _functions(self) -> list[FunctionProgram]:
        return [*self.publishers, *self.workers]

    def _progress(self) -> tuple[int, int]:
        """Return the number of messages, and another one that grows while something happens.

        Both are the queue's: the management API's stub must not be disturbed while it is measured.
        """
        queue = self.sqs.get("/stats")
        return queue["waiting"] + queue["in_flight"], sum(queue["calls"].values())
