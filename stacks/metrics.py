"""The metrics of a deployment, AWS's and ours, for the alarms and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slip_sockets.aws.connections import INDEX_NAME
from slip_sockets.aws.metrics import EVENT_TYPES, NAMESPACE

FROM_BACKEND = tuple(event_type for event_type in EVENT_TYPES if event_type != "CONTROL")
"""The types of events that call the backend; DEFERRED has the calls made later, from the queue."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of CloudWatch. `statistic` is `Sum`, `Maximum`, `p99` and the like; `label` is for people."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    statistic: str
    label: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Returns a deployment's metrics. Names are Terraform references or texts; `functions` are by their short names.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-logging.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
    """

    stack_name: str
    websocket_api_id: str
    websocket_stage: str
    control_api_id: str
    functions: Mapping[str, str]
    connections_table: str
    channels_table: str
    queue_name: str
    dead_letters_name: str
    inbound_name: str

    def websocket(self, name: str, statistic: str = "Sum", label: str | None = None) -> Metric:
        dimensions = {"ApiId": self.websocket_api_id, "Stage": self.websocket_stage}
        return Metric("AWS/ApiGateway", name, dimensions, statistic, label or name)

    def control(self, name: str, statistic: str = "Sum", label: str | None = None) -> Metric:
        return Metric("AWS/ApiGateway", name, {"ApiId": self.control_api_id}, statistic, label or name)

    def function(self, function: str, name: str, statistic: str = "Sum") -> Metric:
        dimensions = {"FunctionName": self.functions[function]}
        return Metric("AWS/Lambda", name, dimensions, statistic, function)

    def each_function(self, name: str, statistic: str = "Sum") -> list[Metric]:
        return [self.function(function, name, statistic) for function in self.functions]

    def queue(self, name: str, statistic: str = "Maximum", label: str | None = None) -> Metric:
        return Metric("AWS/SQS", name, {"QueueName": self.queue_name}, statistic, label or name)

    def inbound_queue(self, name: str, label: str) -> Metric:
        return Metric("AWS/SQS", name, {"QueueName": self.inbound_name}, "Maximum", label)

    def dead_letters(self) -> Metric:
        dimensions = {"QueueName": self.dead_letters_name}
        return Metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", dimensions, "Maximum", "dead letters")

    def each_table(self, name: str) -> list[Metric]:
        """Return the metric of both tables and of the index, which DynamoDB counts apart."""
        index = {"TableName": self.connections_table, "GlobalSecondaryIndexName": INDEX_NAME}
        return [
            self._table(name, {"TableName": self.connections_table}, "Connections"),
            self._table(name, index, "index of Connections"),
            self._table(name, {"TableName": self.channels_table}, "Channels"),
        ]

    def _table(self, name: str, dimensions: Mapping[str, str], label: str) -> Metric:
        return Metric("AWS/DynamoDB", name, dimensions, "Sum", f"{name}, {label}")

    def ours(self, name: str, statistic: str = "Sum", label: str | None = None) -> Metric:
        return Metric(NAMESPACE, name, {"stack": self.stack_name}, statistic, label or name)

    def ours_by_type(
        self, name: str, event_types: Sequence[str], statistic: str = "Sum", label: str | None = None
    ) -> list[Metric]:
        return [
            Metric(NAMESPACE, name, {"stack": self.stack_name, "eventType": event_type}, statistic, label or event_type)
            for event_type in event_types
        ]
