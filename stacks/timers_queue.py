"""The queue in which the timers of GRIP wait, and the sweeps of channels whose backend hears who is there."""

from __future__ import annotations

from constructs import Construct

from slip_sockets.aws.queue import MAX_BATCH_BYTES
from slip_sockets.gateway.deferred_base import RETRY_FOR_S

from .aws import SqsQueue
from .deferred_queue import VISIBILITY_TIMEOUT_S
from .naming import named

RETENTION_S = 60 * 60
"""Of a timer of GRIP that waits for up to ten minutes, and then cannot be handled."""
SWEEP_RETENTION_S = RETENTION_S + int(RETRY_FOR_S)
"""Of a sweep, which is tried for hours, since without it the backend may never hear that a channel is vacated."""


class TimersQueue(Construct):
    """A standard queue, since that has a delay for each message. `url` and `arn` are Terraform references.

    It has no redrive policy: a timer that cannot be handled for an hour is of no use, and a sweep is put into the queue
    of dead letters, which is FIFO, by its function. Nor is it protected from deletion: other settings have none.
    """

    def __init__(self, scope: Construct, id_: str, *, stack_name: str, retention_s: int) -> None:
        super().__init__(scope, id_)
        queue = SqsQueue(
            self,
            "timers",
            name=f"{stack_name}-timers",
            max_message_size=MAX_BATCH_BYTES,
            message_retention_seconds=retention_s,
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            sqs_managed_sse_enabled=True,
        )
        named(queue, "timers")
        self.url: str = queue.url
        self.arn: str = queue.arn
