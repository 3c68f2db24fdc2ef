from __future__ import annotations

import pytest

from slip_sockets.aws.metrics import BY_EVENT_TYPE, BY_STACK, EVENT_TYPES, NAMESPACE

from ..docs.markdown import Page
from .synthesis import FUNCTIONS, PRODUCTION, STAGING, Stack, Synthesis
from .watched import alarms, dashboard, of_alarms, of_dashboard

MAX_METRICS = 50
"""An account's first three dashboards of up to 50 metrics are free. https://aws.amazon.com/cloudwatch/pricing/"""

API = {"ApiId"}
STAGE = {"ApiId", "Stage"}
FUNCTION = {"FunctionName"}
QUEUE = {"QueueName"}
TABLE = ({"TableName"}, {"TableName", "GlobalSecondaryIndexName"})
OF_AWS: dict[tuple[str, str], tuple[set[str], ...]] = {
    ("AWS/ApiGateway", "ConnectCount"): (STAGE,),
    ("AWS/ApiGateway", "MessageCount"): (STAGE,),
    ("AWS/ApiGateway", "ClientError"): (STAGE,),
    ("AWS/ApiGateway", "IntegrationError"): (STAGE,),
    ("AWS/ApiGateway", "ExecutionError"): (STAGE,),
    ("AWS/ApiGateway", "IntegrationLatency"): (STAGE, API),
    ("AWS/ApiGateway", "Count"): (API,),
    ("AWS/ApiGateway", "4xx"): (API,),
    ("AWS/ApiGateway", "5xx"): (API,),
    ("AWS/Lambda", "Errors"): (FUNCTION,),
    ("AWS/Lambda", "Throttles"): (FUNCTION,),
    ("AWS/Lambda", "ConcurrentExecutions"): (FUNCTION,),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage"): (QUEUE,),
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): (QUEUE,),
    ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible"): (QUEUE,),
    ("AWS/SQS", "NumberOfMessagesReceived"): (QUEUE,),
    ("AWS/DynamoDB", "ReadThrottleEvents"): TABLE,
    ("AWS/DynamoDB", "WriteThrottleEvents"): TABLE,
}
"""AWS's metrics that alarms and dashboard use, with the dimensions under which AWS has them: with a misspelt one a
graph, or an alarm, would be empty for ever.
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-logging.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html"""

VALUES = {
    "ApiId": {"${aws_apigatewayv2_api.websocket.id}", "${aws_apigatewayv2_api.control.id}"},
    "Stage": {"${aws_apigatewayv2_stage.live.name}"},
    "FunctionName": {f"${{aws_lambda_function.{name}.function_name}}" for name in FUNCTIONS},
    "QueueName": {f"${{aws_sqs_queue.{name}.name}}" for name in ("deferred", "dead_letters", "inbound")},
    "TableName": {"${aws_dynamodb_table.Connections.name}", "${aws_dynamodb_table.Channels.name}"},
    "GlobalSecondaryIndexName": {"channel-index"},
}


@pytest.fixture(params=[STAGING, PRODUCTION, "in order"])
def stack(defaults: Synthesis, ordered: Synthesis, request: pytest.FixtureRequest) -> Stack:
    """The stack of each stage, and production's with texts in order."""
    return ordered.stack(PRODUCTION) if request.param == "in order" else defaults.stack(request.param)


def test_aws_has_its_metrics_under_these_dimensions(stack: Stack) -> None:
    used = [each for each in (*of_alarms(stack), *of_dashboard(stack)) if each.namespace != NAMESPACE]
    assert {(each.namespace, each.name) for each in used} == OF_AWS.keys()
    for each in used:
        assert set(each.dimensions) in OF_AWS[each.namespace, each.name], each
        assert all(value in VALUES[name] for name, value in each.dimensions.items()), each


def test_the_websocket_apis_metrics_and_the_http_apis_are_not_mixed(stack: Stack) -> None:
    for each in (*of_alarms(stack), *of_dashboard(stack)):
        if "ApiId" in each.dimensions:
            api = "websocket" if "Stage" in each.dimensions else "control"
            assert each.dimensions["ApiId"] == f"${{aws_apigatewayv2_api.{api}.id}}", each


def test_every_metric_of_ours_is_one_that_the_functions_send(stack: Stack) -> None:
    """With the dimensions with which they send it."""
    for each in (*of_alarms(stack), *of_dashboard(stack)):
        if each.namespace == NAMESPACE:
            expected = {"stack": stack.folder.name}
            if each.name in BY_EVENT_TYPE and "eventType" in each.dimensions:
                assert each.dimensions["eventType"] in EVENT_TYPES
                expected["eventType"] = each.dimensions["eventType"]
            else:
                assert each.name in (*BY_EVENT_TYPE, *BY_STACK)
            assert each.dimensions == expected, each
            assert all(stack.environment(name)["STACK_NAME"] == expected["stack"] for name in FUNCTIONS)


def test_every_metric_that_the_functions_send_is_shown(defaults: Synthesis, ordered: Synthesis) -> None:
    shown = [
        {each.name for each in of_dashboard(synthesis.stack(PRODUCTION)) if each.namespace == NAMESPACE}
        for synthesis in (defaults, ordered)
    ]
    every = {*BY_EVENT_TYPE, *BY_STACK}
    assert shown == [every - {"InboundAge"}, every]


def test_in_order_the_events_of_a_post_are_shown(ordered: Synthesis) -> None:
    """Each attempt at an event has an age, and each POST of texts a latency."""
    widgets = dashboard(ordered.stack(PRODUCTION))["widgets"]
    graphs = {widget["properties"].get("title"): widget["properties"] for widget in widgets}
    events, posts, [ratio] = graphs["Texts in order: events of a POST"]["metrics"]
    assert events[:4] == [NAMESPACE, "InboundAge", "stack", PRODUCTION]
    assert posts[:6] == [NAMESPACE, "BackendLatency", "stack", PRODUCTION, "eventType", "TEXT"]
    assert [(each[-1]["id"], each[-1]["stat"]) for each in (events, posts)] == [
        ("m0", "SampleCount"),
        ("m1", "SampleCount"),
    ]
    assert (ratio["expression"], ratio["yAxis"]) == ("m0 / m1", "right")


def test_every_metric_of_an_alarm_is_shown(stack: Stack) -> None:
    shown = {each.metric for each in of_dashboard(stack)}
    assert [each for each in of_alarms(stack) if each.metric not in shown] == []


def test_throttles_of_both_tables_and_of_the_index_are_shown(stack: Stack) -> None:
    shown = [
        (each.name, *each.dimensions.values())
        for each in of_dashboard(stack)
        if each.where == "Tables: throttles" and each.namespace != NAMESPACE
    ]
    connections, channels = (f"${{aws_dynamodb_table.{name}.name}}" for name in ("Connections", "Channels"))
    places = [(connections,), (connections, "channel-index"), (channels,)]
    assert shown == [(name, *place) for name in ("ReadThrottleEvents", "WriteThrottleEvents") for place in places]


def test_all_alarms_are_on_it(stack: Stack) -> None:
    (arns,) = (widget["properties"]["alarms"] for widget in dashboard(stack)["widgets"] if widget["type"] == "alarm")
    made = stack.config["resource"]["aws_cloudwatch_metric_alarm"]
    assert len(arns) == len(alarms(stack))
    assert sorted(arns) == sorted(f"${{aws_cloudwatch_metric_alarm.{address}.arn}}" for address in made)


def test_it_is_one_of_the_free_ones(stack: Stack) -> None:
    number = len(list(of_dashboard(stack)))
    assert number <= MAX_METRICS
    assert f"| {number} metrics in it;" in Page("docs/operations.md").path.read_text()


def test_its_name_is_the_stacks(stack: Stack) -> None:
    assert stack.resource("cloudwatch_dashboard", "dashboard")["dashboard_name"] == stack.folder.name


def test_no_widget_covers_another(stack: Stack) -> None:
    cells = [
        (widget["x"] + column, widget["y"] + row)
        for widget in dashboard(stack)["widgets"]
        for column in range(widget["width"])
        for row in range(widget["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) == 23  # CloudWatch has 24 columns
