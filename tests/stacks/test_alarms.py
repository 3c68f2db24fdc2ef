from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ..docs.markdown import Page
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
    "dead-letters",
    "table-throttles",
]
TOPIC = "${aws_sns_topic.alarms.arn}"
MAX_DESCRIPTION = 1024
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""


def test_each_has_a_heading_in_operations_and_each_heading_an_alarm(stack: Stack) -> None:
    assert set(alarms(stack)) == set(NAMES)
    assert Page("docs/operations.md").headings_under("Alarms") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_text_has_meaning_action_first_command_and_page(stack: Stack, name: str) -> None:
    description = alarms(stack)[name]["alarm_description"]
    meaning_and_action, command, more = re.split(r" First: | More: ", description)
    assert len(re.findall(r"[.:] [A-Z]", meaning_and_action)) >= 1
    assert re.match(r"(aws|slip-sockets) ", command)
    assert more == f"docs/operations.md#{name}"
    assert len(description) < MAX_DESCRIPTION
    assert "${" not in description


@pytest.mark.parametrize("name", NAMES)
def test_its_command_is_in_its_section_of_operations(defaults: Synthesis, name: str) -> None:
    description = alarms(defaults.stack(PRODUCTION))[name]["alarm_description"]
    command = re.split(r" First: | More: ", description)[1]
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


@pytest.mark.parametrize("name", NAMES)
def test_it_notifies_the_topic_when_it_goes_off_and_when_it_is_over(stack: Stack, name: str) -> None:
    alarm = alarms(stack)[name]
    assert (alarm["alarm_actions"], alarm["ok_actions"]) == ([TOPIC], [TOPIC])
    assert "insufficient_data_actions" not in alarm


def test_a_quiet_stage_is_a_good_one(stack: Stack) -> None:
    """Minutes without events have no data. Dead letters stay in their queue while SQS sends no metrics of it."""
    missing = {name: alarm["treat_missing_data"] for name, alarm in alarms(stack).items()}
    assert missing == dict.fromkeys(NAMES, "notBreaching") | {"dead-letters": "ignore"}


@pytest.mark.parametrize(
    ("name", "threshold", "datapoints", "of"),
    [
        ("backend-failing", 10, 3, 15),
        ("websocket-errors", 0, 2, 5),
        ("websocket-throttles", 0, 3, 5),
        ("queue-age", 900, 5, 5),
        ("dead-letters", 0, 1, 1),
        ("table-throttles", 0, 3, 5),
    ],
)
def test_when_it_goes_off(stack: Stack, name: str, threshold: float, datapoints: int, of: int) -> None:
    alarm = alarms(stack)[name]
    assert alarm["comparison_operator"] == "GreaterThanThreshold"
    assert (alarm["threshold"], alarm["datapoints_to_alarm"], alarm["evaluation_periods"]) == (
        threshold,
        datapoints,
        of,
    )


def value(alarm: Any, **values: float) -> float:
    """Return the result of an alarm's expression for `values` of its metrics; the others have no data."""
    expression = next(query["expression"] for query in alarm["metric_query"] if "expression" in query)
    ids = [query["id"] for query in alarm["metric_query"] if "metric" in query]
    assert set(re.findall(r"m\d+", expression)) == set(ids)
    filled = re.sub(r"FILL\((m\d+), (\d+)\)", lambda fill: str(values.get(fill[1], fill[2])), expression)
    return float(eval(filled, {"__builtins__": {}}))


def test_the_backends_failures_are_a_part_of_its_calls(stack: Stack) -> None:
    alarm = alarms(stack)["backend-failing"]
    assert value(alarm, m0=2, m1=10, m2=5, m3=4, m4=1) == 10
    assert value(alarm, m2=1) == 0
    with pytest.raises(ZeroDivisionError):  # CloudWatch then has no data, and a quiet stage is a good one
        value(alarm)


def test_throttles_of_both_tables_and_of_the_index_are_added(stack: Stack) -> None:
    assert value(alarms(stack)["table-throttles"], m0=1, m1=2, m2=3, m3=4, m4=5, m5=6) == 21


def test_exactly_one_query_of_an_alarm_is_watched(stack: Stack) -> None:
    for alarm in alarms(stack).values():
        assert [query["return_data"] for query in alarm["metric_query"]].count(True) == 1


def test_alarms_cost_what_the_page_says(stack: Stack) -> None:
    assert f"{len(list(of_alarms(stack)))} metrics in alarms" in Page("docs/operations.md").path.read_text()


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
