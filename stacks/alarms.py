"""The alarms, and the topic that they notify. docs/operations.md has a heading for each alarm."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from constructs import Construct

from slip_sockets.gateway.worker import MAX_RETRY_PAUSE_S

from .aws import (
    CloudwatchMetricAlarm,
    CloudwatchMetricAlarmMetricQuery,
    CloudwatchMetricAlarmMetricQueryMetric,
    SnsTopic,
    SnsTopicPolicy,
    SnsTopicSubscription,
)
from .deferred_queue import DELIVER_TIMEOUT_S
from .metrics import Metric, Metrics
from .naming import named

QUEUE_AGE_S = 15 * 60
"""A large publish takes minutes at most. A retried message pauses longer each time: by then it has failed ten times."""
BETWEEN_ATTEMPTS_M = math.ceil((MAX_RETRY_PAUSE_S + DELIVER_TIMEOUT_S) / 60) + 3
"""A message that fails has an attempt in each such number of minutes: the longest pause, the attempt, and some to be
received."""
BACKEND_FAILURE_PERCENT = 10
PERIOD_S = 60
PAGE = "docs/operations.md"


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm goes off when `expression` is over `threshold` in `datapoints` of the last `of` minutes.

    `expression` names the metrics `m0`, `m1` and so on; without it there is a single metric. `when_missing` is
    CloudWatch's treatment of minutes without data. `first` is the command to run first.

    A series of CloudWatch begins with its first value. AWS does not say what FILL makes of one that has none, so an
    expression may use it only where a missing result means the same as a good one.
    """

    name: str
    meaning: str
    action: str
    first: str
    metrics: Sequence[Metric]
    datapoints: int
    of: int
    threshold: float = 0
    expression: str | None = None
    when_missing: str = "notBreaching"

    @property
    def description(self) -> str:
        return f"{self.meaning} {self.action} First: {self.first} More: {PAGE}#{self.name}"


def alarms(metrics: Metrics, region: str, inbound_retry_s: int | None) -> list[Alarm]:
    """Return a deployment's alarms in the order of the page. A minute without events has no data, and is a good one.

    `inbound_retry_s` is None where texts do not go through the inbound queue.
    """
    is_ordered = inbound_retry_s is not None
    texts = f"wait, and become dead letters after {inbound_retry_s} s" if is_ordered else "are lost"
    fails_clients = "connects fail." if is_ordered else "connects fail, text messages are lost."
    stack = metrics.stack_name
    at = f"--region {region}"

    def log_of(function: str) -> str:
        return (
            f"aws logs tail /aws/lambda/{stack}-{function} --since 30m --filter-pattern '?WARNING ?ERROR ?timeout' {at}"
        )

    mappings = f"aws lambda list-event-source-mappings --function-name {stack}-deliver {at}"

    def errors_of(function: str, effect: str, *, consequence: str = "") -> Alarm:
        return Alarm(
            name=f"{function}-errors",
            meaning=f"The {function} function crashes, runs out of time or does not start: {effect}",
            action=f"{consequence}The log has the reason. If it began with a deploy, roll back.",
            first=log_of(function),
            metrics=[metrics.function(function, "Errors")],
            datapoints=2,
            of=5,
        )

    def throttles_of(function: str, calls: str, effect: str) -> Alarm:
        return Alarm(
            name=f"{function}-throttles",
            meaning=f"Lambda rejects {calls}: {effect}",
            action="All functions of the account in this region share its concurrency: raise it, or find what uses it.",
            first=f"aws lambda get-account-settings {at}",
            metrics=[metrics.function(function, "Throttles")],
            datapoints=3,
            of=5,
        )

    of_texts = [] if inbound_retry_s is None else _of_inbound(metrics, inbound_retry_s, log_of("deliver"), mappings)
    return [
        Alarm(
            name="backend-failing",
            meaning=f"Your backend fails for over {BACKEND_FAILURE_PERCENT} % of the events: clients are refused, "
            f"their text messages {texts}.",
            action="Look at the backend first. The log says how it responded.",
            first=log_of("deliver" if is_ordered else "websocket"),  # what sends it most of the events
            metrics=[metrics.ours("BackendFailures"), metrics.ours("BackendLatency", "SampleCount")],
            expression="100 * FILL(m0, 0) / m1",
            threshold=BACKEND_FAILURE_PERCENT,
            datapoints=3,
            of=15,
        ),
        errors_of("websocket", fails_clients),
        errors_of("control", "publishers get errors."),
        errors_of(
            "deliver",
            "text messages for your backend and queued messages wait." if is_ordered else "queued messages wait.",
            consequence="After an hour they become dead letters. ",
        ),
        throttles_of("websocket", "connects" if is_ordered else "events of clients", fails_clients),
        throttles_of("control", "calls of the control API", "publishers get 503."),
        # The deliver function needs none: SQS delivers rejected messages again, and the queues' ages are watched.
        Alarm(
            name="sockets-failing",
            meaning="API Gateway cannot call the websocket function, or gets no response in time: clients get errors.",
            action="If websocket-errors or websocket-throttles is on too, begin there. Otherwise deploy again: the "
            "permission to call it may be missing.",
            first=f"aws lambda get-policy --function-name {stack}-websocket {at}",
            # Not IntegrationError, which counts clients that the backend refuses.
            metrics=[metrics.websocket("ExecutionError")],
            datapoints=3,
            of=5,
        ),
        Alarm(
            name="control-api-failing",
            meaning="The control API responds with 5xx: publishes are not accepted, or only partly done.",
            action="If control-errors or control-throttles is on too, begin there. Publishers should retry with the "
            "same message id.",
            first=log_of("control"),
            metrics=[metrics.control("5xx")],
            datapoints=3,
            of=5,
        ),
        Alarm(
            name="queue-age",
            meaning=f"No function has taken the next message of the queue for {QUEUE_AGE_S // 60} minutes: publishes "
            "are late.",
            action="If deliver-errors is on too, begin there. Otherwise functions are too few, or not called.",
            first=mappings,
            metrics=[metrics.queue("ApproximateAgeOfOldestMessage")],
            threshold=QUEUE_AGE_S,
            datapoints=5,
            of=5,
        ),
        Alarm(
            name="deferred-age",
            meaning=f"A message has been tried for {QUEUE_AGE_S // 60} minutes: a publish is late, a client accepts "
            "none, or your backend has not received a CLOSE.",
            action="If backend-failing is on too, begin there. The log says what fails, and when it is retried.",
            first=log_of("deliver"),
            metrics=[metrics.ours("DeferredAge", "Maximum")],
            threshold=QUEUE_AGE_S,
            datapoints=1,
            of=BETWEEN_ATTEMPTS_M,
        ),
        *of_texts,
        Alarm(
            name="dead-letters",
            meaning="The gateway has given up after 33 attempts, usually over six hours: text messages did not reach "
            "clients, or a CLOSE did not reach your backend."
            + (f" Or, after {inbound_retry_s} s, on text messages for your backend." if is_ordered else ""),
            action="List them, fix the cause, then send them again: the same command without --dry-run.",
            first=f"slip-sockets redrive --stack {stack} {at} --dry-run",
            metrics=[metrics.dead_letters()],
            datapoints=1,
            of=1,
            # SQS sends no metrics of a queue that was not used for six hours. Its messages are still there.
            when_missing="ignore",
        ),
        Alarm(
            name="table-throttles",
            meaning="DynamoDB rejects reads or writes of a table or of its index: events fail, or are late.",
            action="On-demand tables grow by themselves within minutes. If it goes on, one channel or connection is "
            "too busy, or the account's limit for a table is reached. The dashboard shows which table.",
            first=f"aws dynamodb describe-table --table-name {stack}-Connections {at}",
            # Not DynamoDB's own metrics, which have data only while something is throttled: CloudWatch ignores missing
            # data of that namespace, whatever an alarm says of them, so that it would stay on.
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
            metrics=[metrics.ours("TableThrottles")],
            datapoints=3,
            of=5,
        ),
    ]


def _of_inbound(metrics: Metrics, retry_s: int, log: str, mappings: str) -> list[Alarm]:
    """Return the alarms of the inbound queue. `log` and `mappings` are commands."""
    waits_s = retry_s + DELIVER_TIMEOUT_S
    return [
        Alarm(
            name="inbound-age",
            meaning=f"A tenth of the text messages reach your backend over {retry_s / 2:g} s after they were sent, or "
            "not at all.",
            action=f"After {retry_s} s of attempts they become dead letters. If backend-failing, deliver-errors or "
            "inbound-queue-age is on too, begin there. Otherwise your backend is slow, or fails for some clients.",
            first=log,
            # Not the maximum: a single connection with texts that the backend cannot take would set it off.
            metrics=[metrics.ours("InboundAge", "p90")],
            threshold=retry_s / 2,
            datapoints=3,
            of=5,
        ),
        Alarm(
            name="inbound-queue-age",
            meaning=f"A text message has been in the queue for over {waits_s} s: no function takes it, or its client's "
            "earlier ones fail.",
            action="If backend-failing or deliver-errors is on too, begin there. Otherwise functions are too few, or "
            "not called.",
            first=mappings,
            metrics=[metrics.inbound_queue("ApproximateAgeOfOldestMessage", "the oldest in the queue")],
            # An older one is not there because of its own attempts, which end before.
            threshold=waits_s,
            datapoints=3,
            of=5,
        ),
    ]


class Alarms(Construct):
    """All alarms of a deployment. `arns` are Terraform references."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        metrics: Metrics,
        email: str | None,
        region: str,
        inbound_retry_s: int | None,
    ) -> None:
        super().__init__(scope, id_)
        stack_name = metrics.stack_name
        # Not encrypted with a KMS key: alarms may not use AWS's own key for SNS, and its policy cannot be changed, so
        # that they would be silent. A key of our own costs 1 USD a month, and the texts hold nothing secret.
        # https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
        topic = named(SnsTopic(self, "topic", name=f"{stack_name}-alarms"), "alarms")
        if email is not None:
            subscription = SnsTopicSubscription(self, "mail", topic_arn=topic.arn, protocol="email", endpoint=email)
            named(subscription, "alarm_mail")
        made = alarms(metrics, region, inbound_retry_s)
        self.arns = [self._alarm(alarm, stack_name, topic.arn).arn for alarm in made]
        policy = SnsTopicPolicy(self, "policy", arn=topic.arn, policy=_only_from(self.arns, topic.arn))
        named(policy, "alarms")

    def _alarm(self, alarm: Alarm, stack_name: str, topic_arn: str) -> CloudwatchMetricAlarm:
        made = CloudwatchMetricAlarm(
            self,
            alarm.name,
            alarm_name=f"{stack_name}-{alarm.name}",
            alarm_description=alarm.description,
            comparison_operator="GreaterThanThreshold",
            threshold=alarm.threshold,
            evaluation_periods=alarm.of,
            datapoints_to_alarm=alarm.datapoints,
            treat_missing_data=alarm.when_missing,
            metric_query=_queries(alarm),
            alarm_actions=[topic_arn],
            ok_actions=[topic_arn],
        )
        return named(made, alarm.name.replace("-", "_"))


def _only_from(alarm_arns: Sequence[str], topic_arn: str) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(alarm_arns)}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _queries(alarm: Alarm) -> list[CloudwatchMetricAlarmMetricQuery]:
    is_metric = alarm.expression is None
    queries = [
        CloudwatchMetricAlarmMetricQuery(id=f"m{index}", metric=_metric(metric), return_data=is_metric)
        for index, metric in enumerate(alarm.metrics)
    ]
    if not is_metric:
        watched = CloudwatchMetricAlarmMetricQuery(
            id="watched", expression=alarm.expression, label=alarm.name, return_data=True
        )
        queries.append(watched)
    return queries


def _metric(metric: Metric) -> CloudwatchMetricAlarmMetricQueryMetric:
    return CloudwatchMetricAlarmMetricQueryMetric(
        namespace=metric.namespace,
        metric_name=metric.name,
        dimensions=dict(metric.dimensions),
        stat=metric.statistic,
        period=PERIOD_S,
    )
