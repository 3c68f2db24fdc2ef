"""The queue in which the timers of GRIP wait."""

from __future__ import annotations

from constructs import Construct

from slip_sockets.aws.queue import MAX_BATCH_BYTES

from .aws import SqsQueue
from .deferred_queue import VISIBILITY_TIMEOUT_S
from .naming import named

RETENTION_S = 60 * 60
"""Of a timer that waits for up to ten minutes, and then cannot be handled."""


class TimersQueue(Construct):
    """A standard queue, since that has a delay for each message. `url` and `arn` are Terraform references.

    It has no dead-letter queue: a timer that cannot be handled for an hour is of no use. Nor is it protected from
    deletion: another BACKEND_PROTOCOL has none.
    """

    def __init__(self, scope: Construct, id_: str, *, stack_name: str) -> None:
        super().__init__(scope, id_)
        queue = SqsQueue(
            self,
            "timers",
            name=f"{stack_name}-timers",
            max_message_size=MAX_BATCH_BYTES,
            message_retention_seconds=RETENTION_S,
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            sqs_managed_sse_enabled=True,
        )
        named(queue, "timers")
        self.url: str = queue.url
        self.arn: str = queue.arn
