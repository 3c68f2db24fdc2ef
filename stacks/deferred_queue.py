"""The queue of deferred messages, and the dead-letter queue."""

from __future__ import annotations

from constructs import Construct

from .fifo_queue import fifo_queue

DELIVER_TIMEOUT_S = 60
"""For one message: a call of the backend takes 25 s at most, and its reply may hold many events."""
VISIBILITY_TIMEOUT_S = 2 * DELIVER_TIMEOUT_S
"""After this time SQS delivers a message again if its worker crashed; until then its group waits.

AWS requires at least the function's timeout. It advises six times that for batches, so that no message comes back while
Lambda itself still retries the batch; a batch here is one message."""
DEAD_LETTER_RETENTION_S = 14 * 24 * 60 * 60
"""The longest that SQS allows."""


class DeferredQueue(Construct):
    """The queue of deferred messages, and the dead-letter queue, which the inbound queue has too.

    `url`, `arn`, `name` and those of the dead-letter queue are Terraform references.
    """

    def __init__(self, scope: Construct, id_: str, *, stack_name: str, deletion_protection: bool) -> None:
        super().__init__(scope, id_)
        dead_letters = fifo_queue(
            self,
            "dead_letters",
            name=f"{stack_name}-dead-letters.fifo",
            deletion_protection=deletion_protection,
            message_retention_seconds=DEAD_LETTER_RETENTION_S,
        )
        queue = fifo_queue(
            self,
            "deferred",
            name=f"{stack_name}-deferred.fifo",
            deletion_protection=deletion_protection,
            visibility_timeout_seconds=VISIBILITY_TIMEOUT_S,
            dead_letters_arn=dead_letters.arn,
        )
        self.url: str = queue.url
        self.arn: str = queue.arn
        self.name: str = queue.name
        self.dead_letters_url: str = dead_letters.url
        self.dead_letters_arn: str = dead_letters.arn
        self.dead_letters_name: str = dead_letters.name
