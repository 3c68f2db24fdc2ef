"""What has to wait, and what could not be done at all."""

from __future__ import annotations

from cdktf import Fn
from constructs import Construct

from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_RECEIVE_COUNT

from .aws import SqsQueue
from .naming import named

DELIVER_TIMEOUT_S = 60
"""One message's: telling the backend takes 25 s at most, and what it answers may be many events."""
VISIBILITY_TIMEOUT_S = 2 * DELIVER_TIMEOUT_S
"""How long a message rests whose worker crashed, and with it all of its connection. AWS wants at least the function's
timeout, and advises six times as much for batches, against messages that come back while Lambda itself still tries; a
batch here is one message."""
DEAD_LETTER_RETENTION_S = 14 * 24 * 60 * 60
"""The longest that SQS keeps one."""


class DeferredQueue(Construct):
    """A FIFO queue in high-throughput mode, a group for each connection, and its dead-letter queue.

    `url`, `arn`, `name` and `dead_letters_name` are Terraform references.
    """

    def __init__(self, scope: Construct, id_: str, *, stack_name: str) -> None:
        super().__init__(scope, id_)
        dead_letters = self._fifo_queue(
            "dead_letters",
            name=f"{stack_name}-dead-letters.fifo",
            message_retention_seconds=DEAD_LETTER_RETENTION_S,
        )
        redrive = {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
        queue = self._fifo_queue(
            "deferred",
            name=f"{stack_name}-deferred.fifo",
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            redrive_policy=Fn.jsonencode(redrive),
        )
        self.url: str = queue.url
        self.arn: str = queue.arn
        self.name: str = queue.name
        self.dead_letters_name: str = dead_letters.name

    def _fifo_queue(
        self,
        id_: str,
        *,
        name: str,
        message_retention_seconds: int | None = None,
        visibility_timeout_seconds: int | None = None,
        redrive_policy: str | None = None,
    ) -> SqsQueue:
        queue = SqsQueue(
            self,
            id_,
            name=name,
            fifo_queue=True,
            deduplication_scope="messageGroup",
            fifo_throughput_limit="perMessageGroupId",
            max_message_size=MAX_BATCH_BYTES,
            message_retention_seconds=message_retention_seconds,
            visibility_timeout_seconds=visibility_timeout_seconds,
            redrive_policy=redrive_policy,
            sqs_managed_sse_enabled=True,
        )
        return named(queue, id_)
