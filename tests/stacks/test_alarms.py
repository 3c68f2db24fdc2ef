from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from ..docs.markdown import Page
from .cloudwatch import states
from .synthesis import PRODUCTION, STAGING, Stack, Synthesis
from .watched import alarms, of_alarms

NAMES = [
    "backend-failing",
    "websocket-errors",
    "control-errors",
    "deliver-errors",
    "websocket-throttles",
    "control-throttles",
    "sockets-failing",
    "control-api-failing",
    "queue-age",
    "deferred-age",
    "inbound-age",
    "inbound-queue-age",
    "dead-letters",
    "table-throttles",
]
OF_ORDERED = {"inbound-age", "inbound-queue-age"}
CASES = [("direct", name) for name in NAMES if name not in OF_ORDERED] + [("ordered", name) for name in NAMES]
TOPIC = "${aws_sns_topic.alarms.arn}"
MAX_DESCRIPTION = 1024
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""


@pytest.fixture(params=[STAGING, PRODUCTION, "in order"])
def stack(defaults: Synthesis, ordered: Synthesis, request: pytest.FixtureRequest) -> Stack:
    """The stack of each stage, and production's with texts in order."""
    return ordered.stack(PRODUCTION) if request.param == "in order" else defaults.stack(request.param)


@pytest.fixture(params=CASES, ids="-".join)
def case(defaults: Synthesis, ordered: Synthesis, request: pytest.FixtureRequest) -> tuple[str, Any]:
    """An alarm's name and arguments."""
    mode, name = request.param
    return name, alarms({"direct": defaults, "ordered": ordered}[mode].stack(PRODUCTION))[name]


def test_each_has_a_heading_in_operations_and_each_heading_an_alarm(defaults: Synthesis, ordered: Synthesis) -> None:
    for name in (STAGING, PRODUCTION):
        assert set(alarms(defaults.stack(name))) == set(NAMES) - OF_ORDERED
        assert set(alarms(ordered.stack(name))) == set(NAMES)
    assert Page("docs/operations.md").headings_under("Alarms") == NAMES


def test_its_text_has_meaning_action_first_command_and_page(case: tuple[str, Any]) -> None:
    name, alarm = case
    description = alarm["alarm_description"]
    meaning_and_action, command, more = re.split(r" First: | More: ", description)
    assert len(re.findall(r"[.:] [A-Z]", meaning_and_action)) >= 1
    assert re.match(r"(aws|slip-sockets) ", command)
    assert more == f"docs/operations.md#{name}"
    assert len(description) < MAX_DESCRIPTION
    assert "${" not in description


def test_its_command_is_in_its_section_of_operations(case: tuple[str, Any]) -> None:
    name, alarm = case
    command = re.split(r" First: | More: ", alarm["alarm_description"])[1]
    blocks = [block for block in Page("docs/operations.md").blocks if block.heading == name]
    assert command in [line.partition("  ")[0] for block in blocks for line in block.text.splitlines()]


def test_the_log_groups_and_functions_in_their_commands_are_the_stacks_own(stack: Stack) -> None:
    functions = stack.config["resource"]["aws_lambda_function"].values()
    groups = {group["name"] for group in stack.config["resource"]["aws_cloudwatch_log_group"].values()}
    text = "\n".join(alarm["alarm_description"] for alarm in alarms(stack).values())
    assert {*re.findall(r"logs tail (\S+)", text)} <= groups
    assert {*re.findall(r"--function-name (\S+)", text)} <= {function["function_name"] for function in functions}
    assert {*re.findall(r"--table-name (\S+)", text)} == {stack.resource("dynamodb_table", "Connections")["name"]}
    assert {*re.findall(r"--stack (\S+)", text)} == {stack.folder.name}


def test_their_commands_name_the_region(all_options: Synthesis, stack: Stack) -> None:
    for each in (stack, all_options.stack(PRODUCTION)):
        region = each.config["provider"]["aws"][0]["region"]
        for alarm in alarms(each).values():
            assert f" --region {region}" in re.split(r" First: | More: ", alarm["alarm_description"])[1]


def test_it_notifies_the_topic_when_it_goes_off_and_when_it_is_over(case: tuple[str, Any]) -> None:
    _, alarm = case
    assert (alarm["alarm_actions"], alarm["ok_actions"]) == ([TOPIC], [TOPIC])
    assert "insufficient_data_actions" not in alarm


def test_a_quiet_stage_is_a_good_one(stack: Stack) -> None:
    """Minutes without events have no data. Dead letters stay in their queue while SQS sends no metrics of it."""
    missing = {name: alarm["treat_missing_data"] for name, alarm in alarms(stack).items()}
    assert missing == dict.fromkeys(missing, "notBreaching") | {"dead-letters": "ignore"}


@pytest.mark.parametrize(
    ("name", "threshold", "datapoints", "of"),
    [
        ("backend-failing", 10, 3, 15),
        ("websocket-errors", 0, 2, 5),
        ("websocket-throttles", 0, 3, 5),
        ("queue-age", 900, 5, 5),
        ("deferred-age", 900, 1, 19),
        ("inbound-age", 30, 3, 5),
        ("inbound-queue-age", 120, 3, 5),
        ("dead-letters", 0, 1, 1),
        ("table-throttles", 0, 3, 5),
    ],
)
def test_when_it_goes_off(ordered: Synthesis, name: str, threshold: float, datapoints: int, of: int) -> None:
    alarm = alarms(ordered.stack(PRODUCTION))[name]
    assert alarm["comparison_operator"] == "GreaterThanThreshold"
    assert (alarm["threshold"], alarm["datapoints_to_alarm"], alarm["evaluation_periods"]) == (
        threshold,
        datapoints,
        of,
    )


def test_texts_are_late_by_how_long_they_are_tried(synth: Callable[..., Synthesis]) -> None:
    """Half of that time; in the queue, more than all attempts at a text take."""
    made = alarms(synth(INBOUND="ordered", INBOUND_RETRY_S="15").stack(PRODUCTION))
    assert {name: made[name]["threshold"] for name in sorted(OF_ORDERED)} == {
        "inbound-age": 7.5,
        "inbound-queue-age": 75,
    }
    assert " over 7.5 s " in made["inbound-age"]["alarm_description"]
    assert " over 75 s" in made["inbound-queue-age"]["alarm_description"]


def test_in_order_no_alarm_says_that_texts_are_lost(defaults: Synthesis, ordered: Synthesis) -> None:
    lost = [
        {name for name, alarm in alarms(synthesis.stack(PRODUCTION)).items() if "lost" in alarm["alarm_description"]}
        for synthesis in (defaults, ordered)
    ]
    assert lost == [{"backend-failing", "websocket-errors", "websocket-throttles"}, set()]


TROUBLE: dict[str, dict[str, float]] = {
    "backend-failing": {"BackendFailures": 1, "BackendLatency": 2},
    "websocket-errors": {"Errors": 1},
    "control-errors": {"Errors": 1},
    "deliver-errors": {"Errors": 1},
    "websocket-throttles": {"Throttles": 1},
    "control-throttles": {"Throttles": 1},
    "sockets-failing": {"ExecutionError": 1},
    "control-api-failing": {"5xx": 1},
    "queue-age": {"ApproximateAgeOfOldestMessage": 901},
    "deferred-age": {"DeferredAge": 901},
    "inbound-age": {"InboundAge": 31},
    "inbound-queue-age": {"ApproximateAgeOfOldestMessage": 121},
    "dead-letters": {"ApproximateNumberOfMessagesVisible": 1},
    "table-throttles": {"TableThrottles": 1},
}
"""What each alarm is for, as its metrics show it in a minute."""
QUIET_M = 60


@pytest.fixture(params=[True, False], ids=["FILL makes a series", "FILL makes none"])
def fill_makes_a_series(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_it_is_silent_on_a_new_stage(case: tuple[str, Any], fill_makes_a_series: bool) -> None:
    seen = states(case[1], {}, QUIET_M, fill_makes_a_series=fill_makes_a_series)
    assert set(seen) == {"OK"}


def test_it_goes_off_and_is_over_by_itself(case: tuple[str, Any], fill_makes_a_series: bool) -> None:
    """Also where after the trouble nothing happens at all, so that no metric has a value."""
    name, alarm = case
    trouble_m = alarm["datapoints_to_alarm"]
    quiet: list[float | None] = [None] * QUIET_M
    if alarm["treat_missing_data"] == "ignore":  # SQS sends metrics of a queue that was used in the last six hours
        quiet[0] = 0
    metrics = {metric: [*quiet[1:], *[value] * trouble_m, *quiet] for metric, value in TROUBLE[name].items()}
    minutes = 2 * QUIET_M - 1 + trouble_m
    seen = list(states(alarm, metrics, minutes, fill_makes_a_series=fill_makes_a_series))
    assert seen[: QUIET_M - 1] == ["OK"] * (QUIET_M - 1)
    assert seen[QUIET_M - 2 + trouble_m] == "ALARM"
    assert seen[-1] == "OK"


def test_a_message_that_fails_keeps_its_alarm_on_between_attempts(stack: Stack) -> None:
    """It is tried every 15 minutes, and some seconds."""
    values: list[float | None] = [None] * 150
    values[10:140:16] = [1_000.0] * 9
    seen = list(states(alarms(stack)["deferred-age"], {"DeferredAge": values}, 150, fill_makes_a_series=False))
    assert seen[10:139] == ["ALARM"] * 129


def test_the_backends_failures_are_a_part_of_its_calls(stack: Stack, fill_makes_a_series: bool) -> None:
    """More than 10 %, of all calls together. Once there was a failure, its series has gaps, and not before."""
    alarm = alarms(stack)["backend-failing"]

    def last(failures: float, calls: float) -> str:
        metrics = {"BackendFailures": [failures] * 15, "BackendLatency": [calls] * 15}
        return list(states(alarm, metrics, 15, fill_makes_a_series=fill_makes_a_series))[-1]

    assert [last(1, 10), last(2, 10), last(3, 29), last(3, 31)] == ["OK", "ALARM", "ALARM", "OK"]
    calls_only = states(alarm, {"BackendLatency": [10.0] * 15}, 15, fill_makes_a_series=fill_makes_a_series)
    assert set(calls_only) == {"OK"}


def test_no_alarm_watches_a_metric_whose_missing_data_is_always_ignored(stack: Stack) -> None:
    assert {each.where for each in of_alarms(stack) if each.namespace == "AWS/DynamoDB"} == set()


def test_exactly_one_query_of_an_alarm_is_watched(stack: Stack) -> None:
    for alarm in alarms(stack).values():
        assert [query["return_data"] for query in alarm["metric_query"]].count(True) == 1


def test_alarms_cost_what_the_page_says(stack: Stack) -> None:
    assert f"| {len(list(of_alarms(stack)))} metrics in alarms" in Page("docs/operations.md").path.read_text()


def test_only_the_alarms_may_publish_to_the_topic(stack: Stack) -> None:
    policy = stack.resource("sns_topic_policy", "alarms")
    (statement,) = json.loads(policy["policy"])["Statement"]
    arns = statement["Condition"]["ArnEquals"].pop("aws:SourceArn")
    assert policy["arn"] == TOPIC
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": TOPIC,
        "Condition": {"ArnEquals": {}},
    }
    made = stack.config["resource"]["aws_cloudwatch_metric_alarm"]
    assert sorted(arns) == sorted(f"${{aws_cloudwatch_metric_alarm.{address}.arn}}" for address in made)


def test_no_kms_key_keeps_alarms_from_the_topic(stack: Stack) -> None:
    assert "kms_master_key_id" not in stack.resource("sns_topic", "alarms")


def test_alarms_are_mailed_to_alarm_email(all_options: Synthesis, stack: Stack) -> None:
    assert "aws_sns_topic_subscription" not in stack.config["resource"]
    for name in (STAGING, PRODUCTION):
        subscription = all_options.stack(name).resource("sns_topic_subscription", "alarm_mail")
        assert (subscription["protocol"], subscription["endpoint"]) == ("email", "operators@example.com")
        assert subscription["topic_arn"] == TOPIC
