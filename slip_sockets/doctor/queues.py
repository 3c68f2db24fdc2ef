"""The deferred work: how much waits, since when, and what was given up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from ..aws.metrics import NAMESPACE
from .account import Account, NotThere, side_by_side
from .findings import Finding, counted, fine, wrong
from .functions import OTHER_DEPLOYMENT
from .settings import DoctorSettings

LATE_S = 15 * 60
"""The threshold of the alarm queue-age."""
MINUTES = 15

_COUNTS = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


async def check_queues(settings: DoctorSettings, account: Account) -> list[Finding]:
    """Raises CannotCheck."""
    deferred, dead = f"{settings.stack}-deferred.fifo", f"{settings.stack}-dead-letters.fifo"
    waiting, letters, ages = await side_by_side(
        _count(account, deferred), _count(account, dead), _ages(account, settings, deferred)
    )
    return [judge_deferred(deferred, waiting, max(ages, default=0.0)), judge_dead_letters(settings, letters)]


async def _count(account: Account, name: str) -> int | None:
    """Return approximately how many messages a queue has, None if there is no such queue."""
    try:
        url = (await account.call("sqs", "get_queue_url", QueueName=name))["QueueUrl"]
        response = await account.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=_COUNTS)
    except NotThere:
        return None
    return sum(map(int, response["Attributes"].values()))


async def _ages(account: Account, settings: DoctorSettings, queue: str) -> list[float]:
    """Return the ages in seconds of the last minutes: SQS's, and that of messages which deliver has received."""
    now = dt.datetime.fromtimestamp(settings.now(), dt.UTC)
    response = await account.call(
        "cloudwatch",
        "get_metric_data",
        StartTime=now - dt.timedelta(minutes=MINUTES),
        EndTime=now,
        MetricDataQueries=[
            _query("queue", "AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": queue}),
            _query("deferred", NAMESPACE, "DeferredAge", {"stack": settings.stack}),
        ],
    )
    return [value for result in response["MetricDataResults"] for value in result["Values"][:1]]


def _query(id_: str, namespace: str, name: str, dimensions: dict[str, str]) -> dict[str, Any]:
    named: Sequence[dict[str, str]] = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": named}
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Maximum"}}


def judge_deferred(queue: str, waiting: int | None, age_s: float) -> Finding:
    """`waiting` is None where the queue does not exist; `age_s` is that of the oldest message by the last metrics."""
    if waiting is None:
        return wrong("deferred", f"there is no queue {queue}", OTHER_DEPLOYMENT)
    if waiting and age_s > LATE_S:
        finding = f"{queue} has {counted(waiting, 'message')}, the oldest for {age_s / 60:.0f} minutes"
        return wrong("deferred", finding, "See `errors` and `backend`; docs/operations.md#queue-age has the reasons")
    return fine("deferred", f"{queue} has {counted(waiting, 'message')}, none for long")


def judge_dead_letters(settings: DoctorSettings, letters: int | None) -> Finding:
    queue = f"{settings.stack}-dead-letters.fifo"
    if letters is None:
        return wrong("dead-letters", f"there is no queue {queue}", OTHER_DEPLOYMENT)
    if not letters:
        return fine("dead-letters", f"{queue} is empty")
    fix = f"Fix the cause, then: slip-sockets redrive --stack {settings.stack}; with --dry-run it lists them"
    return wrong("dead-letters", f"{queue} has about {counted(letters, 'dead letter')}", fix)
