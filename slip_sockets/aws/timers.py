"""The queue of timers: a standard queue of SQS, in which each message waits until its time.

A FIFO queue has one delay for all messages; and there a timer that is put off counts among the 120,000 messages in
flight. In a standard queue a message that is delayed counts among none.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-timers.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..gateway.deferred import Deferred, Timer
from ..gateway.deferred_presence import Sweep
from .errors import calling
from .queue import MAX_BATCH_MESSAGES, SqsQueue, encode
from .table import slices

if TYPE_CHECKING:
    from types_aiobotocore_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_DELAY_S = 900
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""


class SqsTimers(SqsQueue):
    """The port Queue, for timers and sweeps. One may come twice: then another queue drops what the second puts there.

    A message that is due in more than MAX_DELAY_S comes before its time, and is put again by its handler.
    """

    async def put(self, messages: Sequence[Deferred]) -> None:
        now = self._clock.now()
        for some in slices(messages, MAX_BATCH_MESSAGES):
            entries: list[SendMessageBatchRequestEntryTypeDef] = [
                {"Id": str(index), "MessageBody": encode(message), "DelaySeconds": _delay_s(message, now)}
                for index, message in enumerate(some)
            ]
            with calling("SQS"):
                await self._send(entries)


def _delay_s(message: Deferred, now: float) -> int:
    left_s = message.due_at - now if isinstance(message, Timer | Sweep) else 0
    return min(max(0, math.ceil(left_s)), MAX_DELAY_S)
