"""The queue of deferred messages, and its dead-letter queue."""

from __future__ import annotations

from cdktf import Fn, TerraformResourceLifecycle
from constructs import Construct

from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_RECEIVE_COUNT

from .aws import SqsQueue
from .naming import named

DELIVER_TIMEOUT_S = 60
"""For one message: a call of the backend takes 25 s at most, and its reply may hold many events."""
VISIBILITY_TIMEOUT_S = 2 * DELIVER_TIMEOUT_S
"""After this time SQS delivers a message again if its worker crashed; until then its group waits.

AWS requires at least the function's timeout. It advises six times that for batches, so that no message comes back while
Lambda itself still retries the batch; a batch here is one message."""
DEAD_LETTER_RETENTION_S = 14 * 24 * 60 * 60
"""The longest that SQS allows."""


class DeferredQueue(Construct):
    """A FIFO queue in high-throughput mode, with message groups, and its dead-letter queue.

    `url`, `arn`, `name` and `dead_letters_name` are Terraform references.
    """

    def __init__(self, scope: Construct, id_: str, *, stack_name: str, deletion_protection: bool) -> None:
        super().__init__(scope, id_)
        # SQS has no protection of its own, so Terraform refuses: before it deletes anything, since it plans first.
        self._lifecycle = TerraformResourceLifecycle(prevent_destroy=deletion_protection)
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
            lifecycle=self._lifecycle,
        )
        return named(queue, id_)
