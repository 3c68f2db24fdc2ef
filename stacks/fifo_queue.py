"""A FIFO queue, with the properties that all queues of a deployment share."""

from __future__ import annotations

from cdktf import Fn, TerraformResourceLifecycle
from constructs import Construct

from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_RECEIVE_COUNT

from .aws import SqsQueue
from .naming import named


def fifo_queue(
    scope: Construct,
    id_: str,
    *,
    name: str,
    deletion_protection: bool,
    message_retention_seconds: int | None = None,
    visibility_timeout_seconds: int | None = None,
    dead_letters_arn: str | None = None,
) -> SqsQueue:
    """Return a FIFO queue in high-throughput mode, with message groups.

    With `dead_letters_arn`, a message that was received MAX_RECEIVE_COUNT times goes to that queue.
    """
    redrive = {"deadLetterTargetArn": dead_letters_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
    queue = SqsQueue(
        scope,
        id_,
        name=name,
        fifo_queue=True,
        deduplication_scope="messageGroup",
        fifo_throughput_limit="perMessageGroupId",
        max_message_size=MAX_BATCH_BYTES,
        message_retention_seconds=message_retention_seconds,
        visibility_timeout_seconds=visibility_timeout_seconds,
        redrive_policy=Fn.jsonencode(redrive) if dead_letters_arn is not None else None,
        sqs_managed_sse_enabled=True,
        # SQS has no protection of its own, so Terraform refuses: before it deletes anything, since it plans first.
        lifecycle=TerraformResourceLifecycle(prevent_destroy=deletion_protection),
    )
    return named(queue, id_)
