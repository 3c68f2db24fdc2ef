"""The queues: how much waits in them, since when, and what was given up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from ..aws.metrics import NAMESPACE
from ..gateway.worker import MAX_INBOUND_RETRY_S
from .account import Account, NotThere, side_by_side
from .findings import Finding, counted, fine, wrong
from .functions import OTHER_DEPLOYMENT
from .settings import DoctorSettings

LATE_S = 15 * 60
"""The threshold of the alarm queue-age."""
INBOUND_LATE_S = MAX_INBOUND_RETRY_S + 60
"""The largest threshold that the alarm inbound-queue-age may have."""
MINUTES = 15

_COUNTS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


async def check_queues(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    deferred, inbound, dead = (f"{settings.stack}-{name}.fifo" for name in ("deferred", "inbound", "dead-letters"))
    waiting, ages, texts, ages_of_texts, letters = await side_by_side(
        _count(account, deferred),
        _ages(account, settings, deferred, "DeferredAge"),
        _count(account, inbound),
        _ages(account, settings, inbound, "InboundAge"),
        _count(account, dead),
    )
    return [
        judge_queue("deferred", deferred, waiting, ages, LATE_S, "queue-age"),
        judge_queue("inbound", inbound, texts, ages_of_texts, INBOUND_LATE_S, "inbound-queue-age"),
        judge_dead_letters(settings, letters),
    ]


async def _count(account: Account, name: str) -> int | None:
    """Return approximately how many messages a queue has, None if there is no such queue."""
    try:
        url = (await account.call("sqs", "get_queue_url", QueueName=name))["QueueUrl"]
        response = await account.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=_COUNTS)
    except NotThere:
        return None
    return sum(map(int, response["Attributes"].values()))


async def _ages(account: Account, settings: DoctorSettings, queue: str, received: str) -> list[float]:
    """Return the ages in seconds of the last minutes: SQS's, and by the metric `received` of what deliver received."""
    now = dt.datetime.fromtimestamp(settings.now(), dt.UTC)
    response = await account.call(
        "cloudwatch",
        "get_metric_data",
        StartTime=now - dt.timedelta(minutes=MINUTES),
        EndTime=now,
        MetricDataQueries=[
            _query("queue", "AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}),
            _query("received", NAMESPACE, received, {"stack": settings.stack}),
        ],
    )
    return [value for result in response["MetricDataResults"] for value in result["Values"][:1]]


def _query(id_: str, namespace: str, name: str, dimensions: dict[str, str]) -> dict[str, Any]:
    named: Sequence[dict[str, str]] = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": named}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}


def judge_queue(
    check: str, queue: str, waiting: int | None, ages_s: Sequence[float], late_s: float, alarm: str
) -> Finding:
    """`waiting` is None where the queue does not exist; `ages_s` are of its oldest messages, by the last metrics."""
    if waiting is None:
        return wrong(check, f"there is no queue {queue}", OTHER_DEPLOYMENT)
    age_s = max(ages_s, default=0.0)
    if waiting and age_s > late_s:
        finding = f"{queue} has {counted(waiting, 'message')}, the oldest for {age_s / 60:.0f} minutes"
        return wrong(check, finding, f"See `errors` and `backend`; docs/operations.md#{alarm} has the reasons")
    return fine(check, f"{queue} has {counted(waiting, 'message')}, none for long")


def judge_dead_letters(settings: DoctorSettings, letters: int | None) -> Finding:
    queue = f"{settings.stack}-dead-letters.fifo"
    if letters is None:
        return wrong("dead-letters", f"there is no queue {queue}", OTHER_DEPLOYMENT)
    if not letters:
        return fine("dead-letters", f"{queue} is empty")
    fix = f"Fix the cause, then: slip-sockets redrive --stack {settings.stack}; with --dry-run it lists them"
    return wrong("dead-letters", f"{queue} has about {counted(letters, 'dead letter')}", fix)
